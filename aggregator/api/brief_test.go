package api

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestEveryAnswerSaysWhatIsSeen: each total says what of the nodes can be seen at all, to
// those who see the whole cluster.
func TestEveryAnswerSaysWhatIsSeen(t *testing.T) {
	s := everything(t)
	whole, shop := withTokens(t, s)
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	const want = `"coverage":{"nodes":3,"full":0,"summary":"coverage: 0 of 3 nodes; 3 nodes do not report"}`
	for _, path := range []string{"flows?last=1", "query?q=cart", "findings", "map", "why?src=shop/cart&dst=shop/payments", "differences?q=cart"} {
		if res := as(t, whole, h.URL+"/api/v1/"+path); res.code != 200 || !strings.Contains(strings.ReplaceAll(res.body, "\": ", "\":"), want) {
			t.Errorf("%s: %d, without %s:\n%s", path, res.code, want, res.body)
		}
		if res := as(t, shop, h.URL+"/api/v1/"+path); res.code != 200 || strings.Contains(res.body, `"coverage"`) {
			t.Errorf("%s tells a part of the cluster about nodes: %d\n%s", path, res.code, res.body)
		}
	}
}
