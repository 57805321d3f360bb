package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

func TestTokensNameTheirCallers(t *testing.T) {
	list, err := parseTokens([]byte("# people\n\n0123456789abcdef\nabcdefghijklmnop name=alice namespaces=shop,data,shop\n  qqqqqqqqqqqqqqqq\tnamespaces=shop\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []Caller
	for _, x := range list {
		got = append(got, x.caller)
	}
	want := []Caller{{Name: "token of line 3", All: true}, {Name: "alice", Namespaces: []string{"data", "shop"}}, {Name: "token of line 5", Namespaces: []string{"shop"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	const tok = "0123456789abcdef"
	for line, want := range map[string]string{
		tok + " alice":                     ":1: a token is followed by name=NAME or namespaces=NS,NS",
		tok + " name=":                     `:1: name: "" is no name`,
		tok + " name=a name=b":             ":1: name stands there twice",
		tok + " namespaces=":               `:1: namespaces: "" is no name of a namespace`,
		tok + " namespaces=shop,":          `:1: namespaces: "" is no name`,
		tok + " namespaces=Shop":           `:1: namespaces: "Shop" is no name`,
		tok + " namespaces=*":              `:1: namespaces: "*" is no name`,
		tok + " role=admin":                ":1: a token is followed by",
		tok + "\n\n" + tok:                 ":3: the token of line 1 stands here again",
		tok + " namespaces=shop # comment": ":1: a token is followed by",
	} {
		if _, err := parseTokens([]byte(line)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", line, err, want)
		} else if strings.Contains(err.Error(), tok) {
			t.Errorf("%q: the error tells the token: %v", line, err)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add("0123456789abcdef name=alice namespaces=shop,data\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseTokens([]byte(text))
		if err != nil {
			return
		}
		for _, x := range list {
			if x.caller.Name == "" || x.caller.All == (len(x.caller.Namespaces) > 0) {
				t.Errorf("%q gives %+v", text, x.caller)
			}
		}
	})
}

// tokens serves with tokens: the first sees all, the second shop.
func withTokens(t *testing.T, s *Server) (whole, shop string) {
	t.Helper()
	whole, shop = "token-of-the-whole-cluster", "token-of-the-shop"
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(whole+" name=root\n"+shop+" name=keeper namespaces=shop\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	s.Auth, s.Tokens = AuthToken, tokens
	return whole, shop
}

// answer is a response that was read.
type answer struct {
	code   int
	header http.Header
	body   string
}

func as(t *testing.T, token, u string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func between(conn uint64, src, dst string, port uint16) flow.Record {
	r := rec(conn, port)
	r.SetSrcNS(src)
	r.SetDstNS(dst)
	return r
}

func TestConfinedCallers(t *testing.T) {
	s, h := server(t, 64)
	whole, shop := withTokens(t, s)
	s.Hub.Publish([]flow.Record{between(1, "shop", "bank", 1), between(2, "bank", "bank", 2), between(3, "bank", "shop", 3)})
	got, _ := ports(t, strings.NewReader(as(t, shop, h.URL+"/api/v1/flows?last=9").body))
	if d := cmp.Diff([]int{1, 3}, got); d != "" {
		t.Error(d)
	}
	for _, q := range []string{"src.ip+=+10.0.0.1", "not+src.ip+=+10.0.0.1", "has+dst.ip"} {
		got, _ := ports(t, strings.NewReader(as(t, shop, h.URL+"/api/v1/flows?last=9&query="+q).body))
		if len(got) != 1 { // each is true of the own end only
			t.Errorf("%s: %v", q, got)
		}
	}
	for _, path := range []string{"ledger", "ledger/minutes", "coverage", "canaries"} {
		if res := as(t, shop, h.URL+"/api/v1/"+path); res.code != http.StatusForbidden || !strings.Contains(res.body, "keeper sees some namespaces only") {
			t.Errorf("%s: %d", path, res.code)
		}
		if res := as(t, whole, h.URL+"/api/v1/"+path); res.code == http.StatusForbidden {
			t.Errorf("%s is kept from all", path)
		}
	}
	if res := as(t, shop, h.URL+"/api/v1/query?q=&part=true&visible=bank"); res.code != http.StatusBadRequest && res.code != http.StatusNotFound {
		t.Errorf("a caller widens what he sees: %d", res.code)
	}
}

// TestSkippedIsWhatOneCouldSee: a stream that is too slow is told how many of its own
// records went by, and of others' not even the number.
func TestSkippedIsWhatOneCouldSee(t *testing.T) {
	h := NewHub(8)
	v := flow.Confine([]string{"shop"})
	h.Publish([]flow.Record{between(1, "shop", "bank", 1), between(2, "bank", "bank", 2)})
	at, seen := h.Begin(v)
	if at != 2 || seen != 1 {
		t.Fatalf("at %d, seen %d", at, seen)
	}
	buf := make([]flow.Record, 4)
	mine, lostAll := 0, uint64(0)
	for i := range 200 {
		ns := "bank"
		if i%5 == 0 {
			ns = "shop"
			mine++
		}
		h.Publish([]flow.Record{between(uint64(i), ns, "bank", 1)})
		if i%37 != 0 {
			continue
		}
		for range 10 {
			n, lost, told, next, _ := h.readVisible(v, at, seen, buf)
			at, seen = next, told
			lostAll += lost
			for k := range n {
				if v.Sees(&buf[k]) {
					seen++
				}
			}
		}
	}
	for at < h.Seq() {
		n, lost, told, next, _ := h.readVisible(v, at, seen, buf)
		at, seen = next, told
		lostAll += lost
		for k := range n {
			if v.Sees(&buf[k]) {
				seen++
			}
		}
	}
	if got := int(seen) - 1; got != mine {
		t.Errorf("read or told of %d, published %d", got, mine)
	}
	if lostAll == 0 || int(lostAll) >= mine {
		t.Errorf("%d of %d were lost: this proves little", lostAll, mine)
	}
}

func TestCallersHaveLimits(t *testing.T) {
	s, h := server(t, 8)
	whole, shop := withTokens(t, s)
	s.Caller = CallerLimits{Queries: 1, Streams: 1, Rate: 0.001, Burst: 6}
	s.Limits = DefaultQueryLimits()
	s.Engine = &memory{wait: true}
	h.Config.Handler = s.Handler()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin := func(path string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+shop)
		go func() {
			if res, err := http.DefaultClient.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body) // until the test ends
				res.Body.Close()
			}
		}()
	}
	begin("/api/v1/query")
	for i := 0; s.queries.Load() == 0 && i < 1000; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	res := as(t, shop, h.URL+"/api/v1/query")
	if msg := res.body; res.code != 429 || !strings.Contains(msg, `"1 queries of keeper are running already: wait for one, or raise api.callerQueries"`) {
		t.Errorf("a second query: %d %s", res.code, msg)
	}
	begin("/api/v1/flows?follow=true")
	for i := 0; s.Streams() == 0 && i < 1000; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	res = as(t, shop, h.URL+"/api/v1/flows?follow=true")
	if msg := res.body; res.code != 429 || !strings.Contains(msg, "1 streams of keeper") {
		t.Errorf("a second stream: %d %s", res.code, msg)
	}
	paced := 0
	for range 5 {
		if res := as(t, shop, h.URL+"/api/v1/version"); res.code == 429 {
			paced++
			if res.header.Get("Retry-After") != "1" {
				t.Error("no Retry-After")
			}
		}
	}
	if paced != 3 || s.Stats.Paced.Load() != 3 {
		t.Errorf("%d of 5 were refused, %d counted", paced, s.Stats.Paced.Load())
	}
	if res := as(t, whole, h.URL+"/api/v1/version"); res.code != 200 {
		t.Errorf("another caller suffers: %d", res.code)
	}
}

type reviews map[string]*Caller

func (r reviews) Review(_ context.Context, token string) (*Caller, error) {
	if token == "broken" {
		return nil, errors.New("connection refused")
	}
	return r[token], nil
}

func TestReviewer(t *testing.T) {
	s, h := server(t, 8)
	whole, _ := withTokens(t, s)
	s.Reviewer = reviews{"kube": {Name: "system:serviceaccount:shop:page", Namespaces: []string{"shop"}}}
	for token, want := range map[string]int{"kube": 200, whole: 200, "nobody": 401, "broken": 503} {
		if res := as(t, token, h.URL+"/api/v1/version"); res.code != want {
			t.Errorf("%s: %d, want %d", token, res.code, want)
		}
	}
	if res := as(t, "broken", h.URL+"/api/v1/version"); !strings.Contains(res.body, "connection refused") {
		t.Error("no reason")
	}
}

func TestUsageIsBounded(t *testing.T) {
	var u usage
	now := time.Now()
	l := DefaultCallerLimits()
	for i := range maxCallers {
		if u.of(fmt.Sprint(i), l, now) == nil {
			t.Fatal("no room")
		}
	}
	if u.of("one more", l, now) != nil {
		t.Error("there is no bound")
	}
	if u.of("later", l, now.Add(time.Hour)) == nil {
		t.Error("idle callers do not make room")
	}
}

// TestPeersHaveTheirCallersLimits: what another aggregator asks for its callers does not
// count as one caller's, and nobody else passes for one.
func TestPeersHaveTheirCallersLimits(t *testing.T) {
	s, h := server(t, 8)
	whole, shop := withTokens(t, s)
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: []flow.Record{told(1, "cart", "ok", 1)}}
	s.Caller = CallerLimits{Queries: 1, Streams: 1, Rate: 0.001, Burst: 3}
	s.Peers = []Peer{{Name: "front:1", Token: func() (string, error) { return whole, nil }}}
	h.Config.Handler = s.Handler()
	ask := func(token, accept string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/api/v1/query?part=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body) // its place is free when it has ended
		return res.StatusCode
	}
	for i := range 10 {
		for _, media := range []string{partMedia, partsMedia} {
			if code := ask(whole, media); code != http.StatusOK {
				t.Fatalf("question %d of a peer: %d", i, code)
			}
		}
	}
	for what, c := range map[string][2]string{"the same token for a person": {whole, linesMedia}, "another's token": {shop, partMedia}} {
		paced := 0
		for range 5 {
			if ask(c[0], c[1]) == http.StatusTooManyRequests {
				paced++
			}
		}
		if paced != 2 {
			t.Errorf("%s: %d of 5 were refused", what, paced)
		}
	}
}
