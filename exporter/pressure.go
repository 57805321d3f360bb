package exporter

import (
	"net/netip"

	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/obs"
)

const (
	tallyEveryMs = 30_000 // owners are counted in a dump this often: 40 ns an entry
	topOwners    = 5
)

// gauge follows the pressure on the table, dump by dump.
type gauge struct {
	forecast *pressure.Forecaster
	tally    *pressure.Tally
	counted  int64 // when owners were counted last
	counting bool
	owner    func(addr [16]byte, nowMs int64) string
	clients  []pressure.Owner
	servers  []pressure.Owner
}

func newGauge(owner func([16]byte, int64) string) *gauge {
	if owner == nil {
		owner = func(a [16]byte, _ int64) string { return netip.AddrFrom16(a).Unmap().String() }
	}
	return &gauge{forecast: pressure.New(0), tally: pressure.NewTally(), owner: owner}
}

// begin is the beginning of a dump.
func (g *gauge) begin(nowMs int64) {
	g.counting = g.counted == 0 || nowMs-g.counted >= tallyEveryMs
	if g.counting {
		g.tally.Reset()
	}
}

// conn is an entry of the dump.
func (g *gauge) conn(c *track.Conn) {
	if g.counting {
		g.tally.Add(&c.Orig, &c.Reply)
	}
}

// end is the end of a dump. A source that does not know the table's size tells nothing.
func (g *gauge) end(nowMs int64, v *conntrack.Vitals, whole bool) pressure.State {
	if g.counting && whole {
		g.counted = nowMs
		g.clients, g.servers = g.tally.Top(topOwners, func(a [16]byte) string { return g.owner(a, nowMs) })
	}
	if v.Max > 0 {
		g.forecast.Add(pressure.Sample{AtMs: nowMs, Count: v.Count, Max: v.Max, Drop: v.CPU.Drop, EarlyDrop: v.CPU.EarlyDrop, InsertFailed: v.CPU.InsertFailed})
	}
	s := g.forecast.State()
	s.Clients, s.Servers = g.clients, g.servers
	return s
}

func (e *Exporter) pressureMetrics() []obs.Metric {
	// Where the source has no table of a known size, there is no number.
	when := func(ok func(*pressure.State) bool, read func(*pressure.State) float64) func(func(float64, ...string)) {
		return func(emit func(float64, ...string)) {
			if s := &e.state.Load().Pressure; ok(s) {
				emit(read(s))
			}
		}
	}
	sized := func(s *pressure.State) bool { return s.Max > 0 }
	owners := func(emit func(float64, ...string)) {
		s := &e.state.Load().Pressure
		for _, o := range s.Clients {
			emit(float64(o.Entries), "client", o.Name)
		}
		for _, o := range s.Servers {
			emit(float64(o.Entries), "server", o.Name)
		}
	}
	return []obs.Metric{
		{Name: "weir_conntrack_fill_ratio", Kind: obs.Gauge, Help: "Share of the conntrack table that is taken, 0 to 1.", Read: when(sized, func(s *pressure.State) float64 { return s.Fill() })},
		{
			Name: "weir_conntrack_growth_per_second", Kind: obs.Gauge, Help: "Entries by which the table grows a second: the median slope of the last minute; below 0 where it shrinks.",
			Read: when(func(s *pressure.State) bool { return s.Known }, func(s *pressure.State) float64 { return s.GrowthPerSecond }),
		},
		{
			Name: "weir_conntrack_full_in_seconds", Kind: obs.Gauge, Help: "When the table will be full at this growth; absent while it does not grow.",
			Read: when(func(s *pressure.State) bool { return sized(s) && s.FullInMs >= 0 }, func(s *pressure.State) float64 { return float64(s.FullInMs) / 1000 }),
		},
		{Name: "weir_conntrack_owner_entries", Kind: obs.Gauge, Labels: []string{"role", "owner"}, Help: "Entries of the five largest owners, pods by namespace/name, by who opened them (client) and who answers (server), and of all others.", Read: owners},
	}
}
