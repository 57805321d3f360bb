package conntrack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/weirnet/weir/exporter/track"
)

const sysctlDir = "/proc/sys/net/netfilter/"

// readSysctl reads a number; ok is false where the kernel has no such file.
func readSysctl(name string) (n uint64, ok bool) {
	b, err := os.ReadFile(sysctlDir + name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// Sysctls is what the kernel says about conntrack of one network namespace.
type Sysctls struct {
	Count, Max            uint64
	Accounting, Timestamp bool
	Events                uint64 // nf_conntrack_events: 0 off, 1 on, 2 while somebody listens
	Timeouts              track.Timeouts
}

// ReadSysctls reads net.netfilter.nf_conntrack_* of the network namespace at the
// path, or the present one.
func ReadSysctls(netns string) (Sysctls, error) {
	var s Sysctls
	err := inNetNS(netns, func() error {
		var ok bool
		if s.Max, ok = readSysctl("nf_conntrack_max"); !ok {
			return errors.New("read " + sysctlDir + "nf_conntrack_max: this kernel tracks no connections (load nf_conntrack)")
		}
		s.Count, _ = readSysctl("nf_conntrack_count")
		acct, _ := readSysctl("nf_conntrack_acct")
		stamp, _ := readSysctl("nf_conntrack_timestamp")
		s.Accounting, s.Timestamp = acct == 1, stamp == 1
		s.Events, _ = readSysctl("nf_conntrack_events")
		s.Timeouts = readTimeouts()
		return nil
	})
	return s, err
}

func readTimeouts() track.Timeouts {
	t := track.DefaultTimeouts()
	for name, p := range map[string]*uint32{
		"tcp_timeout_syn_sent": &t.TCP[track.TCPSynSent], "tcp_timeout_syn_recv": &t.TCP[track.TCPSynRecv],
		"tcp_timeout_established": &t.TCP[track.TCPEstablished], "tcp_timeout_fin_wait": &t.TCP[track.TCPFinWait],
		"tcp_timeout_close_wait": &t.TCP[track.TCPCloseWait], "tcp_timeout_last_ack": &t.TCP[track.TCPLastAck],
		"tcp_timeout_time_wait": &t.TCP[track.TCPTimeWait], "tcp_timeout_close": &t.TCP[track.TCPClose],
		"tcp_timeout_unacknowledged": &t.TCPUnack, "tcp_timeout_max_retrans": &t.TCPRetrans,
		"udp_timeout": &t.UDP, "udp_timeout_stream": &t.UDPStream,
		"icmp_timeout": &t.ICMP, "icmpv6_timeout": &t.ICMPv6,
		"gre_timeout": &t.GRE, "gre_timeout_stream": &t.GREStream, "generic_timeout": &t.Generic,
	} {
		if n, ok := readSysctl("nf_conntrack_" + name); ok && n < 1<<32 {
			*p = uint32(n)
		}
	}
	t.TCP[track.TCPSynSent2] = t.TCP[track.TCPSynSent]
	return t
}

// Accounting is what EnableAccounting changed.
type Accounting struct {
	netns   string
	Changed []string // names of the sysctls that were 0 and are 1 now
}

// EnableAccounting has the kernel count packets and bytes and keep start times in
// the network namespace at the path, or the present one. Entries that are older
// never get either. Call it only when the operator asked for it, and say what
// Changed; Restore puts it back.
func EnableAccounting(netns string) (*Accounting, error) {
	a := &Accounting{netns: netns}
	err := inNetNS(netns, func() error {
		for _, name := range []string{"nf_conntrack_acct", "nf_conntrack_timestamp"} {
			if n, ok := readSysctl(name); ok && n == 1 {
				continue
			}
			if err := os.WriteFile(sysctlDir+name, []byte("1"), 0o644); err != nil {
				if name == "nf_conntrack_timestamp" && errors.Is(err, fs.ErrNotExist) {
					continue // a kernel without CONFIG_NF_CONNTRACK_TIMESTAMP
				}
				return fmt.Errorf("set net.netfilter.%s: %w (needs root in this network namespace, and /proc/sys writable)", name, err)
			}
			a.Changed = append(a.Changed, "net.netfilter."+name)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, a.Restore())
	}
	return a, nil
}

// Restore sets back what was changed.
func (a *Accounting) Restore() error {
	return inNetNS(a.netns, func() error {
		var errs []error
		for _, name := range a.Changed {
			file := sysctlDir + strings.TrimPrefix(name, "net.netfilter.")
			if err := os.WriteFile(file, []byte("0"), 0o644); err != nil {
				errs = append(errs, fmt.Errorf("set %s back: %w", name, err))
			}
		}
		a.Changed = nil
		return errors.Join(errs...)
	})
}
