package e2e

import (
	"maps"
	"net"
	"sync"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
)

// stalled is a collector that accepts and then takes nothing until it is released;
// then it reads all there is.
type stalled struct {
	l    net.Listener
	open chan struct{}
	once sync.Once

	mu   sync.Mutex
	recs map[flow.UUID]string // as JSON
}

func newStall(t testing.TB) *stalled {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stalled{l: l, open: make(chan struct{}), recs: map[flow.UUID]string{}}
	t.Cleanup(func() { s.release(); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *stalled) serve(c net.Conn) {
	defer c.Close()
	<-s.open
	dec := ipfix.NewSession(ipfix.SessionOptions{})
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			msg, rest, ferr := ipfix.NextMessage(buf)
			if ferr != nil || msg == nil {
				break
			}
			s.mu.Lock()
			_ = dec.Decode(0, msg, s) // what it did not take is missing in the comparison
			s.mu.Unlock()
			buf = rest
		}
		if err != nil {
			return
		}
	}
}

func (s *stalled) Record(r *flow.Record) { s.recs[r.ID] = string(flow.AppendJSON(nil, r)) }

func (s *stalled) Ledger(*ipfix.LedgerRow) {}

func (s *stalled) addr() string { return s.l.Addr().String() }
func (s *stalled) release()     { s.once.Do(func() { close(s.open) }) }

func (s *stalled) got() map[flow.UUID]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.recs)
}
