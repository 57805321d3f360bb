package inspect

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/exporter/track"
)

const (
	watchSamples = 11
	watchEvery   = 100 * time.Millisecond
	maxCounted   = 400_000 // entries of a table whose owners are counted: a second of one core
	owners       = 5
)

// Pressure watches the conntrack table for a second. Owners are addresses: names are
// the agent's to give. It is nil, with the reason, where the table cannot be read.
func Pressure(ctx context.Context, netns string) (*pressure.State, error) {
	f := pressure.New(2 * watchSamples * watchEvery.Milliseconds())
	var last conntrack.Sysctls
	for i := range watchSamples {
		if i > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(watchEvery):
			}
		}
		s, err := conntrack.ReadSysctls(netns)
		if err != nil {
			return nil, err
		}
		st, err := conntrack.ReadStats(ctx, conntrack.Options{NetNS: netns})
		if err != nil {
			return nil, err
		}
		f.Add(pressure.Sample{AtMs: time.Now().UnixMilli(), Count: s.Count, Max: s.Max, Drop: st.Drop, EarlyDrop: st.EarlyDrop, InsertFailed: st.InsertFailed})
		last = s
	}
	p := f.State()
	if last.Count > maxCounted {
		return &p, nil
	}
	r, err := conntrack.NewReader(conntrack.Options{NetNS: netns})
	if err != nil {
		return nil, err
	}
	t := pressure.NewTally()
	_, err = r.Dump(ctx, conntrack.Filter{}, func(c *track.Conn) { t.Add(&c.Orig, &c.Reply) })
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	p.Clients, p.Servers = t.Top(owners, func(a [16]byte) string { return netip.AddrFrom16(a).Unmap().String() })
	return &p, nil
}
