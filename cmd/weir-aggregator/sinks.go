package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/selector"
	buildinfo "github.com/weirnet/weir/internal/version"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/elastic"
	"github.com/weirnet/weir/sinks/ipfix"
	"github.com/weirnet/weir/sinks/jsonl"
	"github.com/weirnet/weir/sinks/kafka"
	"github.com/weirnet/weir/sinks/prom"
	"github.com/weirnet/weir/sinks/s3"
)

// runner is a sink's Runner as a task that drains before it ends.
type runner struct {
	*sinks.Runner
	drain time.Duration
	log   *slog.Logger
}

func (r runner) String() string { return "sink " + r.Name() }
func (r runner) Ready() bool    { return true }

// Run delivers until ctx is done and then, for a while, what is still waiting; the
// rest stays in the spool for the next process.
func (r runner) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- r.Runner.Run(work) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	dctx, cancel := context.WithTimeout(work, r.drain)
	defer cancel()
	if r.Yields() {
		stop()
		return <-done
	}
	if err := r.Drain(dctx); err != nil {
		held := r.Held()
		r.log.Warn("sink did not take all before the stop: the rest waits in its spool", "sink", r.Name(), "records", held.Records, "error", err.Error())
	}
	stop()
	return <-done
}

func makeSink(s *config.Sink, dataDir string, log *slog.Logger) (sinks.Sink, error) {
	switch s.Kind {
	case "jsonl":
		c := jsonl.DefaultConfig()
		c.Name, c.Path, c.Format = s.Name, s.JSONL.Path, jsonl.Format(s.JSONL.Format)
		c.RotateBytes, c.RotateAge, c.Keep, c.Gzip = s.JSONL.MaxBytes, s.JSONL.MaxAge, s.JSONL.Keep, s.JSONL.Compress
		return jsonl.New(c, log, time.Now)
	case "ipfix":
		c := ipfix.DefaultConfig()
		c.Name, c.Address, c.Protocol, c.Format, c.Template = s.Name, s.IPFIX.Address, s.IPFIX.Transport, s.IPFIX.Format, s.IPFIX.Template
		c.CAFile, c.CertFile, c.KeyFile, c.ServerName, c.DomainID = s.IPFIX.CA, s.IPFIX.Cert, s.IPFIX.Key, s.IPFIX.Server, s.IPFIX.Domain
		return ipfix.New(c, log, time.Now)
	case "clickhouse":
		return clickhouse.New(s.ClickHouse.Sink(s.Name, buildinfo.Get(version).String()), log, time.Now)
	case "kafka":
		return kafka.New(s.Kafka.Sink(s.Name, buildinfo.Get(version).String()), log)
	case "s3":
		return s3.New(s.S3.Sink(s.Name, filepath.Join(dataDir, "sinks", s.Name, "upload.json")), log, time.Now)
	case "elasticsearch":
		return elastic.New(s.Elastic.Sink(s.Name, filepath.Join(dataDir, "sinks", s.Name), buildinfo.Get(version).String()), log, time.Now)
	case "prom":
		return prom.New(s.Prom.Sink(s.Name))
	default:
		return nil, fmt.Errorf("kind %q is not in this binary", s.Kind)
	}
}

// makeFilter compiles a sink's filter; nil takes everything.
func makeFilter(f *config.Filter) (func(*flow.Record) bool, error) {
	var terms []selector.Term
	for _, l := range []struct {
		key    string
		values []string
	}{{"namespace", f.Namespaces}, {"outcome", f.Outcomes}, {"scope", f.Scopes}, {"protocol", f.Protocols}, {"ip", f.CIDRs}} {
		for _, v := range l.values {
			terms = append(terms, selector.Term{Key: l.key, Value: v})
		}
	}
	if len(terms) == 0 && f.Query == "" {
		return nil, nil
	}
	set, err := selector.New(terms)
	if err != nil {
		return nil, err
	}
	expr, err := query.ParseExpr(f.Query)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	match, err := query.Predicate(expr)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return func(r *flow.Record) bool { return (set.Match(r) && match(r)) != f.Not }, nil
}
