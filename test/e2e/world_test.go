// Package e2e runs the binaries as processes on real conntrack traffic and checks
// that every connection arrives with its exact bytes, or that the books say why not.
//
// The truth is nftables': a set that counts packets and bytes of each connection in
// the same namespace, beside conntrack and independent of it.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/weirnet/weir/internal/testenv"
)

// The ports of the world's servers.
const (
	portTCP     = 9000 // answers
	portUDP     = 9001 // echoes
	portRefused = 9002 // nobody listens
	portDropped = 9003 // dropped on the way in
)

const clientIP, serverIP = "10.99.0.1", "10.99.0.2"

func at(port int) string { return net.JoinHostPort(serverIP, strconv.Itoa(port)) }

const rules = `
table inet weir_e2e {
	set tx { type inet_proto . inet_service . inet_service; size 65535; flags dynamic; counter; }
	set rx { type inet_proto . inet_service . inet_service; size 65535; flags dynamic; counter; }
	chain out { type filter hook output priority 0;
		ct state new,established,related counter
		meta l4proto { tcp, udp } th dport 9000-9003 add @tx { meta l4proto . th sport . th dport }
		meta l4proto { tcp, udp } th sport 9000-9003 add @rx { meta l4proto . th dport . th sport }
	}
	chain in { type filter hook input priority 0; th dport 9003 drop; }
}
`

// world is a network namespace with servers in it.
type world struct {
	t     testing.TB
	name  string
	ns    netns.NsHandle // of the clients
	far   netns.NsHandle // of the servers; the same, but for a pair of nodes
	next  int            // client port of the next connection
	stops []func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := newSpace(t, rules)
	for _, ip := range []string{clientIP, serverIP} {
		w.exec("", "ip", "addr", "add", ip+"/32", "dev", "lo")
	}
	w.far = w.ns
	w.serve()
	return w
}

// newSpace makes the namespace with its rules.
func newSpace(t testing.TB, rules string) *world {
	t.Helper()
	testenv.NeedRoot(t)
	for _, tool := range []string{"ip", "nft"} {
		testenv.NeedTool(t, tool)
	}
	w := &world{t: t, name: fmt.Sprintf("weir-e2e-%d", os.Getpid()), next: 10000}
	w.must("ip", "netns", "add", w.name)
	t.Cleanup(func() {
		for _, f := range w.stops {
			f()
		}
		w.must("ip", "netns", "del", w.name)
	})
	var err error
	if w.ns, err = netns.GetFromName(w.name); err != nil {
		t.Fatal(err)
	}
	w.stops = append(w.stops, func() { _ = w.ns.Close() })
	w.exec("", "ip", "link", "set", "lo", "up")
	w.exec(rules, "nft", "-f", "-")
	w.tune()
	return w
}

// tune sets the conntrack of a namespace.
func (w *world) tune() {
	w.t.Helper()
	// The kernel looks for dead entries as often as its entries live on average: none
	// may live long, or the dead wait for it.
	w.exec("", "sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1", "net.netfilter.nf_conntrack_timestamp=1",
		"net.netfilter.nf_conntrack_udp_timeout=3", "net.netfilter.nf_conntrack_udp_timeout_stream=3",
		"net.netfilter.nf_conntrack_tcp_timeout_time_wait=3", "net.netfilter.nf_conntrack_tcp_timeout_close=3")
}

