package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
)

const t0 = int64(1_772_600_000_000)

// world makes records of connections that have one or several each, of which names,
// outcomes and counters come, go and change, in any order.
func world(rng *rand.Rand, n int) []flow.Record {
	recs := connections(rng, n)
	rng.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
	return recs
}

// orderly is a world as a correlator tells it: in the order of ends, and final is the last
// record of a connection, which most have once and at once.
func orderly(rng *rand.Rand, n int) []flow.Record {
	recs := slices.DeleteFunc(connections(rng, n), func(r flow.Record) bool { return r.Has.Has(flow.FSince) && r.Since < t0 })
	for i := range recs {
		last := !slices.ContainsFunc(recs[i+1:min(i+5, len(recs))], func(r flow.Record) bool { return r.ConnID == recs[i].ConnID })
		recs[i].SetFinal(last && rng.IntN(10) > 0)
		if recs[i].ConnID%32 > 0 {
			recs[i] = plain(&recs[i])
		}
		if last && recs[i].Seq == 0 && recs[i].Has.Has(flow.FStart) {
			recs[i].SetEnd(recs[i].Start + rng.Int64N(5000))
		}
	}
	slices.SortStableFunc(recs, func(a, b flow.Record) int { return cmp.Compare(a.End, b.End) })
	return recs
}

// plain leaves of a record what changes from connection to connection, and names of which
// there are few, so that many connections within a minute are alike.
func plain(r *flow.Record) flow.Record {
	var p flow.Record
	for _, f := range []flow.FieldID{
		flow.FConnID, flow.FStart, flow.FSince, flow.FEnd, flow.FSeq, flow.FFirst, flow.FFinal, flow.FRecords, flow.FSrcIP,
		flow.FBytesDelta, flow.FPacketsDelta, flow.FRevBytesDelta, flow.FBytes, flow.FRTT, flow.FProto, flow.FDstIP,
	} {
		if err := p.SetText(f, r.Text(f)); r.Has.Has(f) && err != nil {
			panic(err)
		}
	}
	p.SetDstPort(80)
	if r.DstIP.As16()[14]%2 == 0 {
		p.SetSrcNS("team-1")
		p.SetSrcPod("web-1")
		p.SetSrcWorkload("Deployment/web-1")
		p.SetSrcLabels(`{"app":"web-1"}`)
		p.SetOutcome(flow.OutcomeOK)
	}
	return p
}

func connections(rng *rand.Rand, n int) []flow.Record {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	var recs []flow.Record
	for len(recs) < n {
		if rng.IntN(50) == 0 { // anything that a record can be
			r := flowtest.Random(rng)
			r.SetEnd(t0 + rng.Int64N(600_000))
			r.Has.Clear(flow.FID)
			r.ID = flow.UUID{}
			r.Since = min(r.Since, r.End)
			recs = append(recs, r)
			continue
		}
		start := t0 + rng.Int64N(600_000)
		conn := rng.Uint64()
		src, dst := rng.IntN(8), rng.IntN(8)
		at := start
		for i := range 1 + rng.IntN(4)*rng.IntN(2) {
			var r flow.Record
			if rng.IntN(20) > 0 {
				r.SetConnID(conn)
			}
			if rng.IntN(10) > 0 {
				r.SetStart(start)
			}
			if rng.IntN(10) > 0 {
				r.SetSince(at)
			}
			at += rng.Int64N(90_000)
			r.SetEnd(at)
			r.SetSeq(uint32(i))
			r.SetFirst(i == 0)
			r.SetFinal(rng.IntN(2) == 0)
			r.SetRecords(uint32(rng.IntN(3)))
			r.SetSrcIP(netip.AddrFrom4([4]byte{10, 0, 0, byte(src)}))
			r.SetDstIP(netip.AddrFrom4([4]byte{10, 1, byte(dst), 1}))
			r.SetDstPort(uint16(80 + rng.IntN(3)*363))
			r.SetProto(uint8(6 + 11*rng.IntN(2)))
			if rng.IntN(4) > 0 {
				r.SetSrcPod(fmt.Sprintf("web-%d", src))
				r.SetSrcNS(fmt.Sprintf("team-%d", src%3))
				r.SetSrcWorkload(fmt.Sprintf("Deployment/web-%d", src/2))
				r.SetSrcLabels(fmt.Sprintf(`{"app":"web-%d","tier":"%d"}`, src, src%2))
			}
			if rng.IntN(4) > 0 {
				r.SetDstPod(fmt.Sprintf("db-%d", dst))
				r.SetDstNS(fmt.Sprintf("team-%d", dst%3))
				r.SetDstWorkload(fmt.Sprintf("StatefulSet/db-%d", dst/2))
			}
			if rng.IntN(3) > 0 {
				r.SetOutcome(flow.Outcome(rng.IntN(len(flow.OutcomeWords))))
				r.SetEvidence(flow.Evidence(rng.IntN(32)))
			}
			if rng.IntN(3) > 0 {
				r.SetBytesDelta(rng.Uint64N(1 << uint(1+rng.IntN(40))))
				r.SetRevBytesDelta(rng.Uint64N(5000))
				r.SetBytes(r.BytesDelta * 2)
				r.SetPacketsDelta(rng.Uint64N(100))
			}
			if rng.IntN(2) > 0 {
				r.SetRTT(uint32(rng.IntN(100_000)))
				r.SetLossPackets(int64(rng.IntN(10)) - 3)
			}
			r.SetIngressPolicy(pick("allow-web", "deny-all", ""))
			r.SetScope(flow.Scope(rng.IntN(len(flow.ScopeWords))))
			recs = append(recs, r)
		}
	}
	return recs
}

