package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/weirnet/weir/aggregator/findings"
)

// Differences is the answer of /api/v1/differences: what a region of the connections has
// more often than others.
type Differences struct {
	Differences []findings.Difference `json:"differences"` // the most telling first
	Region      uint64                `json:"region"`      // connections
	Rest        uint64                `json:"rest"`        // those that they are compared with
	From        time.Time             `json:"from"`        // of the region; since and until where no time was given
	To          time.Time             `json:"to"`
	Against     Against               `json:"against"`
	Basis
}

// Against says what a region is compared with.
type Against string

// What a region is compared with.
const (
	AgainstRest     Against = "rest"     // the other connections of the range
	AgainstPrevious Against = "previous" // those that satisfy q in the time before the region, as long as it
)

// differing are the fields that are compared: those with few values, each of which says
// where to look.
var differing = []string{
	"src.ns", "src.workload", "src.pod", "src.node", "src.zone", "src.kind", "src.name", "src.net", "dst.ns", "dst.workload", "dst.pod", "dst.node", "dst.zone", "dst.kind",
	"dst.name", "dst.net", "dst.port", "proto", "service", "scope", "outcome", "reset_by", "seen_by", "policy.eval", "ingress.policy", "egress.policy", "dns.rcode",
	"src.limited_by", "dst.limited_by", "dst.listen", "app",
}

const maxDifferences = 20

// region is what is compared.
type region struct {
	cond     string // "" for all
	from, to int64
	timed    bool // from and to were given
	against  Against
}

// parseRegion reads q, from, to and against; since and until bound it.
func parseRegion(v url.Values, now time.Time) (*region, error) {
	g := &region{against: Against(cmp.Or(v.Get("against"), string(AgainstRest)))}
	var err error
	if g.cond, err = condition(v); err != nil {
		return nil, err
	}
	if g.from, g.to, err = parseRange(v, now); err != nil {
		return nil, err
	}
	since, until := g.from, g.to
	for _, x := range []struct {
		key  string
		into *int64
	}{{"from", &g.from}, {"to", &g.to}} {
		if t := v.Get(x.key); t != "" {
			g.timed = true
			if *x.into, err = moment(t, now); err != nil {
				return nil, fmt.Errorf("%s: %w", x.key, err)
			}
		}
	}
	switch {
	case g.against != AgainstRest && g.against != AgainstPrevious:
		return nil, fmt.Errorf("against: %q is unknown: use rest or previous", g.against)
	case g.to <= g.from:
		return nil, errors.New("to: it is not after from: turn them around")
	case g.from < since || g.to > until:
		return nil, errors.New("from, to: the region is not within since and until: widen the range")
	case g.against == AgainstRest && g.cond == "" && !g.timed:
		return nil, errors.New("q: it names the region that is compared with the rest, as in q=outcome != ok; or give from and to, or against=previous")
	case g.against == AgainstRest && g.cond == "" && g.from == since && g.to == until:
		return nil, errors.New("from, to: the region is the whole range, which leaves no rest: widen since and until")
	}
	return g, nil
}

// differences compares a region, by a condition, a time or both, with what is not in it
// or with the time before.
func (s *Server) differences(w http.ResponseWriter, r *http.Request) {
	g, err := parseRegion(r.URL.Query(), time.Now())
	if err != nil {
		failQuery(w, err)
		return
	}
	a, done, ok := s.inquire(w, r)
	if !ok {
		return
	}
	defer done()
	if !g.timed {
		g.from, g.to = a.period(false)
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.Limits.Timeout)
	defer cancel()
	var list []findings.Histogram
	d := Differences{From: time.UnixMilli(g.from).UTC(), To: time.UnixMilli(g.to).UTC(), Against: g.against}
	region, rest, err := a.compare(ctx, g, differing)
	if err != nil {
		s.failAnswer(w, ctx, err)
		return
	}
	for i, f := range differing {
		in, out := &region[i], &rest[i]
		d.Region, d.Rest = in.all, out.all
		list = append(list, findings.Histogram{
			Field: f, Region: in.values, RegionN: in.have, RegionMissing: in.all - in.have, Rest: out.values, RestN: out.have,
		})
	}
	if d.Differences = findings.Differences(list, maxDifferences); d.Differences == nil {
		d.Differences = []findings.Difference{}
	}
	d.Basis = a.basis
	reply(w, http.StatusOK, d)
}

// counts are connections by the values of a field: those that have it, and all.
type counts struct {
	values    map[string]uint64
	have, all uint64
}

// compare counts the region, and what it is compared with, by each of the fields.
func (a *asking) compare(ctx context.Context, g *region, fields []string) (in, out []counts, err error) {
	if in, err = a.histograms(ctx, g.cond, fields, g.from, g.to); err != nil {
		return nil, nil, err
	}
	since, until := a.period(false)
	switch {
	case g.against == AgainstPrevious:
		out, err = a.histograms(ctx, g.cond, fields, g.from-(g.to-g.from), g.from)
	case !g.timed:
		out, err = a.histograms(ctx, "not "+g.cond, fields, since, until)
	default: // what is in the range and not in the region
		if out, err = a.histograms(ctx, "", fields, since, until); err == nil {
			for i := range out {
				out[i].without(&in[i])
			}
		}
	}
	return in, out, err
}

// without takes away what is counted in o too. A value that connections had in the
// region only for a time may be there more often than in the range: it leaves none.
func (c *counts) without(o *counts) {
	c.have, c.all = 0, c.all-min(c.all, o.all)
	for v, n := range c.values {
		c.values[v] = n - min(n, o.values[v])
		c.have += c.values[v]
	}
	c.all = max(c.all, c.have)
}

// histograms counts connections alive in a time by the values of each field.
func (a *asking) histograms(ctx context.Context, cond string, fields []string, since, until int64) ([]counts, error) {
	list, err := a.facets(ctx, cond, fields, since, until)
	if err != nil {
		return nil, err
	}
	out := make([]counts, len(list))
	for i, x := range list {
		c := &out[i]
		c.values = map[string]uint64{}
		for _, g := range x.Table().Groups() {
			n := g.Accs[0].N
			if c.all += n; g.Key[0].Present {
				c.values[g.Key[0].Text] += n
				c.have += n
			}
		}
	}
	return out, nil
}
