package prom

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/sinktest"
)

func rec(ns string, first bool, bytes uint64) flow.Record {
	var r flow.Record
	r.SetSrcNS(ns)
	r.SetBytesDelta(bytes)
	r.SetRevBytesDelta(1)
	r.SetFirst(first)
	return r
}

func sink(t testing.TB, ms ...Metric) *Sink {
	t.Helper()
	s, err := New(Config{Name: "m", Metrics: ms})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func byNS(name, value string, n int) Metric { return Metric{name, value, []string{"src.ns"}, n} }

func write(t testing.TB, s *Sink, recs ...flow.Record) {
	t.Helper()
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

func TestCounts(t *testing.T) {
	s := sink(t, byNS("bytes", "bytes", 2), byNS("conns", "connections", 5))
	write(t, s, rec("a", true, 10), rec("a", false, 5), rec("b", true, 7), rec("c", true, 100), rec("", true, 2))
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	want := `# HELP weir_flow_bytes_total Flows, summed up: bytes by src.ns; series beyond the largest are in "other" and "retired".
# TYPE weir_flow_bytes_total counter
weir_flow_bytes_total{sink="m",src_ns="a"} 17
weir_flow_bytes_total{sink="m",src_ns="b"} 8
weir_flow_bytes_total{sink="m",src_ns="other"} 104
weir_flow_bytes_total{sink="m",src_ns="retired"} 0
`
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if _, err := expfmt.MetricFamilyToText(&got, families[0]); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
	}
	if n := s.Sum("conns"); n != 4 {
		t.Errorf("%d connections", n)
	}
}

// TestMembersChange: a newcomer that stays twice as busy takes a place, exactly once,
// and no sum changes by it.
func TestMembersChange(t *testing.T) {
	s := sink(t, byNS("bytes", "bytes", 20))
	now := time.UnixMilli(0)
	minute := func(busy string) {
		for i := range 20 {
			write(t, s, rec(fmt.Sprintf("m%02d", i), false, uint64(100+i)))
		}
		write(t, s, rec(busy, false, 1000))
		now = now.Add(61 * time.Second)
		if err := s.Tick(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	var all uint64
	for range 4 {
		minute("new")
		all += 20*101 + 190 + 1001
		if got := s.Sum("bytes"); got != all {
			t.Fatalf("sum %d, counted %d", got, all)
		}
	}
	m := &s.list[0].top
	if m.members["new"] == nil || m.members["m00"] != nil || len(m.members) != 20 {
		t.Errorf("members: new %v, m00 %v, %d", m.members["new"], m.members["m00"], len(m.members))
	}
	if m.retired == 0 || m.members["new"].total >= 4*1001 {
		t.Errorf("retired %d, new has %d: what it had before it was a member stays in other", m.retired, m.members["new"].total)
	}
}

// TestSumsAreExact: whatever comes, everything is counted once and memory is bounded.
func TestSumsAreExact(t *testing.T) {
	s := sink(t, byNS("bytes", "bytes", 50), Metric{"pairs", "records", []string{"src.ns", "dst.ns"}, 30})
	r := rand.New(rand.NewPCG(1, 2))
	now := time.UnixMilli(0)
	var bytes, records uint64
	for range 200_000 {
		x := rec(fmt.Sprint("ns", int(r.ExpFloat64()*300)), false, uint64(r.IntN(1000)))
		x.SetDstNS(fmt.Sprint("d", r.IntN(40)))
		write(t, s, x)
		bytes += x.BytesDelta + 1
		records++
		if records%10_000 == 0 {
			now = now.Add(time.Minute)
			if err := s.Tick(t.Context(), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.Sum("bytes") != bytes || s.Sum("pairs") != records {
		t.Errorf("bytes %d of %d, records %d of %d", s.Sum("bytes"), bytes, s.Sum("pairs"), records)
	}
	for _, m := range s.list {
		if len(m.top.members) > m.Top || len(m.top.candidates) > 4*m.Top+16 {
			t.Errorf("%s: %d members, %d candidates", m.Name, len(m.top.members), len(m.top.candidates))
		}
	}
}

// TestHostileLabels: what a network says cannot break the exposition.
func TestHostileLabels(t *testing.T) {
	s := sink(t, byNS("bytes", "bytes", 50))
	for _, ns := range []string{"other", "retired", "a\xffb", "a\x00b", "\xc3\x28", "x\n\"y\"\\", strings.Repeat("z", 5000), strings.Repeat("z", 5001)} {
		write(t, s, rec(ns, true, 1))
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
	if n := s.Sum("bytes"); n != 16 {
		t.Errorf("sum %d", n)
	}
}

func TestConfig(t *testing.T) {
	c := Config{Metrics: []Metric{{"Bad name", "byte", []string{"src.namespace", "src.ns", "src.ns"}, 0}, {"a", "bytes", nil, 1}, {"a", "bytes", []string{"scope"}, 1}}}
	want := `metrics[0].name: "Bad name" is no part of a metric's name: use small letters, digits and _
metrics[0].value: "byte" is unknown: use one of [bytes connections packets records]
metrics[0].labels[0]: "src.namespace" is no field: docs/fields.md has them
metrics[0].labels[2]: "src.ns" stands here twice
metrics[0].top: 0 is out of range: give 1 to 20000
metrics[1].labels: give 1 to 8 fields
metrics[2].name: "a" stands here twice`
	if d := cmp.Diff(want, fmt.Sprint(c.Validate())); d != "" {
		t.Error(d)
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkSink is what a record costs in the default metrics.
func BenchmarkSink(b *testing.B) { sinktest.Bench(b, sink(b, DefaultMetrics()...)) }

// TestCanariesAreApart: the probe's connections are in no metric but those that tell
// them apart, and none of them is lost.
func TestCanariesAreApart(t *testing.T) {
	s := sink(t, byNS("bytes", "bytes", 5), Metric{"apart", "bytes", []string{"canary"}, 5})
	bird := rec("a", true, 10)
	bird.SetCanary(true)
	write(t, s, rec("a", true, 7), bird, bird)
	if n := s.Sum("bytes"); n != 7+1 {
		t.Errorf("%d bytes without canaries, want 8", n)
	}
	if n := s.Sum("apart"); n != 7+1+2*11 {
		t.Errorf("%d bytes with canaries, want 30", n)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == CanariesMetric && f.GetMetric()[0].GetCounter().GetValue() == 2 {
			return
		}
	}
	t.Errorf("%s is not 2 among %v", CanariesMetric, families)
}
