package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/internal/ledger"
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
	"github.com/weirnet/weir/sinks/spool"
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
	if err := r.Drain(dctx); err != nil {
		held := r.Held()
		r.log.Warn("sink did not take all before the stop: the rest waits in its spool", "sink", r.Name(), "records", held.Records, "error", err.Error())
	}
	stop()
	return <-done
}

// makeRunners opens every sink and its spool.
func makeRunners(cfg *config.Aggregator, log *slog.Logger, book *ledger.Book, reg prometheus.Registerer, birds *canaries) ([]runner, error) {
	var out []runner
	for i := range cfg.Sinks {
		s := &cfg.Sinks[i]
		sink, err := makeSink(s, cfg.DataDir, log)
		if err != nil {
			return nil, fmt.Errorf("sinks[%d] %s: %w", i, s.Name, err)
		}
		if c, ok := sink.(prometheus.Collector); ok {
			if err := reg.Register(c); err != nil {
				return nil, fmt.Errorf("sinks[%d] %s: metrics: %w", i, s.Name, err)
			}
		}
		filter, err := makeFilter(&s.Filter)
		if err != nil {
			return nil, fmt.Errorf("sinks[%d] %s: filter: %w", i, s.Name, err)
		}
		rc := sinks.DefaultRunnerConfig()
		rc.Dir, rc.MaxBytes, rc.OnFull, rc.Fsync = filepath.Join(cfg.DataDir, "spool", s.Name), s.Spool.MaxBytes, spool.Policy(s.Spool.WhenFull), s.Spool.FsyncEvery
		rc.SegmentBytes = min(rc.SegmentBytes, max(1<<20, s.Spool.MaxBytes/4))
		rc.BatchRecords, rc.BatchAge = s.Batch()
		rc.RetryMin, rc.RetryMax, rc.Filter = s.Spool.RetryMin, s.Spool.RetryMax, filter
		r, err := sinks.NewRunner(rc, sink, sinks.Deps{Logger: log, Stage: book.Stage("sink/" + s.Name), Registerer: reg, Clock: time.Now, Tried: birds.tried(s.Name)})
		if err != nil {
			return nil, fmt.Errorf("sinks[%d] %s: %w", i, s.Name, err)
		}
		out = append(out, runner{r, cfg.StopTimeout / 3, log})
	}
	return out, nil
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

// offer gives records to every sink.
func offer(runners []runner) func([]flow.Record) {
	return func(recs []flow.Record) {
		for _, r := range runners {
			r.Offer(recs)
		}
	}
}
