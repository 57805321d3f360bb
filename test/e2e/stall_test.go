package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// stalled is a collector that accepts and then takes nothing until it is released.
type stalled struct {
	l    net.Listener
	open chan struct{}
	once sync.Once
}

func newStall(t *testing.T) *stalled {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stalled{l: l, open: make(chan struct{})}
	t.Cleanup(func() { s.release(); l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				<-s.open
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return s
}

func (s *stalled) addr() string { return s.l.Addr().String() }
func (s *stalled) release()     { s.once.Do(func() { close(s.open) }) }