var conditions = []string{
	"", "ns = team-1", "src.ns != team-1", "pod = web-*", "outcome != ok", "not outcome = ok", "has rtt", "bytes > 1MiB", "not bytes > 100",
	"dst.ip in (10.1.2.0/24, 10.1.5.1)", "ip = 10.0.0.3", "port = 443 or port = 80", "proto = tcp", "verdict = denied", "src.workload =~ \"web-[12]\"",
	"web-1", "label.app = web-3", "src.label.tier = 1", "has src.label.tier", "first = true", "not first = true", "not has first", "rtt > 20ms", "loss.packets < 0",
	"evidence = socket", "reverse.bytes <= 2000", "not has bytes", "scope in (external, same_node)", "packets > 10 packets < 60", "src.pod = team-1/web-*",
	"final = true", "end > 2026-03-04T04:55:00Z", "conn_id > 8000000000000000", "policy = deny-all", "service != x", "seq = 1",
}

var aggregates = []string{"conns", "active", "sum(bytes)", "rate(reverse.bytes)", "min(rtt)", "max(loss.packets)", "p95(rtt)", "p50(bytes)", "uniq(src.pod)", "uniq(dst.ip)", "uniq(bytes)", "sum(packets)", "uniq(src.label.app)", "uniq(first)", "min(start)"}

var groups = []string{"end_reason", "src.ns", "dst.workload", "outcome", "port", "src.label.tier", "first", "bytes", "dst.ip", "src.pod", "proto", "evidence", "rtt"}

func someOf(rng *rand.Rand, list []string, n int) string {
	var out []string
	for _, i := range rng.Perm(len(list))[:n] {
		out = append(out, list[i])
	}
	return strings.Join(out, ", ")
}

func condition(rng *rand.Rand) string {
	c := func() string { return conditions[rng.IntN(len(conditions))] }
	switch a, b := c(), c(); {
	case a == "" || b == "" || rng.IntN(2) == 0:
		return a
	case rng.IntN(2) == 0:
		return "(" + a + ") " + "(" + b + ")"
	default:
		return "(" + a + ") or not (" + b + ")"
	}
}

func fill(t testing.TB, recs []flow.Record) *store.Store {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.HeadRows, cfg.FileRows = t.TempDir(), 700, 2000
	s, err := store.New(cfg, store.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := 0; i < len(recs); i += 90 {
		if err := s.WriteAt(t.Context(), uint64(i), recs[i:min(i+90, len(recs))]); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// naive answers by the letter of package query, of recs.
func naive(t *testing.T, req *Request, recs []flow.Record) *query.Table {
	t.Helper()
	q, since, until, v := req.Query, req.Since, req.Until, req.Visible
	recs = visibleOf(recs, v)
	fits, err := query.Predicate(q.Expr)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := q.Steps(since, until)
	if err != nil {
		t.Fatal(err)
	}
	table := query.NewTable(q.Stats(), 1<<20)
	for _, st := range steps {
		rows := query.Fold(recs, st[0], st[1])
		step := int64(0)
		if q.Stats().Every > 0 {
			step = st[0]
		}
		for i := range rows {
			v.Mask(&rows[i])
			if fits(&rows[i]) {
				if err := table.Add(step, &rows[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return table
}

func inRange(recs []flow.Record, since, until int64) (n uint64) {
	for i := range recs {
		if from, to := query.Covered(&recs[i]); query.InRange(from, to, since, until) {
			n++
		}
	}
	return n
}

func visibleOf(recs []flow.Record, v *flow.Visibility) (out []flow.Record) {
	for i := range recs {
		if v.Sees(&recs[i]) {
			out = append(out, recs[i])
		}
	}
	return out
}

// beside gives records as what is live.
func beside(recs []flow.Record) func() []*flow.Record {
	return func() (out []*flow.Record) {
		for i := range recs {
			out = append(out, &recs[i])
		}
		return out
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Generated queries over generated records give what the naive evaluator gives: through
// segments, rows in memory and live ones, before and after segments are joined, whatever the
// order of the records.
func TestStatsLikeNaive(t *testing.T) {
	t.Run("any order", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 7))
		likeNaive(t, rng, world(rng, 4000), false, nil)
	})
	t.Run("as they end", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 7))
		likeNaive(t, rng, orderly(rng, 6000), true, nil)
	})
	t.Run("confined", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 7))
		likeNaive(t, rng, world(rng, 4000), false, flow.Confine([]string{"team-1"}))
	})
	t.Run("confined, as they end", func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 7))
		likeNaive(t, rng, orderly(rng, 6000), true, flow.Confine([]string{"team-1", "team-2"}))
	})
}

