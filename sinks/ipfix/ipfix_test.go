package ipfix

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
)

func samples(from, to uint64) []flow.Record {
	var rs []flow.Record
	for i := from; i < to; i++ {
		rs = append(rs, flowtest.Sample(i))
	}
	return rs
}

// collector reads IPFIX over TCP with Weir's own decoder, one session a connection.
type collector struct {
	ln    net.Listener
	mu    sync.Mutex
	recs  []flow.Record
	stats []ipfix.Stats
	cutAt int // end the connection after so many records in all; 0 never
}

func (c *collector) Record(r *flow.Record)   { c.recs = append(c.recs, *r) }
func (c *collector) Ledger(*ipfix.LedgerRow) {}

func listen(t *testing.T, ln net.Listener) *collector {
	t.Helper()
	c := &collector{ln: ln}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { c.serve(t, conn) })
		}
	})
	return c
}

func (c *collector) serve(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	s := ipfix.NewSession(ipfix.SessionOptions{})
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			msg, rest, ferr := ipfix.NextMessage(buf)
			if ferr != nil {
				t.Errorf("framing: %v", ferr)
				return
			}
			if msg == nil {
				break
			}
			c.mu.Lock()
			if derr := s.Decode(0, msg, c); derr != nil {
				t.Errorf("decode: %v", derr)
			}
			cut := c.cutAt > 0 && len(c.recs) >= c.cutAt
			if cut {
				c.cutAt = 0
			}
			c.mu.Unlock()
			buf = rest
			if cut { // as a collector that stops in good order: it says so and reads what is there
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
		}
		if err != nil {
			c.mu.Lock()
			c.stats = append(c.stats, s.Stats)
			c.mu.Unlock()
			return
		}
	}
}

