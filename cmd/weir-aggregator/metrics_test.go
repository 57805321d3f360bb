package main

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/obs"
	buildinfo "github.com/weirnet/weir/internal/version"
)

var update = flag.Bool("update", false, "write docs/metrics.md again")

// TestMetricsAreInTheDocs compares docs/metrics.md with what the binary registers.
func TestMetricsAreInTheDocs(t *testing.T) {
	cfg := config.DefaultAggregator()
	cfg.DataDir = t.TempDir()
	cfg.Collect.TLS, cfg.Collect.TCP, cfg.API.Auth = "", "127.0.0.1:0", "none"
	s := config.Sink{Name: "file", Kind: "jsonl"}
	s.SetDefaults()
	s.JSONL.Path = filepath.Join(cfg.DataDir, "flows.jsonl")
	ch := config.Sink{Name: "clickhouse", Kind: "clickhouse"}
	ch.SetDefaults()
	ch.ClickHouse.Hosts = []string{"127.0.0.1:9000"}
	kafka := config.Sink{Name: "kafka", Kind: "kafka"}
	kafka.SetDefaults()
	kafka.Kafka.Brokers = []string{"127.0.0.1:9092"}
	s3 := config.Sink{Name: "s3", Kind: "s3"}
	s3.SetDefaults()
	s3.S3.Endpoint, s3.S3.Bucket = "http://127.0.0.1:9000", "flows"
	search := config.Sink{Name: "search", Kind: "elasticsearch"}
	search.SetDefaults()
	search.Elastic.Hosts = []string{"http://127.0.0.1:9200"}
	cfg.Sinks = []config.Sink{s, ch, kafka, s3, search}
	p, err := wire(cfg, slog.New(slog.DiscardHandler), buildinfo.Get(""))
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
	want := obs.UpdateDocs(string(have), "weir-aggregator", docs)
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
