package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	timo "github.com/ti-mo/conntrack"
	"github.com/ti-mo/netfilter"
)

const freshPort = 20000 // the client's port of the first connection

// happening is something that queries are to tell.
type happening struct {
	class string
	at    time.Time // when it happened; zero until then
	seen  time.Time // when a query had told it
	shows func(outcome, tcpState string) bool
}

// fresh makes connections between two nodes whose agents and aggregator have the
// product's own times, and asks for all of them all the time.
type fresh struct {
	*twoNodes
	all  sync.WaitGroup
	mu   sync.Mutex
	list map[int][]*happening // by the client's port
	port int
	wait map[int]chan struct{} // closed when the established has been seen
}

// newFresh starts all.
func newFresh(t testing.TB) *fresh {
	t.Helper()
	l := &fresh{twoNodes: newTwoNodes(t, twoNodesMore{defaults: true}), port: freshPort, list: map[int][]*happening{}, wait: map[int]chan struct{}{}}
	l.servers()
	for _, n := range l.nodes {
		// Idle connections wait here to be seen before they end.
		n.Sh("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=20")
		l.deaths(n.Path)
	}
	l.settle("node-1", "node-2")
	return l
}

// await says that something will happen, or has happened just now.
func (l *fresh) await(port int, class string, now bool, shows func(outcome, tcpState string) bool) *happening {
	h := &happening{class: class, shows: shows}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now {
		h.at = time.Now()
	}
	l.list[port] = append(l.list[port], h)
	return h
}

func (l *fresh) happened(h *happening) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.at.IsZero() {
		h.at = time.Now()
	}
}

// deaths notes when the kernel of a node gave an entry up: before that nobody can know
// that a connection timed out, or was never answered.
func (l *fresh) deaths(path string) {
	l.t.Helper()
	ns, err := os.Open(path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer ns.Close()
	c, err := timo.Dial(&netlink.Config{NetNS: int(ns.Fd())})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	events := make(chan timo.Event, 1<<12)
	if _, err := c.Listen(events, 1, []netfilter.NetlinkGroup{netfilter.GroupCTDestroy}); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		for e := range events {
			if e.Flow == nil {
				continue
			}
			l.mu.Lock()
			for _, h := range l.list[int(e.Flow.TupleOrig.Proto.SourcePort)] {
				if h.at.IsZero() && (h.class == "timed out" || h.class == "unanswered") {
					h.at = time.Now()
				}
			}
			l.mu.Unlock()
		}
	}()
}

// look asks once, and notes what the answer tells.
func (l *fresh) look() error {
	v := url.Values{"since": {"5m"}, "limit": {"10000"}, "q": {fmt.Sprintf("src.port >= %d | stats active by src.port, outcome, tcp_state", freshPort)}}
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/api/v1/query?%s", l.apiPort, v.Encode()), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Rows  []struct{ Values []any }
		Error string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %w", res.Status, answer.Error, err)
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range answer.Rows {
		port, ok := r.Values[0].(float64)
		if !ok {
			return fmt.Errorf("row %v", r.Values)
		}
		outcome, _ := r.Values[1].(string)
		state, _ := r.Values[2].(string)
		for _, h := range l.list[int(port)] {
			if h.seen.IsZero() && h.shows(outcome, state) {
				h.seen = now
				if w := l.wait[int(port)]; w != nil && h.class == "established" {
					close(w)
				}
			}
		}
	}
	return nil
}

// left are what no query has told yet.
func (l *fresh) left() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for port, list := range l.list {
		for _, h := range list {
			if h.seen.IsZero() {
				out = append(out, fmt.Sprintf("%s (port %d, at %v)", h.class, port, h.at))
			}
		}
	}
	slices.Sort(out)
	return out
}

func is(want string) func(outcome, state string) bool {
	return func(outcome, _ string) bool { return outcome == want }
}

func anything(string, string) bool { return true }

// plan is one connection: its protocol and server's port, and how it goes.
type plan struct {
	proto string
	port  uint16
	class string // of the outcome
	shows func(outcome, state string) bool
	then  func(l *fresh, c net.Conn, port int)
}

// plans are what is made, in equal numbers.
var plans = []plan{
	{"tcp", portOK, "established", is("ok"), closeOnceSeen},
	{"tcp", portResetSrc, "established", is("ok"), resetOnceSeen},
	{"udp", portOK, "answered", is("ok"), talk},
	{"tcp", portNobody, "refused", is("refused"), nil},
	{"udp", portNobody, "refused", is("refused"), talk},
	{"tcp", portSrcRST, "rejected by a rule", is("refused"), nil},
	{"tcp", portDstRST, "rejected by a rule", is("refused"), nil},
	{"tcp", portResetDst, "reset by the server", is("reset"), talk},
	{"tcp", portVanish, "timed out", is("timed_out"), fallSilent},
	{"tcp", portMute, "unanswered", is("unanswered"), nil},
	{"udp", portMute, "unanswered", is("unanswered"), talk},
	{"tcp", portSrcDeny, "denied", is("denied"), nil},
	{"udp", portSrcDeny, "denied", is("denied"), talk},
	{"tcp", portDstDeny, "denied", is("denied"), nil},
	{"udp", portDstDeny, "denied", is("denied"), talk},
	{"tcp", portSrcDrop, "attempt without an entry", is("attempt"), nil},
}

