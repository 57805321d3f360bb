package reset

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/packet"
	"github.com/weirnet/weir/exporter/tap"
)

// Options of a Watcher.
type Options struct {
	NetNS string // path of a network namespace; "" for the present one
	Queue int    // batches that wait for the reader of Resets; 256
	Log   *slog.Logger
}

// Stats counts what a Watcher did.
type Stats struct {
	Socket    tap.Stats
	Resets    uint64 // told
	Repeated  uint64 // the same RST again, at another interface
	Malformed uint64
	Unsure    uint64 // not told: only seen to leave while frames were dropped
	Dropped   uint64 // told, but the reader was too slow
}

// filter takes TCP segments with RST. What a bridge passes on is for other hosts
// (PACKET_OTHERHOST) and is taken too: else it would seem to be made here.
var filter = []bpf.Instruction{
	0:  bpf.LoadExtension{Num: bpf.ExtProto},
	1:  tap.Jump(1, bpf.JumpEqual, tap.IPv4, 3, 2),
	2:  tap.Jump(2, bpf.JumpEqual, tap.IPv6, 10, drop),
	3:  bpf.LoadAbsolute{Off: 9, Size: 1},
	4:  tap.Jump(4, bpf.JumpEqual, packet.TCP, 5, drop),
	5:  bpf.LoadAbsolute{Off: 6, Size: 2},
	6:  tap.Jump(6, bpf.JumpBitsSet, 0x1fff, drop, 7), // not the first fragment
	7:  bpf.LoadMemShift{Off: 0},
	8:  bpf.LoadIndirect{Off: flagsAt, Size: 1},
	9:  tap.Jump(9, bpf.JumpBitsSet, rst, take, drop),
	10: bpf.LoadAbsolute{Off: 6, Size: 1},
	11: tap.Jump(11, bpf.JumpEqual, packet.TCP, 12, drop),
	12: bpf.LoadAbsolute{Off: 40 + flagsAt, Size: 1},
	13: tap.Jump(13, bpf.JumpBitsSet, rst, take, drop),
	14: bpf.RetConstant{Val: tap.Whole},
	15: bpf.RetConstant{Val: 0},
}

const (
	take, drop = 14, 15
	flagsAt    = 13 // in the TCP header
	rst        = 4
)

// Watcher watches one network namespace.
type Watcher struct {
	s    *tap.Socket
	o    Options
	out  chan []Reset
	stop chan struct{}
	once sync.Once
	seen recent
	own  tap.Own

	last                                         atomic.Pointer[tap.Stats]
	resets, repeated, malformed, unsure, dropped atomic.Uint64
}

// Watch begins to watch.
func Watch(o Options) (*Watcher, error) {
	if o.Queue <= 0 {
		o.Queue = 256
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := tap.Open(tap.Options{NetNS: o.NetNS, Filter: filter, Receive: 1 << 20})
	if err != nil {
		return nil, err
	}
	w := &Watcher{s: s, o: o, out: make(chan []Reset, o.Queue), stop: make(chan struct{}), own: tap.Own{NetNS: o.NetNS}}
	w.last.Store(&tap.Stats{})
	go w.run()
	return w, nil
}

// Resets gives the resets in the order of their arrival. It is closed after Stop.
func (w *Watcher) Resets() <-chan []Reset { return w.out }

// Stop ends the watching.
func (w *Watcher) Stop() { w.once.Do(func() { close(w.stop) }) }

// Stats gives the counts; the socket's are at most a second old. Safe from any goroutine.
func (w *Watcher) Stats() Stats {
	return Stats{
		Socket: *w.last.Load(), Resets: w.resets.Load(), Repeated: w.repeated.Load(),
		Malformed: w.malformed.Load(), Unsure: w.unsure.Load(), Dropped: w.dropped.Load(),
	}
}

// run reads until Stop.
func (w *Watcher) run() {
	defer close(w.out)
	defer func() { _ = w.s.Close() }() // only read from: nothing to lose
	var batch []Reset
	look := time.Now()
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := w.s.Read(func(f *tap.Frame) { batch = w.take(f, batch) })
		if err != nil {
			w.o.Log.Error("resets cannot be read", "error", err)
			time.Sleep(time.Second)
		}
		if len(batch) > 0 {
			w.send(w.judge(batch))
			batch = nil
		}
		if time.Since(look) > time.Second {
			look = time.Now()
			w.count()
		}
	}
}

// take reads one frame.
func (w *Watcher) take(f *tap.Frame, batch []Reset) []Reset {
	var r Reset
	id, ok, err := Parse(f.Data, &r)
	r.TimeMs = f.TimeNs / 1e6
	switch {
	case err != nil:
		w.malformed.Add(1)
	case ok:
		fresh, made := w.seen.see(id, &r, f.Outgoing)
		if !fresh {
			w.repeated.Add(1)
			return batch
		}
		if r.From = End; made {
			r.From = Node
		}
		return append(batch, r)
	}
	return batch
}

// judge looks again at what was seen to leave only: a process of this node may have
// sent it, or its coming may have been dropped.
func (w *Watcher) judge(batch []Reset) []Reset {
	out := batch[:0]
	lost, asked := false, false
	for _, r := range batch {
		if r.From == Node {
			if !asked {
				before := w.last.Load().Dropped
				asked, lost = true, w.count() != before
			}
			switch {
			case w.ours(r.Tuple.Src):
				r.From = End
			case lost:
				w.unsure.Add(1)
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// count asks the socket, and gives how many frames were dropped so far.
func (w *Watcher) count() uint64 {
	st := w.s.Stats()
	w.last.Store(&st)
	return st.Dropped
}

// ours says whether this node has the address. Where they cannot be read, all may be ours.
func (w *Watcher) ours(addr [16]byte) bool {
	yes, err := w.own.Has(addr)
	if err != nil {
		w.o.Log.Error("the node's own addresses cannot be read", "error", err)
	}
	return yes || err != nil
}

func (w *Watcher) send(batch []Reset) {
	if len(batch) == 0 {
		return
	}
	select {
	case w.out <- batch:
		w.resets.Add(uint64(len(batch)))
	default:
		w.dropped.Add(uint64(len(batch)))
	}
}

// Status says whether resets are seen, for the coverage table. err is what Watch gave;
// enabled is what the configuration says.
func Status(enabled bool, err error) coverage.Evidence {
	e := coverage.Evidence{Name: "resets"}
	switch {
	case !enabled:
		e.Why, e.Remedy = "not asked for: resets.enabled is false", "set resets.enabled: true"
	case err != nil:
		e.Why, e.Remedy = err.Error(), "give the agent CAP_NET_RAW (and CAP_SYS_ADMIN for another network namespace)"
	default:
		e.On, e.Why = true, "TCP segments with RST of this node's namespace are read: who ended a connection is told"
	}
	return e
}
