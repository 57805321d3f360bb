package main

import (
	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/internal/config"
	"github.com/weirnet/weir/sinks/clickhouse"
)

// long is the database of a sink as a history that queries read.
type long struct {
	*clickhouse.Reader
	waiting func() uint64
}

// Name implements api.Long.
func (l long) Name() string { return "ClickHouse (sink " + l.Reader.Name() + ")" }

// Waiting implements api.Long.
func (l long) Waiting() uint64 { return l.waiting() }

// openLong gives the API the sink of which the configuration says that it answers for
// what is older than the built-in history, if there is one.
func openLong(web *api.Server, cfg *config.Aggregator, sinks *fanout) error {
	s := cfg.LongHistory()
	if s == nil {
		return nil
	}
	r, err := clickhouse.NewReader(s.ClickHouse.Sink(s.Name, web.Version.String()))
	if err != nil {
		return err
	}
	web.Long = long{r, func() uint64 {
		for _, e := range sinks.list() {
			if r := e.now(); r.Name() == s.Name {
				return r.Held().Records
			}
		}
		return 0
	}}
	return nil
}
