package conntrack

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

func ovsTupleOf(proto uint8, src, dst string, sport, dport uint16) flow.Tuple {
	return flow.Tuple{Src: flow.Addr16(netip.MustParseAddr(src)), Dst: flow.Addr16(netip.MustParseAddr(dst)), SrcPort: sport, DstPort: dport, Proto: proto}
}

func TestParseOVS(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       track.Conn
	}{
		{
			"udp", "udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1000,dport=53),reply=(src=10.3.0.2,dst=10.3.0.1,sport=53,dport=1000),id=0,zone=65520,status=0,timeout=59,mark=5,labels=0x700000003",
			track.Conn{
				Orig: ovsTupleOf(17, "10.3.0.1", "10.3.0.2", 1000, 53), Reply: ovsTupleOf(17, "10.3.0.2", "10.3.0.1", 53, 1000),
				Zone: 65520, Mark: 5, Labels: [16]byte{0: 3, 4: 7}, Timeout: 59, HasTimeout: true, NoStatus: true,
			},
		},
		{
			"tcp through a Service, established", "tcp,orig=(src=10.3.0.1,dst=10.96.0.7,sport=1000,dport=80),reply=(src=10.3.0.2,dst=10.3.0.1,sport=8080,dport=1000),zone=1,protoinfo=(state_orig=ESTABLISHED,state_reply=ESTABLISHED,wscale_orig=7)",
			track.Conn{
				Orig: ovsTupleOf(6, "10.3.0.1", "10.96.0.7", 1000, 80), Reply: ovsTupleOf(6, "10.3.0.2", "10.3.0.1", 8080, 1000),
				Zone: 1, HasTCP: true, TCPState: track.TCPEstablished, Status: track.StatusSeenReply | track.StatusAssured,
			},
		},
		{
			"tcp that nobody answered", "tcp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1,dport=80),reply=(src=10.3.0.2,dst=10.3.0.1,sport=80,dport=1),protoinfo=(state_orig=SYN_SENT,state_reply=CLOSED)",
			track.Conn{
				Orig: ovsTupleOf(6, "10.3.0.1", "10.3.0.2", 1, 80), Reply: ovsTupleOf(6, "10.3.0.2", "10.3.0.1", 80, 1),
				HasTCP: true, TCPState: track.TCPSynSent,
			},
		},
		{
			"icmpv6", "icmpv6,orig=(src=fc00::1,dst=fc00::2,id=9,type=128,code=0),reply=(src=fc00::2,dst=fc00::1,id=9,type=129,code=0)",
			track.Conn{Orig: ovsTupleOf(58, "fc00::1", "fc00::2", 9, 128<<8), Reply: ovsTupleOf(58, "fc00::2", "fc00::1", 9, 129<<8), NoStatus: true},
		},
		{
			"protocol by number, with what a later version may add", "47,orig=(src=10.3.0.1,dst=10.3.0.2),reply=(src=10.3.0.2,dst=10.3.0.1),helper=x,parent=(tcp,orig=(src=1.1.1.1,dst=2.2.2.2)),new",
			track.Conn{Orig: ovsTupleOf(47, "10.3.0.1", "10.3.0.2", 0, 0), Reply: ovsTupleOf(47, "10.3.0.2", "10.3.0.1", 0, 0), NoStatus: true},
		},
	} {
		var got track.Conn
		if err := parseOVS(c.line, &got); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if d := cmp.Diff(c.want, got, cmp.AllowUnexported(flow.Tuple{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	for _, line := range []string{
		"", "frob,orig=(src=1.1.1.1,dst=2.2.2.2)", "tcp", "udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1000,dport=53)",
		"udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=99999,dport=53),reply=(src=10.3.0.2,dst=10.3.0.1,sport=53,dport=1)",
		"udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1,dport=53),reply=(src=10.3.0.2,dst=10.3.0.1,sport=53,dport=1),zone=65536",
		"udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1,dport=53,reply=(src=10.3.0.2,dst=10.3.0.1",
		"tcp,orig=(src=a,dst=b),reply=(src=b,dst=a)",
		"tcp,orig=(src=10.3.0.1,dst=10.3.0.2),reply=(src=10.3.0.2,dst=10.3.0.1),protoinfo=(state=MAYBE)",
		"tcp,orig=(src=10.3.0.1,dst=10.3.0.2),reply=(src=10.3.0.2,dst=10.3.0.1),labels=0x1234567890123456789012345678901234567890",
	} {
		var got track.Conn
		if err := parseOVS(line, &got); err == nil {
			t.Errorf("accepted: %q", line)
		}
	}
}

func FuzzParseOVS(f *testing.F) {
	f.Add("udp,orig=(src=10.3.0.1,dst=10.3.0.2,sport=1000,dport=53),reply=(src=10.3.0.2,dst=10.3.0.1,sport=53,dport=1000),id=0,zone=65520,status=0,timeout=59,mark=5,labels=0x700000003")
	f.Add("tcp,orig=(src=fc00::1,dst=fc00::2),reply=(src=fc00::2,dst=fc00::1),protoinfo=(state=TIME_WAIT)")
	f.Fuzz(func(t *testing.T, line string) {
		var c track.Conn
		if parseOVS(line, &c) == nil && c.Orig.Proto != c.Reply.Proto {
			t.Errorf("%q: protocols %d and %d", line, c.Orig.Proto, c.Reply.Proto)
		}
	})
}
