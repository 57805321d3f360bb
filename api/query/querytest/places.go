package querytest

import (
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/weirnet/weir/api/flow"
)

// Places says where the records of connections are at a moment of an aggregator that
// writes to a database beside its own history.
type Places struct {
	Told    []flow.Record // all that the correlator told
	Stored  []flow.Record // of them those that the database has
	Waiting []flow.Record // of them those not known to be stored, the newest stored ones among them
	Sights  []flow.Record // of connections with more than was told
	Passed  []flow.Record // sights that the database has as told records by now
}

// Scatter puts the records of each connection, which it gives a number of exporters'
// records, where they may be at a moment. Records have to be as Records gives them.
func Scatter(rng *rand.Rand, recs []flow.Record) (p Places) {
	conns := map[uint64][]flow.Record{}
	for i := range recs {
		r := recs[i]
		r.SetRecords(1)
		conns[r.ConnID] = append(conns[r.ConnID], r)
	}
	for _, id := range slices.Sorted(maps.Keys(conns)) {
		list := conns[id]
		told := min(rng.IntN(len(list)+3), len(list))
		stored := min(rng.IntN(told+2), told)
		p.Told = append(p.Told, list[:told]...)
		p.Stored = append(p.Stored, list[:stored]...)
		p.Waiting = append(p.Waiting, list[rng.IntN(stored+1):told]...)
		switch {
		case told < len(list):
			p.Sights = append(p.Sights, sight(&list[told]))
		case stored == told && rng.IntN(2) == 0:
			p.Passed = append(p.Passed, sight(&list[told-1]))
		}
	}
	return p
}

// sight is a record as it was before it was told.
func sight(r *flow.Record) flow.Record {
	s := *r
	for _, f := range []flow.FieldID{flow.FRecords, flow.FSeq, flow.FFinal} {
		s.Has.Clear(f)
	}
	s.Records, s.Seq, s.Final = 0, 0, false
	return s
}
