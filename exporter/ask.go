package exporter

import (
	"context"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
)

const (
	asksPerSecond = 500 // some 20 us each; what is beyond waits for the table to be read
	askTime       = 100 * time.Millisecond
)

// asker asks the source for one connection, at a bounded rate; nil where the source cannot
// be asked.
func (e *Exporter) asker() func(t *flow.Tuple) (exists, ok bool) {
	f, can := e.cfg.Source.(conntrack.Finder)
	if !can {
		return nil
	}
	return func(t *flow.Tuple) (bool, bool) {
		if e.tr.Knows(t) {
			return true, true
		}
		zones := e.tr.Zones()
		if e.asked++; e.asked > asksPerSecond || zones == nil {
			return false, false
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		has, err := f.Has(ctx, *t, zones)
		return has, err == nil
	}
}
