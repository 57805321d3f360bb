package tap

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"github.com/weirnet/weir/internal/testenv"
)

// port9 takes UDP to port 9 over IPv4.
var port9 = []bpf.Instruction{
	0: bpf.LoadExtension{Num: bpf.ExtProto},
	1: Jump(1, bpf.JumpEqual, IPv4, 2, 8),
	2: bpf.LoadAbsolute{Off: 9, Size: 1},
	3: Jump(3, bpf.JumpEqual, 17, 4, 8),
	4: bpf.LoadMemShift{Off: 0},
	5: bpf.LoadIndirect{Off: 2, Size: 2},
	6: Jump(6, bpf.JumpEqual, 9, 7, 8),
	7: bpf.RetConstant{Val: Whole},
	8: bpf.RetConstant{Val: 0},
}

// dial gives a socket in the namespace that sends to a port of loopback where
// somebody listens and nobody reads.
func dial(t testing.TB, s *testenv.Space, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	err := s.Do(func() error {
		l, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		c, err = net.Dial("udp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func open(t testing.TB, o Options) *Socket {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestDrops lets a small buffer run over: what was read and what was dropped is what
// was sent, each packet on its way out and in.
func TestDrops(t *testing.T) {
	ns := testenv.NewSpace(t)
	s := open(t, Options{NetNS: ns.Path, Filter: port9, Receive: 16 << 10})
	c, noise := dial(t, ns, "127.0.0.1:9"), dial(t, ns, "127.0.0.1:10")
	const sent = 2000
	before := time.Now()
	for range sent {
		_, _ = c.Write(make([]byte, 100))
		_, _ = noise.Write(make([]byte, 100)) // does not pass the filter
	}
	read, out := 0, 0
	for {
		was := read
		if err := s.Read(func(f *Frame) {
			read++
			if f.Outgoing {
				out++
			}
			if len(f.Data) != 128 || f.Data[0] != 0x45 || f.Cut {
				t.Fatalf("%d bytes, %x: want a whole packet from its IP header on", len(f.Data), f.Data)
			}
			if at := time.Unix(0, f.TimeNs); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
				t.Fatalf("arrived at %s, sent at %s", at, before)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if read == was {
			break
		}
	}
	st := s.Stats()
	if out == 0 || out == read {
		t.Errorf("%d of %d went out: want those that went in as well", out, read)
	}
	if st.Dropped == 0 || st.Packets != 2*sent || uint64(read)+st.Dropped != st.Packets {
		t.Errorf("sent %d, read %d, %+v", sent, read, st)
	}
}

// BenchmarkForeignPacket is one UDP datagram over loopback that no filter takes:
// what the sockets cost all other traffic.
func BenchmarkForeignPacket(b *testing.B) {
	for _, n := range []int{0, 1, 2} {
		b.Run(map[int]string{0: "without", 1: "one socket", 2: "two sockets"}[n], func(b *testing.B) {
			ns := testenv.NewSpace(b)
			for range n {
				open(b, Options{NetNS: ns.Path, Filter: port9})
			}
			c := dial(b, ns, "127.0.0.1:10")
			msg := make([]byte, 100)
			for b.Loop() {
				_, _ = c.Write(msg)
			}
		})
	}
}
