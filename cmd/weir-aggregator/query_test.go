package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator"
	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
)

// seen is the first record of an agent for a connection that opened just now.
func seen(conn uint16) flow.Record {
	now := time.Now().UnixMilli()
	var r flow.Record
	r.SetStart(now)
	r.SetEnd(now)
	r.SetSrcIP(netip.MustParseAddr("10.0.1.7"))
	r.SetDstIP(netip.MustParseAddr("10.0.2.9"))
	r.SetSrcPort(conn)
	r.SetDstPort(8443)
	r.SetProto(6)
	r.SetSrcNS("shop")
	r.SetSrcPod("cart-0")
	r.SetObserver("node-1")
	r.SetSrcNode("node-1")
	r.SetDstNS("bank") // the other end will be told of too: the correlator waits for it
	r.SetDstPod("payments-0")
	r.SetDstNode("node-2")
	r.SetSrcKind(flow.EndPod)
	r.SetDstKind(flow.EndPod)
	r.SetScope(flow.ScopeCrossNode)
	r.SetSeenBy(flow.SeenBySource)
	r.SetBytes(100)
	r.SetBytesDelta(100)
	r.SetFirst(true)
	return r
}

// correlating is a loop over a history that has nothing yet.
func correlating(t *testing.T) (*aggregator.Aggregator, *store.Store, *answers) {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Dir = t.TempDir()
	live := api.NewLive(1000)
	history, err := store.New(cfg, store.Deps{Written: live.Stored})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = history.Close() })
	loop := aggregator.DefaultConfig()
	loop.Shards = 1
	book := ledger.NewBook()
	agg, err := aggregator.New(loop, aggregator.Deps{
		Stage: book.Stage("correlate"), Logger: slog.New(slog.DiscardHandler),
		Live:    func(recs []flow.Record) { live.Told(recs, time.Now()) },
		Pending: pending(config.DefaultAggregator(), live),
		Out: func(recs []flow.Record) {
			if err := history.Write(context.Background(), recs); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return agg, history, &answers{history, live, query.DefaultLimits()}
}

// answered gives the rows of an answer as text.
func answered(t *testing.T, eng *answers, text string) string {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	a, err := query.NewAnswer(q, now.Add(-time.Minute).UnixMilli(), now.Add(time.Minute).UnixMilli(), query.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Answer(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	res, err := a.Result(0)
	if err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, r := range res.Rows {
		out += fmt.Sprint(r.Values)
	}
	return out
}

// TestNewConnectionsAreFound: a query finds a connection that the correlator still holds
// back, and counts it once when it has been told and stands in the history.
func TestNewConnectionsAreFound(t *testing.T) {
	agg, history, eng := correlating(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- agg.Run(ctx) }()
	count := func(text string) string { return answered(t, eng, text) }
	began := time.Now()
	first := []flow.Record{seen(1), seen(2), seen(3)}
	again := slices.Clone(first)
	agg.Take(first)
	for count("shop | stats conns") != "[3]" {
		if time.Since(began) > time.Minute {
			t.Fatalf("not found: %s", count("shop | stats conns, active by src.pod"))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if history.Size().Rows != 0 {
		t.Fatal("the history has them already: this tests nothing")
	}
	t.Logf("found after %v", time.Since(began))
	if got := count("shop port = 8443 | fields src.pod, src.port | sort src.port"); got != "[cart-0 1][cart-0 2][cart-0 3]" {
		t.Errorf("as a list: %s", got)
	}
	if got := count("shop | stats sum(bytes)"); got != "[300]" {
		t.Errorf("bytes before anything is told: %s", got)
	}
	for i := range again {
		again[i].SetEnd(time.Now().UnixMilli())
		again[i].SetSeq(1)
		again[i].SetBytes(250)
		again[i].SetBytesDelta(150)
	}
	agg.Take(again)
	last := uint64(300)
	grows := func() uint64 { // what moved is in one place at any moment, never in none or two
		var n uint64
		if _, err := fmt.Sscanf(count("shop | stats sum(bytes)"), "[%d]", &n); err != nil || n < last || n > 750 {
			t.Fatalf("%d bytes after %d (%v)", n, last, err)
		}
		last = n
		return n
	}
	for grows() != 750 {
		if time.Since(began) > time.Minute {
			t.Fatalf("not found: %d of 750 bytes", last)
		}
	}
	stop() // tells what is held
	for ended := false; !ended; grows() {
		select {
		case err := <-done:
			if ended = true; err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if history.Size().Rows == 0 {
		t.Fatal("nothing was told")
	}
	if got := count("shop | stats conns, active, sum(bytes)"); got != "[3 3 750]" {
		t.Errorf("told and live together: %s", got)
	}
}