func likeNaive(t *testing.T, rng *rand.Rand, recs []flow.Record, rolled bool, v *flow.Visibility) {
	t.Helper()
	stored := len(recs) - 200
	s := fill(t, recs[:stored])
	live := recs[stored:]
	queries, kinds := 0, map[segment.Kind]int{}
	for n := range 360 {
		if n == 180 {
			s.Keep(t.Context(), time.Now().Add(2*time.Hour))
		}
		text := condition(rng) + " | stats " + someOf(rng, aggregates, 1+rng.IntN(4))
		by := groups
		if rolled && rng.IntN(2) == 0 { // what sums by minute can answer
			text = someOf(rng, []string{"", "src.ns = team-1", "not outcome = ok", "proto = tcp", "port = 80", "has outcome", "src.workload = web-1"}, 1) +
				" | stats " + someOf(rng, []string{"conns", "active", "sum(bytes)", "rate(reverse.bytes)", "sum(packets)", "uniq(outcome)", "uniq(dst.port)"}, 1+rng.IntN(4))
			by = []string{"src.ns", "dst.workload", "outcome", "port", "proto", "evidence"}
		}
		if k := rng.IntN(4); k > 0 {
			text += " by " + someOf(rng, by, k)
		}
		wide := rng.IntN(4) == 0 // blocks lie inside the range
		switch {
		case wide && rolled && rng.IntN(2) == 0:
			text += " every " + []string{"1m", "5m"}[rng.IntN(2)]
		case !wide && rng.IntN(3) == 0:
			text += " every " + []string{"7s", "1m", "5m"}[rng.IntN(3)]
		}
		q, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		since := t0 + rng.Int64N(500_000) - 50_000
		until := since + 1 + rng.Int64N(300_000)
		switch {
		case wide && rolled:
			since, until = t0-3_600_000-t0%60_000, t0+1_000_000
		case wide:
			since, until = 0, 1<<45
		}
		req := &Request{Query: q, Since: since, Until: until, Live: beside(live), Visible: v}
		used(t, s, req, kinds)
		got, sc, err := Stats(t.Context(), s, req)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want := naive(t, req, recs)
		if v != nil && sc != (store.Scanned{Rows: inRange(visibleOf(recs, v), since, until)}) {
			t.Fatalf("%s in %d..%d: %+v scanned of %d that are seen", text, since, until, sc, inRange(visibleOf(recs, v), since, until))
		}
		if g, w := asJSON(t, got.Groups()), asJSON(t, want.Groups()); g != w {
			t.Fatalf("%s in %d..%d:\n got %s\nwant %s", text, since, until, g, w)
		}
		if want.Len() > 0 {
			queries++
		}
	}
	if queries < 180 {
		t.Errorf("only %d queries had an answer", queries)
	}
	few := 30
	if v != nil {
		few = 5 // of records they are none
	}
	if rolled && (kinds[segment.Sole] < 500 || kinds[segment.Groups] < 10 || kinds[100] < few) {
		t.Errorf("blocks that queries used, by kind: %v: the test has no say about some", kinds)
	}
}

// used counts the blocks from which a query is answered, by their kind; 100 are roll-ups.
func used(t *testing.T, s *store.Store, req *Request, kinds map[segment.Kind]int) {
	t.Helper()
	r, err := prepare(s, req, false)
	if err != nil {
		t.Fatal(err)
	}
	for u := range r.view.Len() {
		kinds[r.view.Kind(u)]++
	}
	kinds[100] += r.view.Done().Rollups
}

