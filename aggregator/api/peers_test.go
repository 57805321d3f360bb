package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// TestCompletionAsksPeers: values that only another aggregator has seen are there, the
// more frequent of all first, one that hangs is named soon and costs no value, and one who
// sees a namespace is shown no more by others than here.
func TestCompletionAsksPeers(t *testing.T) {
	s, h := server(t, 8)
	whole, shop := withTokens(t, s)
	peer, ph := server(t, 8)
	withTokens(t, peer)
	bank := told(9, "vault", "ok", 1)
	bank.SetSrcNS("bank")
	bank.SetDstNS("bank")
	both := told(8, "clerk", "ok", 1)
	both.SetSrcNS("bank")
	both.SetDstNS("shop")
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: []flow.Record{told(1, "cart", "ok", 1)}}
	peer.Limits, peer.Engine = DefaultQueryLimits(), &memory{recs: []flow.Record{told(2, "checkout", "ok", 1), told(3, "checkout", "ok", 1), bank, both}}
	hung, over := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), make(chan struct{})
	hung.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over })
	t.Cleanup(func() { close(over); hung.Close() })
	token := func() (string, error) { return whole, nil }
	s.Peers = []Peer{{Name: "peer", URL: ph.URL, Client: ph.Client(), Token: token}}
	h.Config.Handler, ph.Config.Handler = s.Handler(), peer.Handler()
	complete := func(token string) (texts, missing string) {
		t.Helper()
		res := as(t, token, h.URL+"/api/v1/complete?"+url.Values{"text": {"workload = "}, "until": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}.Encode())
		var c CompletionAnswer
		if err := json.Unmarshal([]byte(res.body), &c); err != nil {
			t.Fatalf("%v in %s", err, res.body)
		}
		var list []string
		for _, x := range c.Suggestions {
			list = append(list, x.Text)
		}
		for _, m := range c.Partial {
			missing += m.Name + ": " + m.Error
		}
		return strings.Join(list, " "), missing
	}
	if texts, missing := complete(whole); texts != "checkout cart clerk vault" || missing != "" {
		t.Errorf("%s, missing %s", texts, missing)
	}
	if texts, _ := complete(shop); texts != "checkout cart" {
		t.Errorf("the shop sees %s", texts)
	}
	s.Peers = append(s.Peers, Peer{Name: "hung", URL: hung.URL, Client: hung.Client(), Token: token})
	began := time.Now()
	if texts, missing := complete(whole); texts != "checkout cart clerk vault" || !strings.HasPrefix(missing, "hung: it gave no answer in the time there was") {
		t.Errorf("%s, missing %s (after %v)", texts, missing, time.Since(began))
	}
}
