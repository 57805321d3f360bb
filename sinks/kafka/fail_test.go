package kafka_test

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/kafka"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/sinktest"
)

// testAccess: who the broker lets in, and what is said to whom it does not.
func testAccess(t *testing.T, k *testenv.Kafka) {
	t.Helper()
	topic := makeTopic(t, k, "access", nil)
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	right, wrong := write("right", k.Password+"\n"), write("wrong", "no")
	cert, key := k.CA.Issue(t, dir, "client", time.Now().Add(time.Hour))
	other := testenv.NewCA(t)
	strangerCert, strangerKey := other.Issue(t, t.TempDir(), "stranger", time.Now().Add(time.Hour))
	sasl := func(mech, file string) func(*kafka.Config) {
		return func(c *kafka.Config) {
			c.Brokers, c.SASL, c.Username, c.Password.File = []string{k.SASL}, mech, k.User, file
			c.TLS = remote.TLS{On: true, CA: k.CA.File}
		}
	}
	mutual := func(ca, cert, key string) func(*kafka.Config) {
		return func(c *kafka.Config) {
			c.Brokers, c.TLS = []string{k.SSL}, remote.TLS{On: true, CA: ca, Cert: cert, Key: key}
		}
	}
	for name, c := range map[string]struct {
		set  func(*kafka.Config)
		want []string // of the error; none where it works
	}{
		"plain":               {sasl("plain", right), nil},
		"scram-sha-256":       {sasl("scram-sha-256", right), nil},
		"scram-sha-512":       {sasl("scram-sha-512", right), nil},
		"mutual TLS":          {mutual(k.CA.File, cert, key), nil},
		"wrong by plain":      {sasl("plain", wrong), []string{`refuses user "weir" by plain: check the password in ` + wrong}},
		"wrong by scram":      {sasl("scram-sha-512", wrong), []string{`refuses user "weir" by scram-sha-512: check the password in ` + wrong}},
		"no password there":   {sasl("scram-sha-512", filepath.Join(dir, "none")), []string{"passwordFile: "}},
		"no certificate":      {mutual(k.CA.File, "", ""), []string{"tls: ", "certificate"}},
		"stranger":            {mutual(k.CA.File, strangerCert, strangerKey), []string{"certificate"}},
		"broker of another":   {mutual(other.File, cert, key), []string{"certificate signed by unknown authority"}},
		"plain text to TLS":   {func(c *kafka.Config) { c.Brokers = []string{k.SSL} }, []string{"is this a plaintext connection speaking to a tls endpoint?"}},
		"no user at SASL":     {func(c *kafka.Config) { c.Brokers, c.TLS = []string{k.SASL}, remote.TLS{On: true, CA: k.CA.File} }, []string{"is the port one for SSL?"}},
		"TLS to plain text":   {func(c *kafka.Config) { c.TLS = remote.TLS{On: true, CA: k.CA.File} }, []string{"is the port one for SSL?"}},
		"topic missing":       {func(c *kafka.Config) { c.Topic = "none" }, []string{`no topic "none"`, "kafka-topics.sh --create --topic none"}},
		"nobody there":        {func(c *kafka.Config) { c.Brokers = []string{"127.0.0.1:1"} }, []string{"connection refused"}},
		"deaf":                {func(c *kafka.Config) { c.Brokers = []string{testenv.Deaf(t)} }, []string{"no answer in time", "advertised.listeners"}},
		"one of two is there": {func(c *kafka.Config) { c.Brokers = []string{"127.0.0.1:1", k.Plain} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(k.Plain, topic)
			cfg.Timeout = time.Second
			c.set(&cfg)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := newSink(t, cfg).Write(ctx, samples(0, 10))
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want...)
		})
	}
	t.Run("rotated", func(t *testing.T) {
		cfg := config(k.SASL, topic)
		sasl("scram-sha-512", write("rotated", "old"))(&cfg)
		s := newSink(t, cfg)
		wantError(t, s.Write(t.Context(), samples(0, 10)), "check the password in")
		write("rotated", k.Password)
		if err := s.Write(t.Context(), samples(0, 10)); err != nil {
			t.Errorf("with the new password: %v", err)
		}
	})
}

// testTooLarge: the topic takes less than the sink's batches: they are divided, and only
// the record that is too large by itself is lost.
func testTooLarge(t *testing.T, k *testenv.Kafka) {
	t.Helper()
	topic := makeTopic(t, k, "small", map[string]string{"max.message.bytes": "20000"})
	cfg := config(k.Plain, topic)
	cfg.Compression = "none"
	s := newSink(t, cfg)
	recs := samples(0, 1000)
	recs[500].SetHTTPVals(randomText(30_000))
	recs[900].SetHTTPVals(randomText(30_000))
	err := s.Write(t.Context(), recs)
	wantError(t, err, "2 records cannot be delivered: poisoned")
	if seen, again := numbers(t, readAll(t, k, topic)); len(seen) != 998 || again != 0 || seen[500] != 0 || seen[900] != 0 {
		t.Errorf("%d records, %d of them twice, want 998 without 500 and 900", len(seen), again)
	}
}

// lossy is a proxy that loses answers of the broker while it is asked to: the request is
// done, the client does not know.
type lossy struct {
	l    net.Listener
	to   string
	on   atomic.Bool
	lost atomic.Int64
}

