// Package inspect finds out what can be seen on a node: it gathers the facts from
// which exporter/coverage decides.
//
// In: sysctls, links, rules and capabilities of one network namespace, and one
// connection on loopback for each family that it opens to see whether the kernel
// tracks it. Out: coverage.Facts. It changes nothing: the two UDP datagrams that it
// sends to itself are all it leaves (two conntrack entries for half a minute). What
// it may not read stays unknown. It takes well under a second; Look ends with its
// context. If it dies, nothing is left behind.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/coverage"
)

// Options say where to look.
type Options struct {
	Node     string
	Source   string // kernel, ovs or replay; empty for kernel
	NetNS    string // path of the network namespace; empty for the present one
	CNIDir   string // where the container runtime finds its plugins; empty for /etc/cni/net.d
	Zones    []uint16
	Evidence []coverage.Evidence
}

// Inspector looks at a node again and again; the kernel's counts are told as what
// was added since the look before. Not for concurrent use.
type Inspector struct {
	o    Options
	last conntrack.CPUStats
}

// New makes an inspector.
func New(o Options) *Inspector {
	if o.Source == "" {
		o.Source = "kernel"
	}
	if o.CNIDir == "" {
		o.CNIDir = "/etc/cni/net.d"
	}
	return &Inspector{o: o}
}

// Look gathers the facts.
func (i *Inspector) Look(ctx context.Context) coverage.Facts {
	f := coverage.Facts{Node: i.o.Node, Source: i.o.Source, Zones: i.o.Zones, Evidence: i.o.Evidence}
	f.Missing = missing(effective(), i.o.NetNS != "")
	err := conntrack.InNetNS(i.o.NetNS, func() error {
		addresses(&f)
		return nil
	})
	if err != nil {
		f.Denied = err.Error()
		return f
	}
	if i.o.Source != "kernel" {
		return f
	}
	if f.Denied = i.kernel(ctx, &f); f.Denied != "" {
		return f
	}
	_ = conntrack.InNetNS(i.o.NetNS, func() error { // it went well above
		bridgeSysctls(&f)
		links(&f)
		rules(&f)
		return nil
	})
	f.Bypass, f.BypassFrom = bypass(i.o.CNIDir)
	return f
}

// kernel reads what conntrack says of itself and tries it; it returns why it is denied.
func (i *Inspector) kernel(ctx context.Context, f *coverage.Facts) string {
	s, err := conntrack.ReadSysctls(i.o.NetNS)
	if err != nil {
		return err.Error()
	}
	f.Count, f.Max, f.Accounting, f.Timestamps, f.Events = s.Count, s.Max, s.Accounting, s.Timestamp, s.Events
	st, err := conntrack.ReadStats(ctx, conntrack.Options{NetNS: i.o.NetNS})
	if err != nil {
		return err.Error()
	}
	f.Dropped, f.EarlyDropped, f.InsertFailed = since(st.Drop, i.last.Drop), since(st.EarlyDrop, i.last.EarlyDrop), since(st.InsertFailed, i.last.InsertFailed)
	i.last = st
	for v, addr := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		try(ctx, i.o.NetNS, addr, &f.Families[v])
	}
	return ""
}

// since is the growth of a count; one that was set back counts from zero.
func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// try opens a connection on loopback and looks for its entry: conntrack is at work
// for a family of a namespace or it is not, whatever the interface.
func try(ctx context.Context, netns string, addr netip.Addr, f *coverage.FamilyFacts) {
	t, err := datagram(netns, addr)
	if err != nil {
		f.Why = err.Error()
		return
	}
	c, found, err := conntrack.Lookup(ctx, conntrack.Options{NetNS: netns}, t)
	switch {
	case err != nil:
		f.Why = err.Error()
	case !found:
		f.Tracked = coverage.No
	default:
		f.Tracked, f.Counters = coverage.Yes, coverage.No
		if c.HasCounters {
			f.Counters = coverage.Yes
		}
	}
}

// datagram sends one byte over loopback, waits until it is there and gives its tuple.
func datagram(netns string, addr netip.Addr) (t flow.Tuple, err error) {
	err = conntrack.InNetNS(netns, func() error {
		l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		if err != nil {
			return fmt.Errorf("listen on %s: %w", addr, bare(err))
		}
		defer func() { _ = l.Close() }()
		to := l.LocalAddr().(*net.UDPAddr).AddrPort()
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return fmt.Errorf("send over %s: %w (is the interface lo up?)", addr, bare(err))
		}
		defer func() { _ = c.Close() }()
		from := c.LocalAddr().(*net.UDPAddr).AddrPort()
		if _, err := c.Write([]byte{0}); err != nil {
			return fmt.Errorf("send over %s: %w", addr, bare(err))
		}
		_ = l.SetReadDeadline(time.Now().Add(time.Second)) // a filter may drop it
		if _, _, err := l.ReadFromUDPAddrPort(make([]byte, 1)); err != nil {
			return fmt.Errorf("a datagram over %s does not arrive: %w (is the interface lo up, and not filtered?)", addr, bare(err))
		}
		t = flow.Tuple{Src: flow.Addr16(from.Addr()), Dst: flow.Addr16(to.Addr()), SrcPort: from.Port(), DstPort: to.Port(), Proto: unix.IPPROTO_UDP}
		return nil
	})
	return t, err
}

// bare takes the addresses off a network error, so that it reads the same each time.
func bare(err error) error {
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		return sys.Err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("no answer within a second")
	}
	return err
}

// addresses says which families the namespace has beyond loopback.
func addresses(f *coverage.Facts) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	f.Families[coverage.V4].Present, f.Families[coverage.V6].Present = coverage.No, coverage.No
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		if p.Addr().Is4() {
			f.Families[coverage.V4].Present = coverage.Yes
		} else {
			f.Families[coverage.V6].Present = coverage.Yes
		}
	}
}

// effective is the set of capabilities of the calling thread, CapEff.
func effective() uint64 {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 16, 64) // the kernel wrote it
			return n
		}
	}
	return 0
}

func missing(have uint64, otherNetNS bool) []string {
	var list []string
	if have&(1<<unix.CAP_NET_ADMIN) == 0 {
		list = append(list, "CAP_NET_ADMIN")
	}
	if otherNetNS && have&(1<<unix.CAP_SYS_ADMIN) == 0 {
		list = append(list, "CAP_SYS_ADMIN")
	}
	return list
}

// bridgeSysctls: without br_netfilter the files are not there.
func bridgeSysctls(f *coverage.Facts) {
	for v, name := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables"} {
		b, err := os.ReadFile("/proc/sys/net/bridge/" + name)
		f.BridgeNF[v] = err == nil && strings.TrimSpace(string(b)) == "1"
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.BridgeNF[v] = false // not readable: what is not shown is not claimed
		}
	}
}
