package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The further ports of this test's world, and an address at which nobody listens.
const (
	portLoopback = 9102
	portFull     = 9103
	deafIP       = "10.99.0.3"
)

// fullQueue listens with room for one, in the namespace of the calling thread, and takes
// that one in: the kernel drops every further SYN.
func fullQueue(t testing.TB, at netip.AddrPort) error {
	t.Helper()
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	if at.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	// net.Listen cannot set the backlog.
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, sa); err != nil {
		return err
	}
	if err := unix.Listen(fd, 0); err != nil {
		return err
	}
	c, err := net.DialTimeout("tcp", at.String(), 10*time.Second)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return err
}

// walked waits until the agent has read the sockets of the world.
func (l *lab) walked() {
	l.t.Helper()
	eventually(l.t, "a walk over the sockets", 30*time.Second, func() error {
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", l.agentMetrics))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if !strings.Contains(string(b), "\nweir_sockets_walks_total ") || strings.Contains(string(b), "\nweir_sockets_walks_total 0\n") {
			return fmt.Errorf("none yet")
		}
		return nil
	})
}

// TestWhoListens: what a failed connection met at the server's port is in the
// aggregator's record of it.
func TestWhoListens(t *testing.T) {
	l := newLab(t, options{sockets: true})
	l.exec("", "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_syn_sent=2")
	l.exec("", "ip", "addr", "add", deafIP+"/32", "dev", "lo")
	var own net.Listener
	if err := l.inside(func() (err error) {
		own, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", portLoopback))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := l.inside(func() error { return fullQueue(t, netip.MustParseAddrPort(at(portFull))) }); err != nil {
		t.Fatal(err)
	}
	l.startAll()
	l.walked()

	deaf := net.JoinHostPort(deafIP, fmt.Sprint(portRefused))
	if err := l.inside(func() error {
		for _, addr := range []string{at(portRefused), at(portLoopback), deaf} {
			if _, err := net.DialTimeout("tcp", addr, 10*time.Second); !isRefused(err) {
				return fmt.Errorf("%s: %w, want it refused", addr, err)
			}
		}
		if c, err := net.DialTimeout("tcp", at(portFull), 1500*time.Millisecond); err == nil {
			_ = c.Close()
			return fmt.Errorf("port %d took a connection: its queue is not full", portFull)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	others := fmt.Sprintf(" (listens: %d, %d)  ", portTCP, portFull)
	eventually(t, "who listens, in the aggregator's records", 60*time.Second, func() error {
		ctl := exec.Command(filepath.Join(built, "weirctl"), "observe", "--no-fold", "--last", "2000", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
		out, err := ctl.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		for addr, want := range map[string]string{
			at(portRefused):  "REFUSED  nobody listens" + others,
			at(portLoopback): "REFUSED  listens on loopback only" + others,
			at(portFull):     "UNANSWERED  backlog full (1 wait, 0 may)  ",
			deaf:             "REFUSED  nobody listens  ",
		} {
			if !strings.Contains(string(out), " -> "+addr+"  "+want) {
				return fmt.Errorf("%s: want %q among\n%s", addr, want, out)
			}
		}
		return nil
	})
	ctl := exec.Command(filepath.Join(built, "weirctl"), "observe", "-q", "-o", "jsonl", "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort), "dst.listen = full")
	out, err := ctl.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"dst.listen":"full","dst.backlog":1,"dst.backlog_max":0`) {
		t.Errorf("dst.listen = full: %v\n%s", err, out)
	}
	l.drain()
}