func (c *collector) got() []flow.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]flow.Record(nil), c.recs...)
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func tcpListener(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func newSink(t testing.TB, cfg Config) *Sink {
	t.Helper()
	s, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWeirTemplateCarriesEverything(t *testing.T) {
	c := listen(t, tcpListener(t))
	cfg := DefaultConfig()
	cfg.Address, cfg.Template = c.ln.Addr().String(), "weir"
	s := newSink(t, cfg)
	want := samples(0, 3000)
	want[7].SetSrcIP(netip.MustParseAddr("fd00::1"))
	want[7].SetDstIP(netip.MustParseAddr("fd00::2"))
	want[7].Has.Clear(flow.FClusterIP)
	want[7].Has.Clear(flow.FSvcIP)
	want[7].ClusterIP, want[7].SvcIP = netip.Addr{}, netip.Addr{}
	if err := s.Write(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "3,000 records", func() bool { return len(c.got()) == 3000 })
	for i, r := range c.got() {
		if r != want[i] {
			t.Fatalf("record %d:\n%s\n%s", i, flow.AppendJSON(nil, &want[i]), flow.AppendJSON(nil, &r))
		}
	}
}

// TestReconnect has the collector end the connection in the middle: every record must arrive at least
// once, with the templates and sequence numbers of each session in order.
func TestReconnect(t *testing.T) {
	c := listen(t, tcpListener(t))
	c.cutAt = 900
	cfg := DefaultConfig()
	cfg.Address, cfg.Template = c.ln.Addr().String(), "weir"
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.BatchRecords, rc.BatchAge, rc.RetryMin = t.TempDir(), 200, 10*time.Millisecond, 5*time.Millisecond
	book := ledger.NewBook()
	r, err := sinks.NewRunner(rc, newSink(t, cfg), sinks.Deps{Stage: book.Stage("sink/ipfix")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	for i := uint64(0); i < 10_000; i += 100 {
		r.Offer(samples(i, i+100))
	}
	if err := r.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	waitFor(t, "every record", func() bool {
		for _, r := range c.got() {
			seen[flowtest.SampleNumber(r.ID)] = true
		}
		return len(seen) == 10_000
	})
	if l := book.Snapshot()[0]; l.Out.Records != 10_000 || l.LostTotal().Records != 0 {
		t.Errorf("books %+v", l)
	}
	waitFor(t, "the end of the session", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.stats) > 0 })
	for _, st := range c.stats {
		if st.SequenceLost+st.SequenceReset+st.SetsLost+st.Malformed() != 0 {
			t.Errorf("session %+v", st)
		}
	}
}

func TestNoCollectorIsAnError(t *testing.T) {
	ln := tcpListener(t)
	cfg := DefaultConfig()
	cfg.Address = ln.Addr().String()
	ln.Close()
	err := newSink(t, cfg).Write(t.Context(), samples(0, 1))
	if err == nil || !strings.Contains(err.Error(), "export to tcp://"+cfg.Address) {
		t.Errorf("error %v", err)
	}
}

// udpCollector decodes datagrams until it has n records.
func udpCollector(t *testing.T) (addr string, read func(n int) (recs []flow.Record, templateMessages int, st ipfix.Stats)) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	if err := pc.(*net.UDPConn).SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	s := ipfix.NewSession(ipfix.SessionOptions{})
	templates := 0
	return pc.LocalAddr().String(), func(n int) ([]flow.Record, int, ipfix.Stats) {
		buf := make([]byte, 65536)
		for len(c.recs) < n {
			if err := pc.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			k, _, err := pc.ReadFrom(buf)
			if err != nil {
				t.Fatalf("%d of %d records: %v", len(c.recs), n, err)
			}
			if k > udpMessage {
				t.Errorf("datagram of %d bytes", k)
			}
			if k > 18 && buf[16] == 0 && buf[17] == 2 { // the first set holds templates
				templates++
			}
			if err := s.Decode(0, buf[:k], c); err != nil {
				t.Fatal(err)
			}
		}
		return c.recs, templates, s.Stats
	}
}

func TestUDPRefreshesTemplates(t *testing.T) {
	addr, read := udpCollector(t)
	cfg := DefaultConfig()
	cfg.Address, cfg.Protocol, cfg.Template, cfg.TemplateRefresh = addr, "udp", "iana", time.Minute
	now := time.UnixMilli(1_700_000_000_000)
	s, err := New(cfg, nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range uint64(5) {
		if err := s.Write(t.Context(), samples(i*20, i*20+20)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(31 * time.Second)
	}
	recs, announced, st := read(100)
	if announced != 3 || st.SequenceLost+st.SequenceReset != 0 {
		t.Errorf("%d records, templates announced %d times, stats %+v", len(recs), announced, st)
	}
	now = now.Add(time.Hour)
	if err := s.Tick(t.Context(), now); err != nil {
		t.Fatal(err)
	}
}

func TestTooLongForTheMessage(t *testing.T) {
	addr, read := udpCollector(t)
	cfg := DefaultConfig()
	cfg.Address, cfg.Protocol = addr, "udp"
	s := newSink(t, cfg)
	recs := samples(0, 3)
	recs[1].SetSrcLabels(strings.Repeat("x", 2000))
	err := s.Write(t.Context(), recs)
	var un *sinks.Undelivered
	if !errors.As(err, &un) || un.Amount.Records != 1 || un.Reason != LostTooLong {
		t.Fatalf("error %v", err)
	}
	read(2)
}

func TestProxyMode(t *testing.T) {
	addr, read := udpCollector(t)
	cfg := DefaultConfig()
	cfg.Address, cfg.Protocol, cfg.Proxy = addr, "udp", true
	s := newSink(t, cfg)
	recs := samples(0, 2)
	recs[0].SetOriginalDomain(77)
	recs[0].SetOriginalExporter(netip.MustParseAddr("192.0.2.7"))
	recs[0].SetDirection(1)
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	got, _, _ := read(2)
	if got[0].OriginalDomain != 77 || got[0].OriginalExporter != recs[0].OriginalExporter || got[0].Direction != 1 || got[1].Direction != 255 {
		t.Errorf("%s\n%s", flow.AppendJSON(nil, &got[0]), flow.AppendJSON(nil, &got[1]))
	}
}

func TestJSONLines(t *testing.T) {
	ln := tcpListener(t)
	defer ln.Close()
	type line struct {
		At    string         `json:"@timestamp"`
		IPFIX map[string]any `json:"ipfix"`
	}
	lines := make(chan line, 100)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sc := bufio.NewScanner(conn)
		for sc.Scan() {
			var l line
			if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
				t.Errorf("%v: %s", err, sc.Bytes())
			}
			lines <- l
		}
	}()
	cfg := DefaultConfig()
	cfg.Address, cfg.Format = ln.Addr().String(), "json"
	s := newSink(t, cfg)
	if err := s.Write(t.Context(), samples(7, 9)); err != nil {
		t.Fatal(err)
	}
	l := <-lines
	for name, want := range map[string]any{
		"sourceIPv4Address": "10.10.0.7", "protocolIdentifier": 6.0, "flowStartSeconds": 1700000000.0,
		"sourcePodName": "client-0007-x7k2p", "egressName": "", "octetTotalCountFromSourceNode": 0.0,
	} {
		if l.IPFIX[name] != want {
			t.Errorf("%s is %v, want %v", name, l.IPFIX[name], want)
		}
	}
	if _, err := time.Parse(time.RFC3339, l.At); err != nil {
		t.Error(err)
	}
	<-lines
}

func TestBadConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`address: "x" is not host:port`: func(c *Config) { c.Address = "x" },
		`protocol: "sctp" is none of`:   func(c *Config) { c.Protocol = "sctp" },
		`template: "all" is none of`:    func(c *Config) { c.Template = "all" },
		`format: "xml" is neither`:      func(c *Config) { c.Format = "xml" },
		"maxMessage: 100 is not in":     func(c *Config) { c.MaxMessage = 100 },
		"maxMessage: 512 holds no":      func(c *Config) { c.MaxMessage, c.Template = 512, "weir" },
		"certFile, keyFile: give both":  func(c *Config) { c.CertFile = "a" },
	} {
		cfg := DefaultConfig()
		cfg.Address = "127.0.0.1:4739"
		change(&cfg)
		if _, err := New(cfg, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	for _, tmpl := range []string{"iana", "antrea-aggregator", "weir"} {
		b.Run(tmpl, func(b *testing.B) {
			cfg := DefaultConfig()
			cfg.Address, cfg.Template = ln.Addr().String(), tmpl
			s, err := New(cfg, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			batch := samples(0, 5000)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if err := s.Write(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
		})
	}
}
