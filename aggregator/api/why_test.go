package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/aggregator/findings"
	"github.com/weirnet/weir/api/flow"
)

// payments is a connection of shop/cart to shop/payments:8443, opened so long ago.
func payments(conn uint64, outcome string, ago time.Duration) flow.Record {
	r := told(conn, "cart", outcome, 100)
	r.SetEnd(time.Now().Add(-ago).UnixMilli())
	r.SetStart(r.End - 1000)
	r.SetSince(r.Start)
	r.SetDstPort(8443)
	r.SetDstNS("shop")
	r.SetDstWorkload("Deployment/payments")
	r.SetDstPod("payments-0")
	r.SetRTT(400)
	if outcome == "refused" {
		r.SetDstListen(flow.ListenNone)
		r.SetDstListens("8080, 53/udp")
	}
	return r
}

func incident() (recs []flow.Record) {
	for i := range 20 {
		recs = append(recs, payments(uint64(100+i), "ok", 90*time.Minute))
		outcome := "refused"
		if i%4 == 0 {
			outcome = "ok"
		}
		recs = append(recs, payments(uint64(200+i), outcome, 10*time.Minute))
	}
	return recs
}

func into(t *testing.T, base, path string, v url.Values, x any) {
	t.Helper()
	code, body := get(t, base+"/api/v1/"+path+"?"+v.Encode())
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	if err := json.Unmarshal([]byte(body), x); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
}

func TestWhyFindingsAndMap(t *testing.T) {
	s, h := server(t, 8)
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: incident()}
	var y Why
	into(t, h.URL, "why", url.Values{"src": {"shop/cart"}, "dst": {"shop/payments"}, "port": {"8443"}}, &y)
	if len(y.Findings) == 0 || y.Findings[0].Claim != "nobody listens on port 8443 of shop/payments: it listens on 8080" {
		t.Errorf("why: %+v", y.Findings)
	}
	if d := cmp.Diff(map[string]int{"ok": 5, "refused": 15}, y.Outcomes); d != "" || y.Scanned.Rows == 0 {
		t.Errorf("outcomes: %s, scanned %d", d, y.Scanned.Rows)
	}
	// What it says shows the connections does so.
	if _, rows, _ := ask(t, h, y.Query+" | stats active"); len(rows) != 1 || rows[0].Values[0] != float64(20) {
		t.Errorf("%s gives %v", y.Query, rows)
	}

	// One connection of the pair.
	var one Why
	into(t, h.URL, "why", url.Values{"src": {"shop/cart"}, "dst": {"shop/payments"}, "conn": {fmt.Sprintf("%016x", 201)}}, &one)
	if one.Conns != 1 || one.Policies == nil || !strings.Contains(one.Query, "conn_id = 00000000000000c9") {
		t.Errorf("of one connection: %+v", one)
	}

	var f FindingsAnswer
	into(t, h.URL, "findings", nil, &f)
	if len(f.Findings) != 1 || f.Findings[0].Text != "shop/Deployment/cart -> shop/Deployment/payments:8443 fails: 75 % refused, none before" {
		t.Errorf("findings: %+v", f.Findings)
	}
	if _, rows, _ := ask(t, h, f.Findings[0].Query+" | stats conns"); len(rows) != 1 || rows[0].Values[0] != float64(15) {
		t.Errorf("the finding's query %s gives %v", f.Findings[0].Query, rows)
	}

	var m Map
	into(t, h.URL, "map", url.Values{"compare": {"true"}}, &m)
	if len(m.Edges) != 1 || m.Edges[0].Change != "changed" || m.Edges[0].Failed["refused"] != 15 || m.Edges[0].Conns != 20 || m.Edges[0].Previous.Conns != 20 {
		t.Errorf("map: %+v", m.Edges)
	}
	if e := m.Edges[0]; e.RTT95 == nil || *e.RTT95 < 390 || *e.RTT95 > 410 || e.Bytes == nil || *e.Bytes != 2000 || e.Reverse != nil {
		t.Errorf("numbers: %+v", e)
	}
	// A summary has all but what needs each connection.
	var brief Map
	into(t, h.URL, "map", url.Values{"summary": {"true"}}, &brief)
	if e := brief.Edges[0]; e.RTT95 != nil || e.Conns != 20 || e.Failed["refused"] != 15 || *e.Bytes != 2000 || !strings.Contains(strings.Join(brief.Notes, ";"), "a summary") {
		t.Errorf("summary of the map: %+v %v", e, brief.Notes)
	}
	var short FindingsAnswer
	into(t, h.URL, "findings", url.Values{"summary": {"true"}}, &short)
	if d := cmp.Diff(f.Findings, short.Findings); d != "" || !strings.Contains(strings.Join(short.Notes, ";"), "a summary") {
		t.Errorf("summary of the findings: %s %v", d, short.Notes)
	}
	recs := incident()
	for i := range recs {
		recs[i].SetDstNode("node-1")
		if i%2 == 1 && recs[i].Outcome == flow.OutcomeRefused || i%16 == 0 {
			recs[i].SetDstNode("node-3")
		}
	}
	s.Engine = &memory{recs: recs}
	var d Differences
	into(t, h.URL, "differences", url.Values{"q": {"outcome != ok"}, "since": {"2h"}}, &d)
	if d.Region != 15 || d.Rest != 25 || len(d.Differences) < 2 {
		t.Fatalf("differences: %+v", d)
	}
	var texts []string
	for _, x := range d.Differences {
		texts = append(texts, x.Text)
	}
	if got, want := strings.Join(texts, "; "), "outcome = refused: 100 % vs 0.00 %; dst.node = node-3: 100 % vs 12 %"; got != want {
		t.Errorf("differences: %s", got)
	}
}

