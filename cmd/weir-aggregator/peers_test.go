package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query/querytest"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/testenv"
	buildinfo "github.com/weirnet/weir/internal/version"
)

// running is an aggregator with all its parts.
type running struct {
	api, collect string
}

// runs starts an aggregator and gives it one connection, which its history keeps.
func runs(t *testing.T, change func(c *config.Aggregator)) running {
	t.Helper()
	cfg := config.DefaultAggregator()
	x := running{api: port(t), collect: port(t)}
	cfg.DataDir, cfg.Collect.TLS, cfg.Collect.TCP, cfg.Metrics.Listen = t.TempDir(), "", x.collect, ""
	cfg.API.Listen, cfg.Cluster.Source = x.api, "none"
	cfg.Correlate.ActiveTimeout, cfg.Correlate.InactiveTimeout, cfg.Correlate.HalfTimeout = time.Second, 2*time.Second, time.Second
	change(cfg)
	p, err := wire(cfg, slog.New(slog.DiscardHandler), buildinfo.Get(""))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.group.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, addr := range []string{x.api, x.collect} {
		eventually(t, "it listens at "+addr, func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	newFeed(t, x.collect)(1)
	return x
}

// secure gives an API a certificate, good until then, and tokens.
func secure(t *testing.T, c *config.API, ca *testenv.CA, until time.Time, tokens string) {
	t.Helper()
	dir := t.TempDir()
	c.Cert, c.Key = ca.Issue(t, dir, "api", until)
	c.Auth, c.TokenFile = "token", written(t, dir, "tokens", tokens)
}

func written(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// asks asks an aggregator over TLS.
func asks(t *testing.T, ca *testenv.CA, addr, token string, v url.Values) (body string, tail api.Tail) {
	t.Helper()
	pem, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/api/v1/query?"+v.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %v %s", res.StatusCode, err, b)
	}
	body = string(b)
	var last api.TailLine
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines[1:len(lines)-1], "\n"), last.Weir
}

const peersToken = "token-of-the-aggregators"

// TestPeersOverTLS: an aggregator asks others over TLS, with a token and with its
// certificate; each that cannot be asked, for whatever reason, is named as missing with
// its share and what to do, in answers that are held and in lists that are sent, and
// what the others have is there.
func TestPeersOverTLS(t *testing.T) {
	ca, other := testenv.NewCA(t), testenv.NewCA(t)
	late := time.Now().Add(24 * time.Hour)
	soon := time.Now().Add(4 * time.Second)
	token := peersToken + " name=aggregators\n"
	withToken := func(ca *testenv.CA, until time.Time, tokens string) string {
		return runs(t, func(c *config.Aggregator) { secure(t, &c.API, ca, until, tokens) }).api
	}
	withCert := func(clients *testenv.CA) string {
		return runs(t, func(c *config.Aggregator) {
			secure(t, &c.API, ca, late, token)
			c.API.Auth, c.API.ClientCA = "mtls", clients.File
		}).api
	}
	over := make(chan struct{})
	hung := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	cert, key := ca.Issue(t, t.TempDir(), "hung", late)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hung.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	hung.StartTLS()
	t.Cleanup(func() { close(over); hung.Close() })
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	plain := runs(t, func(c *config.Aggregator) { c.API.Auth = "none" }).api

	wrong := map[string]string{ // by address, what is said of it
		withToken(other, late, token):                        "name the CA that signed its certificate in api.peerCAFile",
		withToken(ca, soon, token):                           "renew its certificate (api.certFile there)",
		withToken(ca, late, "another-token-altogether\n"):    "it does not know this aggregator: put the token of api.peerTokenFile into its api.tokenFile",
		withToken(ca, late, peersToken+" namespaces=shop\n"): "sees some namespaces only: give it a token without namespaces=",
		withCert(other):                                      "it refuses this aggregator's certificate",
		plain:                                                "it speaks plain HTTP: set api.certFile and api.keyFile there",
		port(t):                                              "is weir-aggregator running there, and may this one reach it?",
		deaf.Addr().String():                                 "is it hung",
		strings.TrimPrefix(hung.URL, "https://"):             "is it hung, or cut off from here?",
	}
	good := []string{withToken(ca, late, token), withCert(ca)}
	front := runs(t, func(c *config.Aggregator) {
		secure(t, &c.API, ca, late, token+"token-of-a-person name=person\n")
		c.API.PeerCA, c.API.PeerTokenFile = ca.File, written(t, t.TempDir(), "peer-token", peersToken+"\n")
		c.API.Peers = append(c.API.Peers, good...)
		for addr := range wrong {
			c.API.Peers = append(c.API.Peers, addr)
		}
	})
	time.Sleep(time.Until(soon.Add(time.Second)))
	for name, v := range map[string]url.Values{
		"held": {"q": {"| stats conns"}, "since": {"10m"}},
		"sent": {"q": {"| fields dst.port"}, "since": {"10m"}, "limit": {"0"}},
	} {
		want := map[string]string{"held": `{"values":[3]}`, "sent": strings.TrimSpace(strings.Repeat("{\"values\":[443]}\n", 3))}[name]
		var tail api.Tail
		eventually(t, name+": what the two good peers and the first have", func() bool {
			var rows string
			rows, tail = asks(t, ca, front.api, "token-of-a-person", v)
			return rows == want
		})
		said := map[string]string{}
		for _, m := range tail.Partial {
			said[m.Name] = m.Error
			if m.Share == nil || *m.Share != 1/float64(len(wrong)+len(good)+1) {
				t.Errorf("%s: share %v of %s", name, m.Share, m.Name)
			}
		}
		for addr, text := range wrong {
			if !strings.Contains(said[addr], text) {
				t.Errorf("%s: of %s it says %q, want %q", name, addr, said[addr], text)
			}
		}
		if len(said) != len(wrong) {
			t.Errorf("%s: missing are %v", name, said)
		}
	}
}

