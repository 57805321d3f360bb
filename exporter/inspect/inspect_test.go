package inspect

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/testenv"
)

// ownNetNS puts the test's thread into a new network namespace; the thread ends
// with the test.
func ownNetNS(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "nft")
	testenv.NeedTool(t, "ip")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "addr", "add", "10.77.0.1/24", "dev", "lo")
	run(t, "ip", "addr", "add", "fd77::1/64", "dev", "lo", "nodad")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// look gives the facts and the state of one row, with its reason.
func look(t *testing.T, class coverage.Class, v coverage.Family) (coverage.Facts, coverage.Row) {
	t.Helper()
	began := time.Now()
	f := New(Options{Node: "n", CNIDir: t.TempDir()}).Look(t.Context())
	if took := time.Since(began); took > 50*time.Second { // it takes a few ms; 5 s is the promise
		t.Errorf("a look took %s", took)
	}
	for _, r := range coverage.Decide(&f).Rows {
		if r.Class == class.String() && r.Family == v.String() {
			return f, r
		}
	}
	t.Fatalf("no row for %s %s", class, v)
	return f, coverage.Row{}
}

func want(t *testing.T, got coverage.Row, seen coverage.Seen, why string) {
	t.Helper()
	if got.Seen != seen || !strings.Contains(got.Why, why) {
		t.Errorf("%s %s: %s (%s), want %s with %q", got.Class, got.Family, got.Seen, got.Why, seen, why)
	}
}

// TestNamespaceWithoutRules: the kernel tracks nothing until a rule asks for it,
// and then one family alone; counters, start times and events are switches.
func TestNamespaceWithoutRules(t *testing.T) {
	ownNetNS(t)
	_, r := look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenNo, "no rule of this namespace uses conntrack")

	run(t, "nft", "add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c ct state new counter")
	sysctl(t, "netfilter/nf_conntrack_acct", "0")
	_, r = look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenPartly, "counts no bytes")
	sysctl(t, "netfilter/nf_conntrack_acct", "1")
	sysctl(t, "netfilter/nf_conntrack_timestamp", "0")
	_, r = look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenPartly, "keeps no start times")
	sysctl(t, "netfilter/nf_conntrack_timestamp", "1")
	sysctl(t, "netfilter/nf_conntrack_events", "0")
	_, r = look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenPartly, "tells no ends")
	sysctl(t, "netfilter/nf_conntrack_events", "2")

	f, r := look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenYes, "")
	if diff := cmp.Diff([]string{"ip t"}, f.Tracking); diff != "" {
		t.Errorf("tables that track: %s", diff)
	}
	_, r = look(t, coverage.Host, coverage.V6)
	want(t, r, coverage.SeenNo, "no rule asks for tracking of IPv6")
}

// TestRemedyHelps runs the remedy that the table gives.
func TestRemedyHelps(t *testing.T) {
	ownNetNS(t)
	sysctl(t, "netfilter/nf_conntrack_acct", "1")
	sysctl(t, "netfilter/nf_conntrack_timestamp", "1")
	for _, v := range []coverage.Family{coverage.V4, coverage.V6} {
		_, r := look(t, coverage.External, v)
		want(t, r, coverage.SeenNo, "no rule")
		_, cmd, ok := strings.Cut(r.Remedy, "'")
		cmd, _, ok2 := strings.Cut(cmd, "'")
		if !ok || !ok2 {
			t.Fatalf("the remedy names no command: %q", r.Remedy)
		}
		run(t, "nft", cmd)
		_, r = look(t, coverage.External, v)
		want(t, r, coverage.SeenYes, "")
	}
}

func TestNoTrack(t *testing.T) {
	ownNetNS(t)
	sysctl(t, "netfilter/nf_conntrack_acct", "1")
	sysctl(t, "netfilter/nf_conntrack_timestamp", "1")
	run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter")
	run(t, "nft", "add table ip raw; add chain ip raw out { type filter hook output priority -300; }; add rule ip raw out udp dport 53 notrack")
	f, r := look(t, coverage.External, coverage.V4)
	want(t, r, coverage.SeenPartly, "chain ip raw out exempts packets")
	if n4, n6 := f.Families[coverage.V4].NoTrack, f.Families[coverage.V6].NoTrack; len(n4) != 1 || len(n6) != 0 {
		t.Errorf("chains that exempt: %v, %v", n4, n6)
	}
	run(t, "nft", "add rule ip raw out notrack")
	_, r = look(t, coverage.External, coverage.V4)
	want(t, r, coverage.SeenNo, "chain ip raw out exempts packets")
}

func TestLoopbackDown(t *testing.T) {
	ownNetNS(t)
	run(t, "ip", "link", "set", "lo", "down")
	run(t, "ip", "link", "add", "d0", "type", "veth", "peer", "name", "d1")
	run(t, "ip", "addr", "add", "10.78.0.1/24", "dev", "d0")
	_, r := look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenUnknown, "could not be tried")
}

