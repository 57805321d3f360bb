package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// memory is an Engine over records in memory and a Live.
type memory struct {
	recs []flow.Record
	live *Live
	wait bool // until the context ends
}

func (m *memory) Answer(ctx context.Context, a *query.Answer) error {
	if m.wait {
		<-ctx.Done()
		return ctx.Err()
	}
	e, err := query.NewEvaluator(a)
	if err != nil {
		return err
	}
	recs := m.recs
	if m.live != nil {
		for _, r := range m.live.Records() {
			recs = append(slices.Clip(recs), *r)
		}
	}
	for i := range recs {
		if err := e.Add(&recs[i]); err != nil {
			return err
		}
	}
	return e.Finish()
}

func told(conn uint64, src, outcome string, bytes uint64) flow.Record {
	r := rec(conn, 443)
	r.SetStart(r.End - 5000)
	r.SetSince(r.Start)
	r.SetFirst(true)
	r.SetRecords(2)
	r.SetSrcWorkload("Deployment/" + src)
	r.SetSrcNS("shop")
	if bytes > 0 {
		r.SetBytesDelta(bytes)
	}
	if err := r.SetText(flow.FOutcome, outcome); err != nil {
		panic(err)
	}
	return r
}

func ask(t *testing.T, h *httptest.Server, q string, more ...string) (head Head, rows []query.Row, tail Tail) {
	t.Helper()
	v := url.Values{"q": {q}, "until": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}
	for i := 0; i+1 < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	code, body := get(t, h.URL+"/api/v1/query?"+v.Encode())
	if code != 200 {
		t.Fatalf("%s: %d %s", q, code, body)
	}
	sc := bufio.NewScanner(strings.NewReader(body))
	for n := 0; sc.Scan(); n++ {
		var err error
		switch {
		case n == 0:
			err = json.Unmarshal(sc.Bytes(), &head)
		case strings.HasPrefix(sc.Text(), `{"weir":`):
			err = json.Unmarshal(sc.Bytes(), &struct{ Weir *Tail }{&tail})
		default:
			var row query.Row
			err = json.Unmarshal(sc.Bytes(), &row)
			rows = append(rows, row)
		}
		if err != nil {
			t.Fatalf("%v in %s", err, sc.Text())
		}
	}
	if !tail.End || tail.Rows != len(rows) {
		t.Fatalf("%d rows and the closing line %+v", len(rows), tail)
	}
	return head, rows, tail
}

func TestQuery(t *testing.T) {
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	s.Engine = &memory{recs: []flow.Record{told(1, "cart", "ok", 100), told(2, "cart", "refused", 0), told(3, "checkout", "refused", 50)}}
	head, rows, tail := ask(t, h, "shop | stats conns, sum(bytes) by src.workload")
	if head.Query != "shop not canary = true | stats conns, sum(bytes) by src.workload" || len(head.Columns) != 3 || head.Columns[2].Unit != "bytes" {
		t.Errorf("head %+v", head)
	}
	if got := fmt.Sprint(rows); got != "[{[Deployment/cart 2 100] [0 0 1] false} {[Deployment/checkout 1 50] [] false}]" {
		t.Errorf("rows %v", got)
	}
	if tail.Scanned.Rows != 3 || tail.Cut {
		t.Errorf("tail %+v", tail)
	}
	if _, rows, tail := ask(t, h, "outcome = refused | fields src.workload, port", "limit", "1"); len(rows) != 1 || !tail.Cut {
		t.Errorf("limit 1: %v %+v", rows, tail)
	}
	for _, c := range []struct{ query, want string }{
		{"q=outcom%3Dok", `"column":1,"near":"outcome"`},
		{"q=shop&since=1h&until=2h", "the range is empty"},
		{"q=shop&last=1h", `unknown parameter \"last\"`},
		{"q=shop&limit=-1", "limit:"},
		{"q=shop|stats+conns+every+1ms&since=24h", "more than 10000 steps"},
	} {
		if code, body := get(t, h.URL+"/api/v1/query?"+c.query); code != 400 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %s", c.query, code, body, c.want)
		}
	}
}

