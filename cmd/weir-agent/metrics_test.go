package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"testing"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
	buildinfo "github.com/weirnet/weir/internal/version"
)

var update = flag.Bool("update", false, "write docs/metrics.md again")

// TestMetricsAreInTheDocs compares docs/metrics.md with what the binary registers.
func TestMetricsAreInTheDocs(t *testing.T) {
	cfg := config.DefaultAgent()
	cfg.NodeName, cfg.Names.Source, cfg.Send.Transport, cfg.Send.Aggregators = "node-1", "none", "tcp", []string{"127.0.0.1:1"}
	p, err := wire(cfg, slog.New(slog.DiscardHandler), buildinfo.Get(""), source{Source: nothing{}})
	if err != nil {
		t.Fatal(err)
	}
	docs, err := p.reg.Docs()
	if err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/metrics.md"
	have, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := obs.UpdateDocs(string(have), "weir-agent", docs)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(have) {
		t.Errorf("%s is not current: run `make generate`", path)
	}
}

// nothing is a source without connections.
type nothing struct{}

func (nothing) Dump(context.Context, func(*track.Conn)) (conntrack.DumpStats, error) {
	return conntrack.DumpStats{}, nil
}
func (nothing) Events() <-chan *conntrack.Batch { return nil }
func (nothing) Recycle(*conntrack.Batch)        {}
func (nothing) Stop()                           {}
func (nothing) Close() error                    { return nil }
func (nothing) Vitals() conntrack.Vitals        { return conntrack.Vitals{} }
