package icmp

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/packet"
	"github.com/weirnet/weir/exporter/tap"
)

// Options of a Watcher.
type Options struct {
	NetNS string // path of a network namespace; "" for the present one
	Queue int    // batches that wait for the reader of Errors; 256
	Log   *slog.Logger
}

// Stats counts what a Watcher did.
type Stats struct {
	Socket    tap.Stats
	Errors    uint64 // told
	Repeated  uint64 // the same error again: at another interface, or sent again at once
	Malformed uint64
	Dropped   uint64 // told, but the reader was too slow
}

// filter takes ICMP errors: unreachable, time exceeded, parameter problem; with
// ICMPv6 all types below 128.
var filter = []bpf.Instruction{
	0:  bpf.LoadExtension{Num: bpf.ExtType},
	1:  tap.Jump(1, bpf.JumpEqual, tap.OtherHost, drop, 2),
	2:  bpf.LoadExtension{Num: bpf.ExtProto},
	3:  tap.Jump(3, bpf.JumpEqual, tap.IPv4, 5, 4),
	4:  tap.Jump(4, bpf.JumpEqual, tap.IPv6, 14, drop),
	5:  bpf.LoadAbsolute{Off: 9, Size: 1},
	6:  tap.Jump(6, bpf.JumpEqual, packet.ICMP, 7, drop),
	7:  bpf.LoadAbsolute{Off: 6, Size: 2},
	8:  tap.Jump(8, bpf.JumpBitsSet, 0x1fff, drop, 9), // not the first fragment
	9:  bpf.LoadMemShift{Off: 0},
	10: bpf.LoadIndirect{Off: 0, Size: 1},
	11: tap.Jump(11, bpf.JumpEqual, v4Unreachable, take, 12),
	12: tap.Jump(12, bpf.JumpEqual, v4TimeExceeded, take, 13),
	13: tap.Jump(13, bpf.JumpEqual, v4Parameter, take, drop),
	14: bpf.LoadAbsolute{Off: 6, Size: 1},
	15: tap.Jump(15, bpf.JumpEqual, packet.ICMPv6, 16, drop),
	16: bpf.LoadAbsolute{Off: 40, Size: 1},
	17: tap.Jump(17, bpf.JumpGreaterOrEqual, 128, drop, take),
	18: bpf.RetConstant{Val: tap.Whole},
	19: bpf.RetConstant{Val: 0},
}

const take, drop = 18, 19

// Watcher watches one network namespace.
type Watcher struct {
	s    *tap.Socket
	o    Options
	out  chan []Error
	stop chan struct{}
	once sync.Once
	seen recent
	own  tap.Own

	last                                 atomic.Pointer[tap.Stats]
	errors, repeated, malformed, dropped atomic.Uint64
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
	w := &Watcher{s: s, o: o, out: make(chan []Error, o.Queue), stop: make(chan struct{}), seen: newRecent(), own: tap.Own{NetNS: o.NetNS}}
	w.last.Store(&tap.Stats{})
	go w.run()
	return w, nil
}

// Errors gives the errors in the order of their arrival. It is closed after Stop.
func (w *Watcher) Errors() <-chan []Error { return w.out }

// Stop ends the watching.
func (w *Watcher) Stop() { w.once.Do(func() { close(w.stop) }) }

// Stats gives the counts; the socket's are at most a second old. Safe from any goroutine.
func (w *Watcher) Stats() Stats {
	return Stats{
		Socket: *w.last.Load(), Errors: w.errors.Load(), Repeated: w.repeated.Load(),
		Malformed: w.malformed.Load(), Dropped: w.dropped.Load(),
	}
}

// run reads until Stop.
func (w *Watcher) run() {
	defer close(w.out)
	defer func() { _ = w.s.Close() }() // only read from: nothing to lose
	var batch []Error
	var e Error
	look := time.Now()
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := w.s.Read(func(f *tap.Frame) {
			ok, err := Parse(f.Data, &e)
			e.TimeMs = f.TimeNs / 1e6
			switch {
			case err != nil:
				w.malformed.Add(1)
			case ok && w.seen.again(&e):
				w.repeated.Add(1)
			case ok:
				e.Own = f.Outgoing && w.ours(&e)
				batch = append(batch, e)
			}
		})
		if err != nil {
			w.o.Log.Error("ICMP errors cannot be read", "error", err)
			time.Sleep(time.Second)
		}
		if len(batch) > 0 {
			w.send(batch)
			batch = nil
		}
		if time.Since(look) > time.Second {
			look = time.Now()
			st := w.s.Stats()
			w.last.Store(&st)
		}
	}
}

// ours says whether an error that was seen to leave is this node's own word about
// somebody else's packet. Where the node's addresses cannot be read, it is not.
func (w *Watcher) ours(e *Error) bool {
	from := flow.Addr16(e.From)
	yes, err := w.own.Has(from)
	if err != nil {
		w.o.Log.Error("the node's own addresses cannot be read", "error", err)
	}
	return yes && from != e.Quoted.Dst
}

func (w *Watcher) send(batch []Error) {
	select {
	case w.out <- batch:
		w.errors.Add(uint64(len(batch)))
	default:
		w.dropped.Add(uint64(len(batch)))
	}
}

// recent remembers the last errors, so that one is told once.
type recent struct {
	seed maphash.Seed
	hash [recentSize]uint64
	at   [recentSize]int64
	next int
}

const (
	recentSize = 256
	repeatMs   = 100 // what passes through one node passes it in less
)

func newRecent() recent { return recent{seed: maphash.MakeSeed()} }

// again says whether the same error was there a moment ago.
func (r *recent) again(e *Error) bool {
	t := e.TimeMs
	same := *e
	same.TimeMs = 0
	h := maphash.Comparable(r.seed, same)
	for i := range r.hash {
		if r.hash[i] == h && t-r.at[i] < repeatMs {
			return true
		}
	}
	r.hash[r.next], r.at[r.next] = h, t
	r.next = (r.next + 1) % recentSize
	return false
}

// Status says whether ICMP errors are seen, for the coverage table. err is what
// Watch gave; enabled is what the configuration says.
func Status(enabled bool, err error) coverage.Evidence {
	e := coverage.Evidence{Name: "icmp"}
	switch {
	case !enabled:
		e.Why, e.Remedy = "not asked for: icmp.enabled is false", "set icmp.enabled: true"
	case err != nil:
		e.Why, e.Remedy = err.Error(), "give the agent CAP_NET_RAW (and CAP_SYS_ADMIN for another network namespace)"
	default:
		e.On, e.Why = true, "ICMP errors of this node's namespace are read and belong to the connection that they quote"
	}
	return e
}
