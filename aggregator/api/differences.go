package api

import (
	"context"
	"net/http"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/query"
)

// Differences is the answer of /api/v1/differences: what a region of the connections has
// more often than the rest of them.
type Differences struct {
	Differences []findings.Difference `json:"differences"` // the most telling first
	Region      uint64                `json:"region"`      // connections
	Rest        uint64                `json:"rest"`
	Basis
}

// differing are the fields that are compared: those with few values, each of which says
// where to look.
var differing = []string{
	"src.ns", "src.workload", "src.pod", "src.node", "src.zone", "src.kind", "src.name", "dst.ns", "dst.workload", "dst.pod", "dst.node", "dst.zone", "dst.kind",
	"dst.name", "dst.port", "proto", "service", "scope", "outcome", "reset_by", "seen_by", "policy.eval", "ingress.policy", "egress.policy", "dns.rcode",
	"src.limited_by", "dst.limited_by", "dst.listen", "app",
}

const maxDifferences = 20

// differences compares the connections of the range that satisfy q with the others of it.
func (s *Server) differences(w http.ResponseWriter, r *http.Request) {
	region, err := condition(r.URL.Query())
	if err != nil {
		failQuery(w, err)
		return
	}
	if region == "" {
		fail(w, http.StatusBadRequest, "q: it names the region that is compared with the rest, as in q=outcome != ok")
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	var list []findings.Histogram
	var d Differences
	for _, f := range differing {
		h := findings.Histogram{Field: f}
		var all uint64
		if h.Region, h.RegionN, all, err = a.histogram(ctx, region, f); err == nil {
			h.RegionMissing, d.Region = all-h.RegionN, all
			h.Rest, h.RestN, d.Rest, err = a.histogram(ctx, "not "+region, f)
		}
		if err != nil {
			s.failAnswer(w, ctx, err)
			return
		}
		list = append(list, h)
	}
	if d.Differences = findings.Differences(list, maxDifferences); d.Differences == nil {
		d.Differences = []findings.Difference{}
	}
	d.Basis = a.basis
	reply(w, http.StatusOK, d)
}

// histogram counts connections alive in the range by the values of a field: those that
// have it, and all.
func (a *asking) histogram(ctx context.Context, cond, field string) (values map[string]uint64, have, all uint64, err error) {
	since, until := a.period(false)
	var x *query.Answer
	if x, err = a.ask(ctx, cond+" | stats active by "+field, since, until); err != nil {
		return nil, 0, 0, err
	}
	values = map[string]uint64{}
	for _, g := range x.Table().Groups() {
		n := g.Accs[0].N
		if all += n; g.Key[0].Present {
			values[g.Key[0].Text] += n
			have += n
		}
	}
	return values, have, all, nil
}
