package api

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/flow"
)

// aWorld makes connections of two hours between ends of every kind, with outcomes, losses
// and segments sent again that differ from one hour to the next.
func aWorld(rng *rand.Rand, now time.Time) (recs []flow.Record) {
	type edge struct{ src, dst, port, proto int }
	conn := uint64(0)
	outcomes := []string{"ok", "ok", "ok", "refused", "reset", "denied", "unanswered", "unknown", ""}
	for range 3 + rng.IntN(25) {
		e := edge{rng.IntN(len(ends)), rng.IntN(len(ends)), rng.IntN(3), []int{6, 6, 17, 132, 1, 253}[rng.IntN(6)]}
		for hour := range 2 {
			likely := outcomes[rng.IntN(len(outcomes))]
			for range rng.IntN(40) {
				conn++
				r := flow.Record{}
				r.SetConnID(conn)
				r.SetEnd(now.Add(-time.Duration(hour)*time.Hour - time.Duration(1+rng.IntN(3400))*time.Second).UnixMilli())
				r.SetStart(r.End - 500)
				r.SetSince(r.Start)
				r.SetFirst(true)
				r.SetRecords(2)
				r.SetSrcIP(netip.MustParseAddr("10.0.0.1"))
				r.SetDstIP(netip.MustParseAddr("10.0.0.2"))
				r.SetProto(uint8(e.proto))
				if e.port > 0 {
					r.SetDstPort(uint16(e.port * 80))
				}
				ends[e.src]("src", &r)
				ends[e.dst]("dst", &r)
				o := likely
				if rng.IntN(3) == 0 {
					o = outcomes[rng.IntN(len(outcomes))]
				}
				if o != "" {
					set(&r, "outcome", o)
				}
				if rng.IntN(4) > 0 {
					r.SetPacketsDelta(uint64(20 + rng.IntN(50)))
					r.SetRetransSrc(uint32(rng.IntN(4)))
				}
				if rng.IntN(3) > 0 {
					set(&r, "src.node", fmt.Sprintf("node-%d", rng.IntN(2)))
					set(&r, "dst.node", fmt.Sprintf("node-%d", rng.IntN(2)))
					r.SetPacketsDeltaSrc(uint64(20 + rng.IntN(50)))
					if rng.IntN(2) > hour {
						r.SetLossPackets(int64(rng.IntN(4) * (1 - hour)))
					}
				}
				recs = append(recs, r)
			}
		}
	}
	return recs
}

func set(r *flow.Record, field, text string) {
	f, ok := flow.FieldByName(field)
	if !ok {
		panic(field)
	}
	if err := r.SetText(f, text); err != nil {
		panic(err)
	}
}

// ends are what an end of a connection can be, by what is known of it.
var ends = []func(side string, r *flow.Record){
	func(s string, r *flow.Record) {
		set(r, s+".ns", "shop")
		set(r, s+".workload", "Deployment/cart")
		set(r, s+".name", "shop/cart")
	},
	func(s string, r *flow.Record) {
		set(r, s+".ns", "shop")
		set(r, s+".workload", "Deployment/pay")
	},
	func(s string, r *flow.Record) { set(r, s+".ns", "shop") },
	func(s string, r *flow.Record) {
		set(r, s+".name", `a "b" \ c`)
		set(r, s+".kind", "external")
		set(r, s+".net", "internet")
	},
	func(s string, r *flow.Record) { set(r, s+".name", "db.example.com") },
	func(s string, r *flow.Record) {
		set(r, s+".net", "internet")
		set(r, s+".kind", "external")
	},
	func(s string, r *flow.Record) { set(r, s+".net", "10.7.0.0/16") },
	func(s string, r *flow.Record) { set(r, s+".kind", "node") },
	func(s string, r *flow.Record) { set(r, s+".kind", "unknown") },
	func(string, *flow.Record) {},
}

// shown asks a finding's query of a range and adds up what it says.
func shown(t *testing.T, h *httptest.Server, f *findings.Finding, from, to time.Time) (n uint64) {
	t.Helper()
	q, _, _ := strings.Cut(f.Query, "|")
	switch f.Kind {
	case findings.KindLoss:
		q += "| stats sum(loss.packets)"
	case findings.KindRetrans:
		q += "| stats sum(src.retransmits), sum(dst.retransmits)"
	default:
		q += "| stats conns"
	}
	_, rows, _ := ask(t, h, q, "since", from.Format(time.RFC3339), "until", to.Format(time.RFC3339))
	for _, r := range rows {
		for _, v := range r.Values {
			if f, ok := v.(float64); ok {
				n += uint64(f)
			}
		}
	}
	return n
}

// TestFindingsAreQueries: in any world each finding's query counts what the finding says,
// of the range, or of the period before where it tells of what is gone; and the same
// question has the same answer.
func TestFindingsAreQueries(t *testing.T) {
	seen := map[findings.Kind]int{}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		now := time.Now().UTC().Truncate(time.Second)
		s, h := server(t, 8)
		s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: aWorld(rng, now)}
		from := now.Add(-time.Hour)
		v := url.Values{"since": {from.Format(time.RFC3339)}, "until": {now.Format(time.RFC3339)}}
		var got, again FindingsAnswer
		into(t, h.URL, "findings", v, &got)
		into(t, h.URL, "findings", v, &again)
		if d := cmp.Diff(got.Report, again.Report); d != "" {
			t.Fatalf("world %d: not the same twice: %s", seed, d)
		}
		for _, f := range got.Findings {
			seen[f.Kind]++
			a, b := from, now
			if f.Kind == findings.KindGone {
				a, b = from.Add(-time.Hour), from
			}
			if n := shown(t, h, &f, a, b); n != f.Count || n == 0 {
				t.Errorf("world %d: %s %q says %d, and its query %q counts %d", seed, f.Kind, f.Text, f.Count, f.Query, n)
			}
		}
	}
	for _, k := range []findings.Kind{findings.KindFailing, findings.KindDenied, findings.KindLoss, findings.KindRetrans, findings.KindGone, findings.KindNew} {
		if seen[k] < 5 {
			t.Errorf("%d findings of %s were tried", seen[k], k)
		}
	}
}