func (w *world) must(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// exec runs a program in the world.
func (w *world) exec(stdin string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", w.name}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// inside runs f on a thread of its own in the world; sockets made there stay there.
func (w *world) inside(f func() error) error { return in(w.ns, f) }

func in(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (w *world) serve() {
	var l net.Listener
	var u net.PacketConn
	err := in(w.far, func() (err error) {
		if l, err = net.Listen("tcp", at(portTCP)); err != nil {
			return err
		}
		u, err = net.ListenPacket("udp", at(portUDP))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.stops = append(w.stops, func() { _ = l.Close(); _ = u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the client ends
			}()
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(buf[:n], from)
		}
	}()
}

// traffic makes n rounds of connections, each from a port of its own: TCP that
// answers, UDP that echoes, and with odd a refused and a dropped one as well.
func (w *world) traffic(n int, pause time.Duration, odd bool) {
	w.t.Helper()
	w.trafficWhile(func(done int) bool { return done < n }, pause, odd)
}

// trafficWhile makes rounds as long as more wants them.
func (w *world) trafficWhile(more func(done int) bool, pause time.Duration, odd bool) {
	w.t.Helper()
	err := w.inside(func() error {
		for done := 0; more(done); done++ {
			if err := w.tcp(portTCP, 100+w.next%4000); err != nil {
				return err
			}
			if err := w.udp(portUDP, 10+w.next%900); err != nil {
				return err
			}
			if odd {
				if err := w.tcp(portRefused, 0); !isRefused(err) {
					return fmt.Errorf("port %d: %w, want it refused", portRefused, err)
				}
				if err := w.udp(portDropped, 20); err != nil {
					return err
				}
			}
			time.Sleep(pause)
		}
		return nil
	})
	if err != nil {
		w.t.Error(err) // not Fatal: it may run beside the test
	}
}

func isRefused(err error) bool { return err != nil && strings.Contains(err.Error(), "refused") }

func (w *world) tcp(port, size int) error {
	w.next++
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(clientIP), Port: w.next}, Timeout: 5 * time.Second, KeepAlive: -1}
	c, err := d.Dial("tcp", at(port))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

func (w *world) udp(port, size int) error {
	w.next++
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(clientIP), Port: w.next}, &net.UDPAddr{IP: net.ParseIP(serverIP), Port: port})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(make([]byte, size)); err != nil {
		return err
	}
	if port == portDropped {
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 2048))
	return err
}

// conn names a connection of the world.
type conn struct {
	proto        uint8
	sport, dport uint16
}

// tally is what a connection moved, in both directions.
type tally struct{ packets, bytes, revPackets, revBytes uint64 }

// truth reads what nftables counted.
func (w *world) truth() map[conn]tally {
	w.t.Helper()
	m := map[conn]tally{}
	w.set("tx", func(c conn, packets, bytes uint64) { x := m[c]; x.packets, x.bytes = packets, bytes; m[c] = x })
	w.set("rx", func(c conn, packets, bytes uint64) { x := m[c]; x.revPackets, x.revBytes = packets, bytes; m[c] = x })
	return m
}

func (w *world) set(name string, f func(c conn, packets, bytes uint64)) {
	w.t.Helper()
	var doc struct {
		Nftables []struct {
			Set *struct {
				Elem []struct {
					Elem struct {
						Val     struct{ Concat []any }
						Counter struct{ Packets, Bytes uint64 }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(w.exec("", "nft", "-j", "list", "set", "inet", "weir_e2e", name)), &doc); err != nil {
		w.t.Fatal(err)
	}
	for _, o := range doc.Nftables {
		if o.Set == nil {
			continue
		}
		for _, e := range o.Set.Elem {
			v := e.Elem.Val.Concat
			c := conn{6, uint16(v[1].(float64)), uint16(v[2].(float64))}
			if v[0] == "udp" {
				c.proto = 17
			}
			f(c, e.Elem.Counter.Packets, e.Elem.Counter.Bytes)
		}
	}
}

// binaries are built once from the tree.
var binaries = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "build", "-o", built+"/", "./cmd/weir-agent", "./cmd/weir-aggregator", "./cmd/weirctl")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the binaries: %w\n%s", err, out)
	}
	return built, nil
})

// built is where binaries puts them; TestMain removes it.
var built = filepath.Join(os.TempDir(), fmt.Sprintf("weir-e2e-bin-%d", os.Getpid()))

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// proc is a daemon under test.
type proc struct {
	t    testing.TB
	name string
	path string
	args []string
	log  string
	cmd  *exec.Cmd
	done chan error
}

func (p *proc) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(p.cmd, p.done)
}

func (p *proc) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done //nolint:errcheck // how a killed process ended is known
	p.done <- nil
}

// stop asks the daemon to drain and wants status 0.
func (p *proc) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case err := <-p.done:
		p.done <- err
		if err != nil {
			p.t.Errorf("%s: %v\n%s", p.name, err, tail(p.log))
		}
	case <-time.After(40 * time.Second):
		p.t.Errorf("%s does not stop\n%s", p.name, tail(p.log))
		p.kill()
	}
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// daemon prepares a process with its configuration.
func daemon(t testing.TB, dir, name, binary, config string) *proc {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proc{t: t, name: name, path: filepath.Join(bin, binary), args: []string{"--config", file}, log: filepath.Join(dir, name+".log")}
	t.Cleanup(func() {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(p.log))
		}
	})
	return p
}

// freePort finds a port that nobody listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually waits until f has no error.
func eventually(t testing.TB, what string, wait time.Duration, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, wait, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
