// Package dnswatch watches the DNS messages of one network namespace and answers, for
// the exporter, which name a client asked for and what a DNS connection got.
//
// Idea: exporter/dns is the state, exporter/tap the packets; this is the goroutine that
// brings one to the other. Nothing is sent and nothing resolved.
//
// In: packets to and from port 53 on all interfaces, both directions: a pod behind a
// Service or a masquerade has its own address in the question only where it comes in,
// and in the answer only where it goes out to the pod. What is seen twice counts once.
// Out: Name and Flow, for the enricher; Stats; Status, for the coverage table.
//
// The state is behind one lock, held for one packet or one look: a read of the whole
// conntrack table never makes the watch lose packets. What the socket's buffer cannot
// hold the kernel drops, counted. If we die here, names asked for before are unknown
// until they are asked for again.
package dnswatch

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/net/bpf"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/exporter/packet"
	"github.com/weirnet/weir/exporter/tap"
)

// Options of a Watcher.
type Options struct {
	NetNS   string // path of a network namespace; "" for the present one
	Limits  dns.Limits
	Receive int // bytes of the socket's receive buffer; 0 for a default
	Log     *slog.Logger
}

// Stats counts what a Watcher did.
type Stats struct {
	dns.Stats
	Socket tap.Stats
}

const take, drop = 22, 23

// filter takes UDP and TCP from and to port 53. Fragments but the first have no ports
// and do not pass, nor does IPv6 with extension headers.
var filter = []bpf.Instruction{
	0:  bpf.LoadExtension{Num: bpf.ExtType},
	1:  tap.Jump(1, bpf.JumpEqual, tap.OtherHost, drop, 2),
	2:  bpf.LoadExtension{Num: bpf.ExtProto},
	3:  tap.Jump(3, bpf.JumpEqual, tap.IPv4, 5, 4),
	4:  tap.Jump(4, bpf.JumpEqual, tap.IPv6, 15, drop),
	5:  bpf.LoadAbsolute{Off: 9, Size: 1},
	6:  tap.Jump(6, bpf.JumpEqual, packet.UDP, 8, 7),
	7:  tap.Jump(7, bpf.JumpEqual, packet.TCP, 8, drop),
	8:  bpf.LoadAbsolute{Off: 6, Size: 2},
	9:  tap.Jump(9, bpf.JumpBitsSet, 0x1fff, drop, 10),
	10: bpf.LoadMemShift{Off: 0},
	11: bpf.LoadIndirect{Off: 0, Size: 2},
	12: tap.Jump(12, bpf.JumpEqual, dns.Port, take, 13),
	13: bpf.LoadIndirect{Off: 2, Size: 2},
	14: tap.Jump(14, bpf.JumpEqual, dns.Port, take, drop),
	15: bpf.LoadAbsolute{Off: 6, Size: 1},
	16: tap.Jump(16, bpf.JumpEqual, packet.UDP, 18, 17),
	17: tap.Jump(17, bpf.JumpEqual, packet.TCP, 18, drop),
	18: bpf.LoadAbsolute{Off: 40, Size: 2},
	19: tap.Jump(19, bpf.JumpEqual, dns.Port, take, 20),
	20: bpf.LoadAbsolute{Off: 42, Size: 2},
	21: tap.Jump(21, bpf.JumpEqual, dns.Port, take, drop),
	22: bpf.RetConstant{Val: tap.Whole},
	23: bpf.RetConstant{Val: 0},
}

// Watcher watches one network namespace. Its methods are for any goroutine.
type Watcher struct {
	o    Options
	s    *tap.Socket
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu     sync.Mutex
	state  *dns.Observer
	socket tap.Stats
}

// Watch begins to watch.
func Watch(o Options) (*Watcher, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := tap.Open(tap.Options{NetNS: o.NetNS, Filter: filter, Receive: o.Receive})
	if err != nil {
		return nil, err
	}
	w := &Watcher{o: o, s: s, stop: make(chan struct{}), done: make(chan struct{}), state: dns.New(o.Limits)}
	go w.run()
	return w, nil
}

// Stop ends the watching; what is known stays.
func (w *Watcher) Stop() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

// run reads until Stop.
func (w *Watcher) run() {
	defer close(w.done)
	defer func() { _ = w.s.Close() }() // only read from: nothing to lose
	look := time.Now()
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		err := w.s.Read(func(f *tap.Frame) {
			w.mu.Lock()
			w.state.Packet(f.TimeNs, f.Data)
			w.mu.Unlock()
		})
		if err != nil {
			w.o.Log.Error("DNS messages cannot be read", "error", err)
			time.Sleep(time.Second)
		}
		if time.Since(look) > time.Second {
			look = time.Now()
			st := w.s.Stats()
			w.mu.Lock()
			w.socket = st
			w.mu.Unlock()
		}
	}
}

// Name gives the name that a client asked for before it began, at startMs, a connection
// to an address; "" for none. Times are Unix ms.
func (w *Watcher) Name(client, addr [16]byte, startMs, nowMs int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Name(client, addr, startMs, nowMs)
}

// Flow gives what a DNS connection asked last, by its tuple in the client's direction
// before translation.
func (w *Watcher) Flow(t *flow.Tuple) (dns.Flow, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.Flow(t)
}

// Stats gives the counts; the socket's are at most a second old.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{w.state.Stats(), w.socket}
}

// Status says whether DNS is seen, for the coverage table. err is what Watch gave;
// enabled is what the configuration says.
func Status(enabled bool, err error) coverage.Evidence {
	e := coverage.Evidence{Name: "dns"}
	switch {
	case !enabled:
		e.Why, e.Remedy = "not asked for: outside addresses have names from names.cidrs alone", "set dns.enabled: true"
	case err != nil:
		e.Why, e.Remedy = err.Error(), "give the agent CAP_NET_RAW (and CAP_SYS_ADMIN for another network namespace)"
	default:
		e.On, e.Why = true, "questions and answers on port 53 are read; DNS over HTTPS and TLS is not seen"
	}
	return e
}
