package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/ipfix"
)

// load is the binary with every kind of sink at work over real servers, one sink that gets
// no answer, and one server that is killed in the middle and comes again.
type load struct {
	rate  int // records a second
	total int

	metrics, collect string // addresses
	places           []*place
	broker           *testenv.Kafka
	binary           *exec.Cmd
	sent             atomic.Int64
	bytes            uint64 // bytes_delta of all that was sent

	cpu      *profile
	held     map[string]uint64        // most records that a stage held at once
	done     map[string]time.Duration // when it held none, counted from the end of the feed
	whole    time.Duration            // CPU of the process from the first record on
	peak     int64                    // bytes of memory
	began    time.Time
	fed      time.Duration // how long the feed took
	books    map[string]ledger.Line
	existing time.Duration // CPU before the first record
}

// runLoad feeds the binary for so long, waits until every sink that lives has all, and
// compares what is at each destination with what was sent, and with the books.
func runLoad(t testing.TB, rate int, lasting time.Duration) *load {
	t.Helper()
	l := &load{rate: rate, total: rate * int(lasting/time.Second), cpu: newProfile(), held: map[string]uint64{}, done: map[string]time.Duration{}}
	l.startServers(t)
	l.startBinary(t)
	for _, s := range l.places {
		if s.server != nil {
			s.used = -s.server()
		}
	}
	fed := make(chan error, 1)
	go func() {
		l.began = time.Now()
		err := l.feed(t.Context())
		l.fed = time.Since(l.began)
		fed <- err
	}()
	stop := l.cpu.record(t, l.metrics)
	l.breakBroker(t)
	for feeding := true; feeding; {
		select {
		case err := <-fed:
			if err != nil {
				t.Fatal(err)
			}
			feeding = false
		case <-time.After(time.Second):
			l.look(t)
		}
	}
	l.drain(t)
	stop()
	l.whole = testenv.CPU(t, l.binary.Process.Pid) - l.existing
	l.peak = testenv.PeakMemory(t, l.binary.Process.Pid)
	for _, s := range l.places {
		if s.server != nil {
			s.used += s.server()
		}
	}
	l.look(t)
	l.check(t)
	return l
}

// startBinary starts the aggregator with its history and all sinks.
func (l *load) startBinary(t testing.TB) {
	t.Helper()
	l.collect, l.metrics = port(t), port(t)
	text := fmt.Sprintf("collect: {tls: \"\", tcp: %q}\nmetrics: {listen: %q, pprof: true}\nsinks:\n", l.collect, l.metrics)
	for _, s := range l.places {
		text += "- " + s.config + "\n"
	}
	l.binary = startBinary(t, text)
	eventually(t, "the binary answers", func() bool { return scraped(l.metrics, "weir_config_refused") == "0" })
	l.existing = testenv.CPU(t, l.binary.Process.Pid)
}

