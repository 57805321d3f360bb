package inspect

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/coverage"
)

const (
	maxLinks     = 512 // looked at for programs; one is enough to know
	maxPrograms  = 32
	bpfProgQuery = 16 // enum bpf_cmd BPF_PROG_QUERY
	tcxIngress   = 46 // enum bpf_attach_type BPF_TCX_INGRESS, since 6.6
	tcxEgress    = 47
)

// links looks at the interfaces: bridges with ports of pods, programs that may
// forward past netfilter, Open vSwitch.
func links(f *coverage.Facts) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	defer h.Close()
	list, err := h.LinkList()
	if err != nil {
		return
	}
	ports := map[int]int{}
	for _, l := range list {
		if l.Type() == "veth" || l.Type() == "tuntap" {
			ports[l.Attrs().MasterIndex]++
		}
	}
	for i, l := range list {
		a := l.Attrs()
		if l.Type() == "bridge" && ports[a.Index] > 0 {
			f.Bridges = append(f.Bridges, coverage.Bridge{Name: a.Name, Ports: ports[a.Index]})
		}
		f.OVS = f.OVS || l.Type() == "openvswitch"
		if i < maxLinks && len(f.EBPF) < maxPrograms {
			f.EBPF = append(f.EBPF, programs(h, l)...)
		}
	}
	if f.OVS {
		f.OVSZones = zonesUsed()
	}
}

// programs names what eBPF there is on one link. A datapath that forwards past
// netfilter sits on the pods' links or, as Cilium, on one of its own.
func programs(h *netlink.Handle, l netlink.Link) []string {
	a := l.Attrs()
	if strings.HasPrefix(a.Name, "cilium_") {
		return []string{"Cilium's link " + a.Name}
	}
	if l.Type() == "netkit" {
		return []string{"netkit link " + a.Name}
	}
	if l.Type() != "veth" {
		return nil
	}
	for _, dir := range []struct {
		parent uint32
		attach uint32
		word   string
	}{{netlink.HANDLE_MIN_INGRESS, tcxIngress, "ingress"}, {netlink.HANDLE_MIN_EGRESS, tcxEgress, "egress"}} {
		filters, err := h.FilterList(l, dir.parent)
		for _, x := range filters {
			if b, ok := x.(*netlink.BpfFilter); ok && err == nil {
				return []string{fmt.Sprintf("tc program %s on %s %s", name(b.Name), a.Name, dir.word)}
			}
		}
		if attached(a.Index, dir.attach) > 0 {
			return []string{"tcx program on " + a.Name + " " + dir.word}
		}
	}
	if a.Xdp != nil && a.Xdp.Attached {
		return []string{"XDP program on " + a.Name}
	}
	return nil
}

func name(s string) string {
	if s == "" {
		return "without a name"
	}
	return s
}

// attached counts the tcx programs of a link; 0 too where the kernel has no tcx or
// does not tell (CAP_NET_ADMIN).
func attached(ifindex int, attach uint32) uint32 {
	// union bpf_attr, struct query.
	q := struct {
		target, attachType, queryFlags, attachFlags uint32
		ids                                         uint64
		count, pad                                  uint32
		rest                                        [5]uint64
	}{target: uint32(ifindex), attachType: attach}
	_, _, errno := unix.Syscall(unix.SYS_BPF, bpfProgQuery, uintptr(unsafe.Pointer(&q)), unsafe.Sizeof(q))
	if errno != 0 {
		return 0
	}
	return q.count
}

// zonesUsed says whether an entry of a zone other than 0 is there.
func zonesUsed() bool {
	b, err := os.ReadFile("/proc/thread-self/net/nf_conntrack")
	return err == nil && strings.Contains(string(b), " zone=")
}