// TestBridge: pods on a bridge are seen among themselves only with br_netfilter.
func TestBridge(t *testing.T) {
	ownNetNS(t)
	sysctl(t, "netfilter/nf_conntrack_acct", "1")
	sysctl(t, "netfilter/nf_conntrack_timestamp", "1")
	run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter")
	run(t, "ip", "link", "add", "cni0", "type", "bridge")
	run(t, "ip", "link", "add", "pod1", "type", "veth", "peer", "name", "eth1")
	run(t, "ip", "link", "set", "pod1", "master", "cni0")
	if _, err := os.Stat("/proc/sys/net/bridge"); err == nil { // built in: on by default
		for _, n := range []string{"iptables", "ip6tables"} {
			sysctl(t, "bridge/bridge-nf-call-"+n, "0")
		}
	}
	f, r := look(t, coverage.SameNode, coverage.V4)
	want(t, r, coverage.SeenNo, "pods of cni0 (1 ports) reach each other through the bridge")
	if diff := cmp.Diff([]coverage.Bridge{{Name: "cni0", Ports: 1}}, f.Bridges); diff != "" {
		t.Error(diff)
	}
	_, r = look(t, coverage.CrossNode, coverage.V4)
	want(t, r, coverage.SeenYes, "")
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		t.Log("br_netfilter is not in this kernel: that it helps was not seen")
		return
	}
	sysctl(t, "bridge/bridge-nf-call-iptables", "1")
	_, r = look(t, coverage.SameNode, coverage.V4)
	want(t, r, coverage.SeenYes, "")
	_, r = look(t, coverage.SameNode, coverage.V6)
	want(t, r, coverage.SeenNo, "through the bridge")
}

// program loads an eBPF program for tc that lets everything pass.
func program(t *testing.T) int {
	t.Helper()
	insns := []uint64{0x00000000_00000_0b7, 0x95} // r0 = 0; exit
	licence := []byte("GPL\x00")
	attr := struct {
		typ, count     uint32
		insns, licence uint64
		rest           [14]uint64
	}{typ: 3, count: uint32(len(insns)), insns: uint64(uintptr(unsafe.Pointer(&insns[0]))), licence: uint64(uintptr(unsafe.Pointer(&licence[0])))} // BPF_PROG_TYPE_SCHED_CLS
	fd, _, errno := unix.Syscall(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)) // BPF_PROG_LOAD
	runtime.KeepAlive(insns)
	runtime.KeepAlive(licence)
	if errno != 0 {
		t.Fatalf("load an eBPF program: %v", errno)
	}
	t.Cleanup(func() { _ = unix.Close(int(fd)) })
	return int(fd)
}

// TestEBPF attaches real programs to a pod's link, by tc and by tcx.
func TestEBPF(t *testing.T) {
	for _, how := range []string{"tc", "tcx"} {
		t.Run(how, func(t *testing.T) {
			ownNetNS(t)
			sysctl(t, "netfilter/nf_conntrack_acct", "1")
			sysctl(t, "netfilter/nf_conntrack_timestamp", "1")
			run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter")
			run(t, "ip", "link", "add", "lxc1", "type", "veth", "peer", "name", "eth1")
			_, r := look(t, coverage.CrossNode, coverage.V4)
			want(t, r, coverage.SeenYes, "")
			l, err := netlink.LinkByName("lxc1")
			if err != nil {
				t.Fatal(err)
			}
			fd := program(t)
			if how == "tc" {
				if err := netlink.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}, QdiscType: "clsact"}); err != nil {
					t.Fatal(err)
				}
				err = netlink.FilterAdd(&netlink.BpfFilter{
					FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
					Fd:          fd, Name: "cil_from_container", DirectAction: true,
				})
			} else {
				attr := struct {
					target, prog, typ, flags uint32
					rest                     [2]uint64
				}{uint32(l.Attrs().Index), uint32(fd), tcxIngress, 0, [2]uint64{}}
				_, _, errno := unix.Syscall(unix.SYS_BPF, 8, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)) // BPF_PROG_ATTACH
				if errno != 0 {
					err = errno
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			_, r = look(t, coverage.CrossNode, coverage.V4)
			want(t, r, coverage.SeenUnknown, how+" program")
			_, r = look(t, coverage.Host, coverage.V4)
			want(t, r, coverage.SeenYes, "")
		})
	}
}

// TestWithoutCapabilities gives up CAP_NET_ADMIN for the test's thread.
func TestWithoutCapabilities(t *testing.T) {
	ownNetNS(t)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	f, r := look(t, coverage.Host, coverage.V4)
	want(t, r, coverage.SeenNo, "CAP_NET_ADMIN")
	if diff := cmp.Diff([]string{"CAP_NET_ADMIN"}, f.Missing); diff != "" {
		t.Error(diff)
	}
}

func TestBypass(t *testing.T) {
	for _, c := range []struct {
		name, json string
		want       []string
	}{
		{"conflist", `{"plugins":[{"type":"macvlan"},{"type":"tuning"}]}`, []string{"macvlan"}},
		{"conf", `{"type":"ipvlan"}`, []string{"ipvlan"}},
		{"bridge", `{"plugins":[{"type":"bridge"},{"type":"portmap"}]}`, nil},
		{"broken", `{`, nil},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "10-a.conflist"), []byte(c.json), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "20-b.conf"), []byte(`{"type":"sriov"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _ := bypass(dir)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestPressure counts real entries and names who opened them.
func TestPressure(t *testing.T) {
	ownNetNS(t)
	run(t, "nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter")
	for range 20 {
		c, err := net.Dial("udp", "10.77.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte{1}) // nobody listens: the entry is what counts
		_ = c.Close()
	}
	p, err := Pressure(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if !p.Known || p.Count < 20 || p.Max < p.Count || len(p.Clients) == 0 || p.Clients[0] != (pressure.Owner{Name: "10.77.0.1", Entries: p.Count}) {
		t.Errorf("%+v", *p)
	}
	if _, err := Pressure(t.Context(), "/run/netns/weir-none"); err == nil {
		t.Error("a namespace that is not there has a table")
	}
}
