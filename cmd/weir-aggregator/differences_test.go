package main

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/api/query/querytest"
)

// one asks a query for each of what Facets would answer at once.
type one struct{ api.Engine }

var scannedRows = regexp.MustCompile(`"scanned":\{[^}]*\}`)

// TestDifferencesInOnePass: differences counted in one pass over the rows of two
// aggregators are those that a query for each field gives, to all and to one who is
// confined.
func TestDifferencesInOnePass(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	recs := querytest.Records(rng, 1200)
	parts := inTwo(rng, recs)
	sites := make([]*api.Server, 2)
	for i := range sites {
		front, back := server(t, parts[0], parts[0], 30), server(t, parts[1], parts[1], 30)
		if i == 1 {
			front.Engine, back.Engine = one{front.Engine}, one{back.Engine}
		}
		h := httptest.NewServer(back.Handler())
		t.Cleanup(h.Close)
		front.Peers = []api.Peer{{Name: "peer", URL: h.URL, Client: h.Client(), Token: func() (string, error) { return wholeToken, nil }}}
		sites[i] = front
	}
	told := 0
	for range 25 {
		v := url.Values{"since": {fmt.Sprint(querytest.Base)}, "until": {fmt.Sprint(querytest.Base + querytest.Span)}, "q": {query.FormatExpr(querytest.Expr(rng, 2))}}
		switch rng.IntN(3) {
		case 0:
			v.Set("against", "previous")
			v.Set("since", fmt.Sprint(querytest.Base+querytest.Span/2))
		case 1:
			v.Set("from", fmt.Sprint(querytest.Base+querytest.Span/4))
			v.Set("to", fmt.Sprint(querytest.Base+querytest.Span/2))
		}
		for _, token := range []string{wholeToken, shopToken} {
			code, a := call(t, sites[0].Handler(), token, "differences", v)
			code2, b := call(t, sites[1].Handler(), token, "differences", v)
			if code != code2 || scannedRows.ReplaceAllString(a, "") != scannedRows.ReplaceAllString(b, "") {
				t.Fatalf("%v: %d and %d\n%s\n%s", v, code, code2, a, b)
			}
			if strings.Contains(a, `"partial"`) {
				t.Fatalf("%v: the other aggregator is missing: %s", v, a)
			}
			if strings.Contains(a, `"score"`) {
				told++
			}
		}
	}
	if told < 10 {
		t.Errorf("%d answers told a difference: this proves little", told)
	}
}
