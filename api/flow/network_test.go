package flow_test

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func TestNetwork(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"10.7.0.9", "10.7.0.0/16"},
		{"10.255.255.255", "10.255.0.0/16"},
		{"172.15.0.1", "internet"},
		{"172.16.3.1", "172.16.0.0/16"},
		{"172.31.0.1", "172.31.0.0/16"},
		{"172.32.0.1", "internet"},
		{"192.168.4.4", "192.168.0.0/16"},
		{"192.169.0.1", "internet"},
		{"100.64.0.1", "100.64.0.0/16"},
		{"100.127.9.9", "100.127.0.0/16"},
		{"100.128.0.1", "internet"},
		{"169.254.169.254", "169.254.0.0/16"},
		{"127.0.0.53", "127.0.0.0/8"},
		{"224.0.0.251", "multicast"},
		{"0.0.0.0", ""},
		{"8.8.8.8", "internet"},
		{"::ffff:10.7.0.9", "10.7.0.0/16"},
		{"fd12:3456:789a:1::7", "fd12:3456:789a::/48"},
		{"fe80::1%eth0", "fe80::/10"},
		{"::1", "::1/128"},
		{"ff02::fb", "multicast"},
		{"2001:db8::1", "internet"},
		{"::", ""},
	} {
		a := netip.MustParseAddr(c.addr)
		got := flow.Network(a)
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.addr, got, c.want)
		}
		if p, err := netip.ParsePrefix(got); err == nil && !p.Contains(a.Unmap().WithZone("")) {
			t.Errorf("%s is not in %s", c.addr, got)
		}
	}
	if got := flow.Network(netip.Addr{}); got != "" {
		t.Errorf("no address: got %q", got)
	}
	a := netip.MustParseAddr("10.7.0.9")
	if n := testing.AllocsPerRun(100, func() { _ = flow.Network(a) }); n != 0 {
		t.Errorf("%v allocations for an address of 10.0.0.0/8", n)
	}
}