// TestQueryLeavesCanariesOut: the probe's connections are in no total that did not ask
// for them, and the answer says so; a part for another aggregator is what it asked for.
func TestQueryLeavesCanariesOut(t *testing.T) {
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	bird := told(2, "cart", "ok", 777)
	bird.SetCanary(true)
	s.Engine = &memory{recs: []flow.Record{told(1, "cart", "ok", 100), bird}}
	for _, c := range []struct {
		query, rows string
		says        bool
	}{
		{"shop | stats sum(bytes)", "[{[100] [] false}]", true},
		{"shop canary = true | stats sum(bytes)", "[{[777] [] false}]", false},
		{"shop (canary = true or not canary = true) | stats sum(bytes)", "[{[877] [] false}]", false},
	} {
		head, rows, _ := ask(t, h, c.query)
		if says := slices.Contains(head.Notes, query.CanariesNote); fmt.Sprint(rows) != c.rows || says != c.says {
			t.Errorf("%s: %v, want %s; notes %v", c.query, rows, c.rows, head.Notes)
		}
	}
	code, body := get(t, h.URL+"/api/v1/query?part=true&q="+url.QueryEscape("shop | stats active")+"&until="+url.QueryEscape(time.Now().Add(time.Minute).UTC().Format(time.RFC3339)))
	if code != 200 || strings.Contains(body, "probe") {
		t.Errorf("a part: %d %s", code, body)
	}
}

// TestQueryLimits: a query that takes too long ends and says so, and one too many is
// refused while it runs.
func TestQueryLimits(t *testing.T) {
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	s.Limits.Timeout, s.Limits.AtOnce = 2*time.Second, 1
	s.Engine = &memory{wait: true}
	done := make(chan string)
	go func() {
		res, err := http.Get(h.URL + "/api/v1/query?q=shop")
		if err != nil {
			done <- err.Error()
			return
		}
		defer res.Body.Close()
		var f Failure
		_ = json.NewDecoder(res.Body).Decode(&f)
		done <- fmt.Sprint(res.StatusCode, f.Error)
	}()
	for s.queries.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if code, body := get(t, h.URL+"/api/v1/query?q=shop"); code != 429 || !strings.Contains(body, "1 queries are running already") {
		t.Errorf("one too many: %d %s", code, body)
	}
	if got := <-done; !strings.HasPrefix(got, "503 the query took longer than 2s") && !strings.HasPrefix(got, "503the query took longer than 2s") {
		t.Errorf("too long: %s", got)
	}
	if s.queries.Load() != 0 {
		t.Error("a place was not given back")
	}
}