// TestWrongQuestions: what cannot be answered is refused, and the place named.
func TestWrongQuestions(t *testing.T) {
	s, h := server(t, 8)
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: incident()}
	for path, want := range map[string]string{
		"differences":                       "q: it names the region",
		"why?src=cart":                      "dst: it names nothing",
		"why?src=Shop/cart&dst=a":           `src: \"Shop\" is no namespace`,
		"why?src=a&dst=b&port=0":            "port:",
		"why?src=a&dst=b&conn=7":            "conn: ",
		"why?src=a&dst=b&q=x":               `unknown parameter \"q\": use src, dst, port, conn, since, until`,
		"map?level=cluster":                 "use namespace, workload or pod",
		"map?q=outcom=ok":                   `"near":"outcome"`,
		"map?compare=maybe":                 "compare:",
		"map?summary=1":                     "summary:",
		"findings?summary=yes":              "summary:",
		"findings?since=1h&until=2h":        "the range is empty",
		"findings?since=1h&since=2h":        "since: it is given 2 times",
		"why?src=a&dst=b%22)%20or%20(x%3D1": "", // a name is text and never a condition
	} {
		code, body := get(t, h.URL+"/api/v1/"+path)
		if want == "" && code == http.StatusOK {
			continue
		}
		if code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", path, code, body, want)
		}
	}
}

// TestDifferencesOverTime: a region by time, alone and with a condition, against the rest
// of the range and against the time before.
func TestDifferencesOverTime(t *testing.T) {
	s, h := server(t, 8)
	recs := incident()
	for i := range recs {
		recs[i].SetDstNode("node-1")
		if recs[i].Outcome == flow.OutcomeRefused {
			recs[i].SetDstNode("node-3")
		}
	}
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: recs}
	for _, c := range []struct {
		params       string
		region, rest uint64
		want         string
	}{
		{"from=20m&to=1m&since=2h", 20, 20, "dst.node = node-3: 75 % vs 0.00 %; outcome = refused: 75 % vs 0.00 %"},
		{"from=20m&to=1m&since=2h&q=cart", 20, 20, "dst.node = node-3: 75 % vs 0.00 %; outcome = refused: 75 % vs 0.00 %"},
		{"from=20m&to=1m&since=2h&q=outcome+=+refused", 15, 25, "dst.node = node-3: 100 % vs 0.00 %; outcome = refused: 100 % vs 0.00 %"},
		{"against=previous&since=1h", 20, 20, "dst.node = node-3: 75 % vs 0.00 %; outcome = refused: 75 % vs 0.00 %"},
		{"against=previous&since=1h&q=outcome+=+ok", 5, 20, ""},
		{"against=previous&from=80m&to=40m&since=4h", 0, 20, ""},
	} {
		v, err := url.ParseQuery(c.params)
		if err != nil {
			t.Fatal(err)
		}
		var d Differences
		into(t, h.URL, "differences", v, &d)
		var texts []string
		for _, x := range d.Differences {
			texts = append(texts, x.Text)
		}
		slices.Sort(texts)
		if got := strings.Join(texts, "; "); got != c.want || d.Region != c.region || d.Rest != c.rest {
			t.Errorf("%s: %d of %d: %s", c.params, d.Region, d.Rest, got)
		}
	}
	for params, want := range map[string]string{
		"":                         "q: it names the region",
		"from=20m&to=30m&since=2h": "to: it is not after from",
		"from=3h&since=2h":         "the region is not within since and until",
		"from=noon&since=2h":       `from: \"noon\" is no time`,
		"against=yesterday&q=cart": `against: \"yesterday\" is unknown: use rest or previous`,
		"from=2h&since=2026-01-01": "since:",
		"from=1000&to=2000&since=1000&until=2000": "leaves no rest",
		"q=outcom+=+ok&against=previous":          `"near":"outcome"`,
	} {
		if code, body := get(t, h.URL+"/api/v1/differences?"+params); code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", params, code, body, want)
		}
	}
}