// feed tells connections as agents do, so many a second.
func (l *load) feed(ctx context.Context) error {
	c := ipfix.DefaultConfig()
	c.Name, c.Address, c.Protocol, c.Template = "agent", l.collect, "tcp", "weir"
	s, err := ipfix.New(c, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	samples := make([]flow.Record, 28_000) // as many as Sample has source ports
	for i := range samples {
		samples[i] = flowtest.Sample(uint64(i))
	}
	recs := make([]flow.Record, 0, 500)
	began := time.Now()
	for n := 0; n < l.total && ctx.Err() == nil; {
		now := time.Now()
		due := min(l.total, int(now.Sub(began).Seconds()*float64(l.rate)), n+cap(recs))
		if due == n || due < n+cap(recs)/2 && due < l.total {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		recs = recs[:0]
		for ; n < due; n++ {
			r := samples[n%len(samples)]
			external(&r, uint64(n), now)
			l.bytes += r.BytesDelta
			recs = append(recs, r)
		}
		if err := s.Write(ctx, recs); err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		l.sent.Store(int64(n))
	}
	return ctx.Err()
}

// breakBroker kills Kafka's broker after two fifths of the records, and starts it after three.
func (l *load) breakBroker(t testing.TB) {
	t.Helper()
	until := func(n int) {
		for l.sent.Load() < int64(n) && t.Context().Err() == nil {
			time.Sleep(time.Second)
			l.look(t)
		}
	}
	kafka := l.places[slices.IndexFunc(l.places, func(p *place) bool { return p.name == "kafka" })]
	until(2 * l.total / 5)
	kafka.used += kafka.server()
	l.broker.Kill()
	until(3 * l.total / 5)
	l.broker.Start(t)
	kafka.used -= kafka.server()
}

// look reads the books.
func (l *load) look(t testing.TB) {
	t.Helper()
	l.books = readBooks(t, http.DefaultClient, "http://"+l.metrics)
	for stage, line := range l.books {
		l.held[stage] = max(l.held[stage], line.Held.Records)
	}
}

// drain waits until all but the dead sink have delivered everything.
func (l *load) drain(t testing.TB) {
	t.Helper()
	end := l.began.Add(l.fed)
	deadline := end.Add(time.Hour)
	for {
		l.look(t)
		waits := ""
		for _, s := range l.places {
			switch line := l.books[s.stage()]; {
			case s.dead || l.done[s.name] != 0:
			case line.In.Records >= uint64(l.total) && line.Held.Records == 0:
				l.done[s.name] = max(time.Since(end), time.Millisecond)
			default:
				waits += fmt.Sprintf(" %s holds %d of %d", s.name, line.Held.Records, line.In.Records)
			}
		}
		if waits == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not delivered in an hour:%s; correlate: %+v", waits, l.books["correlate"])
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// mostMemory is three quarters of what deploy/observe.yaml gives an aggregator.
const mostMemory = 3 << 30

// check compares the destinations with what was sent, and looks at the books of every stage.
func (l *load) check(t testing.TB) {
	t.Helper()
	if l.peak > mostMemory {
		t.Errorf("%d MiB in memory, at most %d may be", l.peak>>20, mostMemory>>20)
	}
	for stage, line := range l.books {
		if a, b, c := line.Diff(); a != 0 || b != 0 || c != 0 {
			t.Errorf("books of %s do not balance: %+v", stage, line)
		}
		if stage != "sink/dead" && len(line.Lost) != 0 {
			t.Errorf("%s lost something: %+v", stage, line)
		}
	}
	for _, s := range l.places {
		line := l.books[s.stage()]
		if line.In.Records != uint64(l.total) {
			t.Errorf("%s: %d records came in, want %d", s.name, line.In.Records, l.total)
		}
		if s.dead {
			if line.Out.Records != 0 || line.Held.Records == 0 {
				t.Errorf("%s: %+v, want nothing out", s.name, line)
			}
			continue
		}
		if want := (counted{uint64(l.total), uint64(l.total), l.bytes}); line.Out.Records != want.records {
			t.Errorf("%s: %d records are out in the books, want %d", s.name, line.Out.Records, want.records)
		} else if got := s.count(); !got.is(want) {
			t.Errorf("%s has %+v, want %+v", s.name, got, want)
		}
	}
}

// names are those of the sinks, and of the history, which is one within.
func (l *load) names() []string {
	names := []string{"history"}
	for _, s := range l.places {
		names = append(names, s.name)
	}
	return names
}

// table says what each sink cost and how it went, one line each.
func (l *load) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d records in %v (%d a second asked for); the aggregator: %v of CPU, %.1f us a record, at most %d MiB in memory\n",
		l.total, l.fed.Round(time.Millisecond), l.rate, l.whole, l.perRecord(l.whole), l.peak>>20)
	fmt.Fprintf(&b, "%-14s %9s %9s %9s %9s  %s\n", "us a record", "offer", "write", "deliver", "all", "most held, all delivered after the feed, CPU of the server")
	for _, n := range l.names() {
		line := l.books["sink/"+n]
		fmt.Fprintf(&b, "%-14s %9.2f %9.2f %9.2f %9.2f  %d", n, l.perRecord(l.cpu.of(n, "offer")), l.perRecord(l.cpu.of(n, "write")), l.perRecord(l.cpu.of(n, "deliver")), l.perRecord(l.cpu.sink(n)), l.held["sink/"+n])
		if i := slices.IndexFunc(l.places, func(p *place) bool { return p.name == n }); i >= 0 {
			fmt.Fprintf(&b, ", %v, %.1f us", l.done[n].Round(time.Second), l.perRecord(l.places[i].used))
		}
		for _, why := range line.Reasons() {
			fmt.Fprintf(&b, ", lost as %s: %d", why, line.Lost[why].Records)
		}
		b.WriteString("\n")
	}
	for _, part := range l.cpu.others() {
		fmt.Fprintf(&b, "%-14s %39.2f\n", part, l.perRecord(l.cpu.other[part]))
	}
	fmt.Fprintf(&b, "the profile has %v of the %v", l.cpu.all().Round(time.Millisecond), l.whole)
	return b.String()
}

func (l *load) perRecord(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(l.total)
}

// TestAllSinks: every kind of sink at once, one of them dead and one server killed in the
// middle: each destination has every record once, and what the dead one lost is in the books.
func TestAllSinks(t *testing.T) {
	l := runLoad(t, 4000, 15*time.Second)
	t.Log("\n" + l.table())
}

// BenchmarkAllSinks is the same at 20,000 records a second for two minutes, or as
// WEIR_LOAD_RATE and WEIR_LOAD_FOR say. It runs once, and tells what a record costs the
// aggregator in each sink, its spool included.
func BenchmarkAllSinks(b *testing.B) {
	if testing.Short() {
		b.Skip("starts servers: not part of -short")
	}
	rate, lasting := 20_000, 2*time.Minute
	var err error
	if v := os.Getenv("WEIR_LOAD_RATE"); v != "" {
		if rate, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	if v := os.Getenv("WEIR_LOAD_FOR"); v != "" {
		if lasting, err = time.ParseDuration(v); err != nil {
			b.Fatal(err)
		}
	}
	b.Setenv("WEIR_SEARCH_JAVA", "-Xms2g -Xmx2g") // as a server has it that works for minutes
	l := runLoad(b, rate, lasting)
	fmt.Println(l.table()) // the log of a benchmark that has others below it is not shown
	report := func(name string, d time.Duration) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() { // it is measured
			}
			b.ReportMetric(l.perRecord(d), "cpu-us/record")
		})
	}
	for _, name := range l.names() {
		report(name, l.cpu.sink(name))
	}
	for _, part := range l.cpu.others() {
		report("("+part+")", l.cpu.other[part])
	}
	report("(whole process)", l.whole)
}