func newLossy(t *testing.T) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &lossy{l: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *lossy) serve(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		defer s.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := s.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := s.Read(buf)
		if err != nil {
			return
		}
		if p.on.Load() && rand.IntN(4) == 0 {
			p.lost.Add(1)
			return // the answer is lost with the connection
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestLostAnswers: what the broker has written and could not confirm comes once all the
// same. Without an idempotent producer it comes twice, which shows that answers were lost.
func TestLostAnswers(t *testing.T) {
	p := newLossy(t)
	k := testenv.StartKafka(t, "advertised.listeners=PLAINTEXT://"+p.l.Addr().String())
	p.to, k.Plain = k.Plain, p.l.Addr().String() // all go through it
	for _, acks := range []string{"all", "leader"} {
		t.Run(acks, func(t *testing.T) {
			const n = 40_000
			cfg := config(k.Plain, makeTopic(t, k, "lost-"+acks, nil))
			cfg.Acks, cfg.Timeout = acks, 2*time.Second
			s := newSink(t, cfg)
			p.lost.Store(0)
			p.on.Store(true)
			for i := 0; i < n; i += 500 {
				recs := samples(i, 500)
				for { // as the Runner does
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					err := s.Write(ctx, recs)
					cancel()
					if err == nil {
						break
					}
					if t.Context().Err() != nil {
						t.Fatal(err)
					}
				}
			}
			p.on.Store(false)
			seen, again := numbers(t, readAll(t, k, cfg.Topic))
			t.Logf("%d answers lost, %d records, %d of them twice", p.lost.Load(), len(seen), again)
			if p.lost.Load() == 0 || len(seen) != n || (again == 0) != (acks == "all") {
				t.Fail()
			}
		})
	}
}

// TestKilled: the broker is killed in the middle, comes again, and stands still for a
// while; Weir is killed twice. No record is lost; what comes twice is at most the batch
// that was on its way when Weir was killed, and its id tells.
func TestKilled(t *testing.T) {
	k := testenv.StartKafka(t)
	kd := kind(k)
	g := kd.New(t)
	const total = 200_000
	begin := time.Now()
	hits := 0
	sinktest.Child(t, g, total, func(at, held int) bool {
		if at >= total/5 && hits == 0 {
			hits++
			k.Kill()
			k.Start(t)
		}
		return at >= 2*total/5
	})
	t.Logf("broker killed and started, Weir killed: %v", time.Since(begin).Round(time.Millisecond))
	before, twice := numbers(t, readAll(t, k, topicOf(g)))
	if twice != 0 {
		t.Errorf("%d of %d records are there twice before Weir was killed", twice, len(before))
	}
	k.Kill()
	sinktest.Child(t, g, total, func(at, held int) bool { return at >= 3*total/5 }) // into the spool
	k.Start(t)
	sinktest.Child(t, g, total, func(at, held int) bool { return at >= total && held < total/3 })
	hits = 0
	books := sinktest.Child(t, g, total, func(at, held int) bool {
		if hits == 0 && held > 0 {
			hits++
			k.Kill()
			k.Start(t)
		}
		return false
	})
	t.Logf("ended: %v", time.Since(begin).Round(time.Millisecond))
	seen, again := numbers(t, readAll(t, k, topicOf(g)))
	t.Logf("%d records, %d of them twice after three kills of Weir", len(seen), again)
	if len(seen) != total || again > 3*2*500 {
		t.Errorf("%d records, want %d; %d twice, at most %d may be", len(seen), total, again, 3*2*500)
	}
	l := books[0]
	if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
		t.Errorf("books do not balance or something was lost: %+v", l)
	}
}

func topicOf(g sinktest.Target) string {
	_, topic, _ := strings.Cut(g.Address, "/")
	return topic
}

// TestHalfDead: the broker stands still with its connections open, then its certificate
// expires, then both are mended: records wait in the spool, memory stays, errors say what
// it is, and in the end each record is there once.
func TestHalfDead(t *testing.T) {
	k := testenv.StartKafka(t)
	cfg := config(k.SSL, makeTopic(t, k, "half-dead", nil))
	cert, key := k.CA.Issue(t, t.TempDir(), "client", time.Now().Add(time.Hour))
	cfg.TLS, cfg.Timeout = remote.TLS{On: true, CA: k.CA.File, Cert: cert, Key: key}, time.Second
	o := sinktest.StartOutage(t, newSink(t, cfg))
	o.Offer(t, 10_000)
	o.Drain(t)
	k.Signal(t, syscall.SIGSTOP)
	o.Offer(t, 40_000)
	o.Says(t, "no answer in time")
	o.Memory(t, 100<<20)
	k.Signal(t, syscall.SIGCONT)
	o.Drain(t)
	k.Stop()
	k.Certificate(t, time.Now().Add(-time.Hour))
	k.Start(t)
	o.Offer(t, 10_000)
	o.Says(t, "certificate has expired")
	k.Stop()
	k.Certificate(t, time.Now().Add(time.Hour)) // renewed
	k.Start(t)
	o.Drain(t)
	o.End(t)
	if seen, again := numbers(t, readAll(t, k, cfg.Topic)); len(seen) != o.Total || again != 0 {
		t.Errorf("%d records, %d of them twice, want %d", len(seen), again, o.Total)
	}
}

// TestEndlessAnswer: answers that say they are long, or are no Kafka at all, are read to a
// bound.
func TestEndlessAnswer(t *testing.T) {
	for name, head := range map[string][]byte{"long": {0x7f, 0xff, 0xff, 0xff}, "below the bound": {0x05, 0, 0, 0}, "negative": {0xff, 0xff, 0xff, 0xff}, "text": []byte("HTTP/1.1 200 OK\r\n")} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, config(testenv.Flood(t, head, 'x'), "flows"))
			sinktest.Endless(t, func(ctx context.Context) error { return s.Write(ctx, sinktest.Samples(0, 1)) })
		})
	}
}