// talk sends something, and waits for an answer for a while.
func talk(_ *fresh, c net.Conn, _ int) {
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write(make([]byte, 100))
	_, _ = c.Read(make([]byte, 100))
	_ = c.Close()
}

// fallSilent lets both ends be silent.
func fallSilent(l *fresh, c net.Conn, _ int) {
	_, _ = c.Write(make([]byte, 100))
	_, _ = c.Read(make([]byte, 100))
	l.t.Cleanup(func() { _ = c.Close() })
}

func (l *fresh) onceSeen(port int) {
	l.mu.Lock()
	w := l.wait[port]
	l.mu.Unlock()
	select {
	case <-w:
	case <-l.t.Context().Done():
	}
	time.Sleep(rand.N(6 * time.Second)) // at any time between two readings of the table
}

func closeOnceSeen(l *fresh, c net.Conn, port int) {
	l.onceSeen(port)
	h := l.await(port, "closed", false, func(_, state string) bool { return state != "ESTABLISHED" })
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = c.Read(make([]byte, 1)) // the server's FIN
	l.happened(h)
	_ = c.Close()
}

func resetOnceSeen(l *fresh, c net.Conn, port int) {
	l.onceSeen(port)
	l.await(port, "reset by the client", true, is("reset"))
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// begin makes a connection at some time within spread.
func (l *fresh) begin(p plan, i int, spread time.Duration) {
	l.mu.Lock()
	l.port++
	port := l.port
	l.wait[port] = make(chan struct{})
	l.mu.Unlock()
	to := targets[i%len(targets)]
	l.all.Go(func() {
		time.Sleep(rand.N(spread))
		late := p.class == "timed out" || p.class == "unanswered"
		denied := p.class == "denied" || p.class == "rejected by a rule" || p.class == "attempt without an entry"
		err := l.client.Do(func() error {
			if !denied { // those are told as what they are
				l.await(port, "new", true, anything)
			}
			l.await(port, p.class, !late, p.shows)
			timeout := 3500 * time.Millisecond
			if p.port == portSrcDrop { // its socket is all there is to see
				timeout = 15 * time.Second
			}
			d := net.Dialer{Timeout: timeout, KeepAlive: -1, LocalAddr: &net.TCPAddr{IP: to.client.AsSlice(), Port: port}}
			if p.proto == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: to.client.AsSlice(), Port: port}
			}
			c, err := d.DialContext(context.Background(), p.proto, netip.AddrPortFrom(to.addr, p.port).String())
			if err == nil { // that it fails is what most are for
				p.then(l, c, port)
			}
			return nil
		})
		if err != nil {
			l.t.Error(err)
		}
	})
}

// run makes n connections of each plan, and gives how long it took until a query told, by
// class, shortest first.
func (l *fresh) run(n int, spread, patience time.Duration) map[string][]time.Duration {
	l.t.Helper()
	for _, p := range plans {
		for i := range n {
			l.begin(p, i, spread)
		}
	}
	made := make(chan struct{})
	go func() { l.all.Wait(); close(made) }()
	late := time.Now().Add(spread + patience)
	for over := false; ; time.Sleep(50 * time.Millisecond) {
		if err := l.look(); err != nil {
			l.t.Fatal(err)
		}
		select {
		case <-made:
			over = true
		default:
		}
		left := l.left()
		if over && len(left) == 0 {
			break
		}
		if time.Now().After(late) {
			l.t.Fatalf("%d are not told:\n%s", len(left), strings.Join(left[:min(40, len(left))], "\n"))
		}
	}
	took := map[string][]time.Duration{}
	for _, list := range l.list {
		for _, h := range list {
			d := max(0, h.seen.Sub(h.at))
			took[h.class] = append(took[h.class], d)
			if h.class != "denied" {
				took[""] = append(took[""], d)
			}
		}
	}
	for class, list := range took {
		slices.Sort(list)
		l.t.Logf("%-26s %4d: p50 %6.2f s, p99 %6.2f s, max %6.2f s", class, len(list), quantile(list, 50), quantile(list, 99), quantile(list, 100))
	}
	return took
}

// quantile is the nearest rank of a percentile, in seconds.
func quantile(list []time.Duration, p int) float64 {
	return list[max(0, (len(list)*p+99)/100-1)].Seconds()
}

// TestFreshByDefault: with the product's own times, whatever begins, ends or fails is in
// the answers of queries long before the correlator's minute is over. How long it takes is
// BenchmarkFresh's: here the machine may be busy.
func TestFreshByDefault(t *testing.T) {
	l := newFresh(t)
	l.run(4, 10*time.Second, 60*time.Second)
	l.drain()
}

// BenchmarkFresh gives how long it takes until a query tells of a new connection or an
// outcome (p99-s), and of a denial (denied-p99-s).
func BenchmarkFresh(b *testing.B) {
	for b.Loop() {
		took := newFresh(b).run(40, 60*time.Second, 90*time.Second)
		b.ReportMetric(quantile(took[""], 50), "p50-s")
		b.ReportMetric(quantile(took[""], 99), "p99-s")
		b.ReportMetric(quantile(took[""], 100), "max-s")
		b.ReportMetric(quantile(took["denied"], 50), "denied-p50-s")
		b.ReportMetric(quantile(took["denied"], 99), "denied-p99-s")
		b.ReportMetric(quantile(took["denied"], 100), "denied-max-s")
	}
}