// TestPeers: any aggregator answers for all; one that is down is named with its share.
func TestPeers(t *testing.T) {
	var peers []Peer
	for i := range uint64(2) {
		s, h := server(t, 8)
		s.Limits = DefaultQueryLimits()
		s.Engine = &memory{recs: []flow.Record{told(10+i, "cart", "ok", 100), told(20+i, "checkout", "refused", 7)}}
		peers = append(peers, Peer{Name: fmt.Sprintf("peer-%d", i), URL: h.URL, Client: h.Client()})
	}
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	s.Engine = &memory{recs: []flow.Record{told(1, "cart", "ok", 1)}}
	s.Peers = peers
	_, rows, tail := ask(t, h, "| stats conns, sum(bytes), uniq(src.workload) by src.ns")
	if got := fmt.Sprint(rows); got != "[{[shop 5 215 2] [] false}]" || len(tail.Partial) != 0 || tail.Scanned.Rows != 5 {
		t.Errorf("%s %+v", got, tail)
	}
	if _, rows, _ := ask(t, h, "cart | fields conn_id"); len(rows) != 3 {
		t.Errorf("a list over three aggregators: %v", rows)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	s.Peers[1].URL = gone.URL
	_, rows, tail = ask(t, h, "| stats conns")
	if len(tail.Partial) != 1 || tail.Partial[0].Name != "peer-1" || *tail.Partial[0].Share != 1.0/3 || tail.Partial[0].Error == "" {
		t.Errorf("partial %+v", tail.Partial)
	}
	if fmt.Sprint(rows) != "[{[3] [] false}]" {
		t.Errorf("rows %v", rows)
	}
}

// TestLiveForTheLongHistory: what was told stays for the long history until that one has
// it, whether there was a sight of it or not, and no longer than there is one.
func TestLiveForTheLongHistory(t *testing.T) {
	l := NewLive(2)
	now := time.Now()
	seqs := func(want ...uint32) {
		t.Helper()
		recs, n := l.RecordsLong()
		got := []uint32{}
		for _, r := range recs {
			got = append(got, r.Seq)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || n != len(want) {
			t.Errorf("there are %v and %d, want %v", got, n, want)
		}
	}
	seq := func(n uint32) []flow.Record {
		r := told(1, "cart", "ok", 60)
		r.SetSeq(n)
		return []flow.Record{r}
	}
	l.Told(seq(1), now)
	seqs()
	l.KeepLong(true)
	for n := range uint32(3) {
		l.Told(seq(n+2), now)
	}
	seqs(2, 3) // there is no room for more
	l.Stored(seq(4))
	seqs(2, 3)
	l.StoredLong(seq(2))
	seqs(3)
	if len(l.Records()) != 0 {
		t.Error("the history has to wait for what it has")
	}
	l.Told(seq(5), now.Add(toldKeep/2))
	l.Told(seq(6), now.Add(2*toldKeep)) // the long history does not come: its spool has them
	seqs(6)
	l.KeepLong(false)
	seqs()
	l.KeepLong(true)
	l.Told(seq(7), now)
	seqs(7)
}

// TestLive: a sight is found before it is told, is complete from both ends, is counted
// once beside the told record, and goes afterwards.
func TestLive(t *testing.T) {
	l := NewLive(2)
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	eng := &memory{live: l}
	s.Engine = eng
	now := time.Now()
	sight := func(conn uint64) flow.Record {
		r := rec(conn, 443)
		r.SetStart(r.End)
		r.SetFirst(true)
		return r
	}
	one := sight(1)
	one.SetSrcPod("cart-0")
	l.Publish([]flow.Record{one}, now)
	other := sight(1)
	other.SetDstPod("payments-0")
	if err := other.SetText(flow.FOutcome, "refused"); err != nil {
		t.Fatal(err)
	}
	l.Publish([]flow.Record{other}, now)
	if _, rows, _ := ask(t, h, "cart-0 payments-0 outcome = refused | stats conns, active, sum(bytes)"); fmt.Sprint(rows) != "[{[1 1 <nil>] [0 0 1] false}]" {
		t.Errorf("a sight of both ends: %v", rows)
	}
	full := told(1, "cart", "refused", 60)
	full.End = max(full.End, other.End)
	l.Told([]flow.Record{full}, now)
	for _, stored := range [][]flow.Record{nil, {full}} {
		l.Stored(stored)
		eng.recs = stored
		if _, rows, _ := ask(t, h, "cart outcome = refused | stats conns, active, sum(bytes)"); fmt.Sprint(rows) != "[{[1 1 60] [] false}]" {
			t.Errorf("told, %d of it stored: %v", len(stored), rows)
		}
	}
	if n, _ := l.Len(); n != 0 {
		t.Errorf("a stored one stayed: %d", n)
	}
	l.Publish([]flow.Record{sight(2), sight(3), sight(4)}, now)
	if n, lost := l.Len(); n != 2 || lost != 1 {
		t.Errorf("held %d, lost %d", n, lost)
	}
	l.Told([]flow.Record{told(2, "cart", "ok", 1)}, now)
	l.Publish(nil, now.Add(toldKeep+2*time.Second)) // no history took it
	if n, _ := l.Len(); n != 1 {
		t.Errorf("a told one stayed: %d", n)
	}
	l.Publish(nil, now.Add(2*untoldKeep))
	if n, _ := l.Len(); n != 0 {
		t.Errorf("one that was never told stayed: %d", n)
	}
}

func TestCompleteValues(t *testing.T) {
	s, h := server(t, 8)
	s.Limits = DefaultQueryLimits()
	s.Engine = &memory{recs: []flow.Record{told(1, "cart", "ok", 1), told(2, "cart", "ok", 1), told(3, "checkout", "ok", 1), told(4, "checkin", "refused", 1)}}
	for _, c := range []struct{ text, want string }{
		{"workload = c", "cart checkin checkout"},
		{"workload = ch", "checkin checkout"},
		{"workload = Dep", "Deployment/cart Deployment/checkin Deployment/checkout"},
		{"outcome = refused workload = c", "checkin"},
		{"ip = 10.0.0", "10.0.0.1 10.0.0.2"},
		{"outc", "outcome"},
	} {
		var got query.Completion
		_, body := get(t, h.URL+"/api/v1/complete?"+url.Values{"text": {c.text}, "until": {time.Now().Add(time.Minute).UTC().Format(time.RFC3339)}}.Encode())
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, x := range got.Suggestions {
			texts = append(texts, x.Text)
		}
		if strings.Join(texts, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.text, texts, c.want)
		}
	}
}