// Lists, held or streamed, have what the naive evaluator has, streams in the order that
// answers have.
func TestListLikeNaive(t *testing.T) {
	t.Run("all", func(t *testing.T) { listLikeNaive(t, nil) })
	t.Run("confined", func(t *testing.T) { listLikeNaive(t, flow.Confine([]string{"team-1"})) })
}

func listLikeNaive(t *testing.T, v *flow.Visibility) {
	t.Helper()
	rng := rand.New(rand.NewPCG(9, 9))
	recs := world(rng, 3000)
	s := fill(t, recs[:2900])
	for k := range 150 {
		text := condition(rng)
		q, err := query.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		since := t0 + rng.Int64N(500_000) - 50_000
		until := since + 1 + rng.Int64N(300_000)
		fits, err := query.Predicate(q.Expr)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int{}
		n := 0
		for _, r := range query.Fold(visibleOf(recs, v), since, until) {
			if v.Mask(&r); fits(&r) {
				want[string(flow.AppendJSON(nil, &r))]++
				n++
			}
		}
		last := flow.Record{End: 1 << 60}
		req := &Request{Query: q, Since: since, Until: until, Live: beside(recs[2900:]), Visible: v}
		each := func(r *flow.Record) error {
			if r.End > last.End || k%2 == 0 && r.End == last.End && r.ConnID < last.ConnID {
				t.Errorf("not newest first, then by number")
			}
			last = *r
			if want[string(flow.AppendJSON(nil, r))]--; want[string(flow.AppendJSON(nil, r))] < 0 {
				t.Errorf("%s: not wanted: %s", text, flow.AppendJSON(nil, r))
			}
			n--
			return nil
		}
		more := false
		if k%2 == 0 {
			_, err = Stream(t.Context(), s, req, flow.AllFields(), each)
		} else {
			more, _, err = List(t.Context(), s, req, 0, each)
		}
		if err != nil || more || n != 0 || t.Failed() {
			t.Fatalf("%s: %v, more %v, %d missing", text, err, more, n)
		}
	}
}

func TestListEndsAtTheLimit(t *testing.T) {
	recs := world(rand.New(rand.NewPCG(1, 9)), 3000)
	s := fill(t, recs)
	var ends []int64
	more, _, err := List(t.Context(), s, &Request{Query: &query.Query{}, Since: t0, Until: t0 + 1e6}, 20, func(r *flow.Record) error {
		ends = append(ends, r.End)
		return nil
	})
	if err != nil || !more || len(ends) != 20 {
		t.Fatal(len(ends), more, err)
	}
	for i := range recs {
		if from, to := query.Covered(&recs[i]); query.InRange(from, to, t0, t0+1e6) && to > ends[0] {
			t.Fatalf("the newest ends at %d, the first told at %d", to, ends[0])
		}
	}
	n := 0
	_, _, err = List(t.Context(), s, &Request{Query: &query.Query{}, Since: t0, Until: t0 + 1e6}, 0, func(*flow.Record) error {
		n++
		return store.ErrStop
	})
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestBounds(t *testing.T) {
	recs := world(rand.New(rand.NewPCG(2, 9)), 3000)
	s := fill(t, recs)
	q, err := query.Parse("| stats conns by conn_id")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Stats(t.Context(), s, &Request{Query: q, Since: t0, Until: t0 + 1e6, MaxGroups: 10}); !errors.Is(err, query.ErrGroups) {
		t.Error(err)
	}
	if _, _, err := Stats(t.Context(), s, &Request{Query: q, Since: t0, Until: t0 + 1e6, MaxConns: 4}); !errors.Is(err, ErrConns) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Stats(ctx, s, &Request{Query: q, Since: t0, Until: t0 + 1e6}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	recs := world(rand.New(rand.NewPCG(3, 9)), 2000)
	s := fill(t, recs)
	f, ok := query.FieldByName("ns")
	if !ok {
		t.Fatal("no field ns")
	}
	got, sc, err := Values(t.Context(), s, &ValueRequest{Request: Request{Query: &query.Query{}, Since: t0, Until: t0 + 1e6}, Field: f, Prefix: "TEAM", N: 2})
	if err != nil || len(got) != 2 || sc.Rows == 0 {
		t.Fatal(got, err)
	}
	if got[0].Conns < got[1].Conns || !strings.HasPrefix(got[0].Text, "team-") {
		t.Error(got)
	}
}