// outside is a connection of shop/cart to an address outside the cluster.
func outside(conn uint64, ip, network, name string) flow.Record {
	r := told(conn, "cart", "refused", 100)
	r.SetDstIP(netip.MustParseAddr(ip))
	r.SetDstKind(flow.EndExternal)
	r.SetDstNet(network)
	if name != "" {
		r.SetDstName(name)
	}
	for _, f := range []flow.FieldID{flow.FDstNS, flow.FDstPod, flow.FDstWorkload} {
		r.Has.Clear(f)
	}
	return r
}

// TestMapNamesWhatIsOutside: by name, else by network, else by what it is; each of them
// can be asked why, and leads to its connections.
func TestMapNamesWhatIsOutside(t *testing.T) {
	s, h := server(t, 8)
	node := outside(7, "192.0.2.7", "", "")
	node.SetDstKind(flow.EndNode)
	node.Has.Clear(flow.FDstNet)
	recs := []flow.Record{
		outside(1, "203.0.113.7", "internet", "bank.example.com"), outside(2, "203.0.113.8", "internet", ""), outside(3, "203.0.113.9", "internet", ""),
		outside(4, "10.7.0.9", "10.7.0.0/16", ""), outside(5, "10.8.0.9", "10.8.0.0/16", "office"), node,
	}
	s.Limits, s.Engine = DefaultQueryLimits(), &memory{recs: recs}
	conns := func(m *Map) map[string]uint64 {
		got := map[string]uint64{}
		for _, e := range m.Edges {
			got[e.Dst] = e.Conns
		}
		return got
	}
	want := map[string]uint64{"bank.example.com": 1, "net:internet": 2, "net:10.7.0.0/16": 1, "office": 1, "kind:node": 1}
	for _, level := range []string{"workload", "pod", "namespace"} {
		var m Map
		into(t, h.URL, "map", url.Values{"level": {level}}, &m)
		w := maps.Clone(want)
		if level == "namespace" { // where it could be a namespace
			delete(w, "office")
			w["name:office"] = 1
		}
		if d := cmp.Diff(w, conns(&m)); d != "" {
			t.Errorf("level %s:\n%s", level, d)
		}
	}
	var m Map
	into(t, h.URL, "map", url.Values{"q": {"dst.net = 10.7.0.0/16"}}, &m)
	if d := cmp.Diff(map[string]uint64{"net:10.7.0.0/16": 1}, conns(&m)); d != "" {
		t.Error(d)
	}
	for dst, n := range want {
		var y Why
		into(t, h.URL, "why", url.Values{"src": {"shop/cart"}, "dst": {dst}}, &y)
		if uint64(y.Conns) != n || y.Dst != findings.EndText(dst) {
			t.Errorf("why %s: %d connections to %s, want %d", dst, y.Conns, y.Dst, n)
		}
		if _, rows, _ := ask(t, h, y.Query+" | stats conns"); len(rows) != 1 || rows[0].Values[0] != float64(n) {
			t.Errorf("%s gives %v", y.Query, rows)
		}
	}
	var f FindingsAnswer
	for i := range recs {
		recs[i].SetDstPort(443)
		recs = append(recs, recs[i], recs[i], recs[i])
		for k := range 3 {
			recs[len(recs)-1-k].SetConnID(uint64(100 + 10*i + k))
		}
	}
	s.Engine = &memory{recs: recs}
	into(t, h.URL, "findings", nil, &f)
	texts := ""
	for _, x := range f.Findings {
		texts += x.Text + "\n"
		if _, rows, _ := ask(t, h, x.Query+" | stats conns"); len(rows) != 1 || rows[0].Values[0].(float64) < 4 {
			t.Errorf("%s: %s gives %v", x.Text, x.Query, rows)
		}
	}
	for _, w := range []string{"-> internet:443 fails", "-> 10.7.0.0/16:443 fails", "-> bank.example.com:443 fails", "-> nodes:443 fails"} {
		if !strings.Contains(texts, w) {
			t.Errorf("no finding %q in\n%s", w, texts)
		}
	}
}