// inTwo spreads records over two aggregators: what the shop sees in turn, by connection,
// and the rest at random.
func inTwo(rng *rand.Rand, recs []flow.Record) (parts [2][]flow.Record) {
	of := map[uint64]int{}
	n := 0
	for i := range recs {
		r := &recs[i]
		at, known := of[r.ConnID]
		switch own := r.SrcNS == "shop" || r.DstNS == "shop"; {
		case !known && own:
			n++
			at = n % 2
			of[r.ConnID] = at
		case !known:
			at = rng.IntN(2)
		}
		parts[at] = append(parts[at], *r)
	}
	return parts
}

// pair is an aggregator that asks another for its part.
func pair(t *testing.T, parts [2][]flow.Record) (front, back http.Handler) {
	t.Helper()
	a, b := server(t, parts[0], parts[0], 30), server(t, parts[1], parts[1], 30)
	h := httptest.NewServer(b.Handler())
	t.Cleanup(h.Close)
	a.Peers = []api.Peer{{Name: "peer", URL: h.URL, Client: h.Client(), Token: func() (string, error) { return wholeToken, nil }}}
	return a.Handler(), b.Handler()
}

// TestConfinementTravels: a caller who sees some namespaces learns no more where his
// question is asked of other aggregators too, and cannot ask those for more himself.
func TestConfinementTravels(t *testing.T) {
	rng := rand.New(rand.NewPCG(17, 8))
	recs := querytest.Records(rng, 600)
	others := otherwise(rng, recs)
	a, back := pair(t, inTwo(rng, recs))
	b, _ := pair(t, inTwo(rng, others))
	learnNothing(t, rng, a, b, 60)
	since, until := fmt.Sprint(querytest.Base), fmt.Sprint(querytest.Base+querytest.Span)
	all := url.Values{"q": {"| stats active by src.ns, dst.ns"}, "since": {since}, "until": {until}}
	_, mine := call(t, a, shopToken, "query", all)
	_, whole := call(t, a, wholeToken, "query", all)
	if mine == whole || !strings.Contains(mine, "shop") {
		t.Fatalf("the shop sees %s", mine)
	}
	for _, h := range []http.Handler{a, back} {
		for name, more := range map[string]url.Values{
			"for another":          {"part": {"true"}, "visible": {"bank"}},
			"for another, twice":   {"part": {"true"}, "visible": {"shop", "bank"}},
			"for nobody":           {"part": {"true"}},
			"for all":              {"part": {"1"}, "visible": {""}},
			"visible, and no part": {"visible": {"bank"}},
		} {
			v := maps.Clone(all)
			maps.Copy(v, more)
			if code, body := call(t, h, shopToken, "query", v); code != http.StatusBadRequest || strings.Contains(body, `"values"`) || strings.Contains(body, `"groups"`) {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
	}
}
