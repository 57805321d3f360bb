package coverage

import (
	"slices"
	"strings"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter/pressure"
)

// The topics of facts.
const (
	topicCoverage  = "coverage"
	topicInspected = "coverage/inspected"
	topicCanary    = "coverage/canary"
	topicEvidence  = "evidence"
	topicPressure  = "pressure"
	topicClient    = "pressure/client"
	topicServer    = "pressure/server"
)

// pressureNumbers are the numbers of a State by their keys.
func pressureNumbers(p *pressure.State) map[string]*int64 {
	return map[string]*int64{"full_in_ms": &p.FullInMs, "window_ms": &p.WindowMs, "at_ms": &p.AtMs}
}

func pressureCounts(p *pressure.State) map[string]*uint64 {
	return map[string]*uint64{"entries": &p.Count, "max": &p.Max, "drops": &p.Drops, "early_drops": &p.EarlyDrops, "insert_failures": &p.InsertFailed}
}

// Facts gives the table as rows to be told, as of nowMs.
func (t *Table) Facts(nowMs int64) []ipfix.FactRow {
	var out []ipfix.FactRow
	add := func(row ipfix.FactRow) {
		row.AtMs = nowMs
		out = append(out, row)
	}
	for _, r := range t.Rows {
		key := r.Class + "/" + r.Family
		add(ipfix.FactRow{Topic: topicCoverage, Key: key, State: r.Seen.String(), Reason: r.Why, Remedy: r.Remedy})
		add(ipfix.FactRow{Topic: topicInspected, Key: key, State: r.Inspected.String()})
		add(ipfix.FactRow{Topic: topicCanary, Key: key, State: r.Canary.String(), Reason: r.CanaryWhy})
	}
	for _, e := range t.Evidence {
		add(ipfix.FactRow{Topic: topicEvidence, Key: e.Name, State: onOff[e.On], Reason: e.Why, Remedy: e.Remedy})
	}
	p := t.Pressure
	if p == nil || p.Max == 0 {
		return out
	}
	for k, v := range pressureNumbers(p) {
		add(ipfix.FactRow{Topic: topicPressure, Key: k, Value: *v})
	}
	for k, v := range pressureCounts(p) {
		add(ipfix.FactRow{Topic: topicPressure, Key: k, Value: int64(*v)})
	}
	if p.Known {
		add(ipfix.FactRow{Topic: topicPressure, Key: "growth_per_1000s", Value: int64(p.GrowthPerSecond * 1000)})
	}
	for topic, list := range map[string][]pressure.Owner{topicClient: p.Clients, topicServer: p.Servers} {
		for i, o := range list { // by rank, so that yesterday's owners do not stay
			add(ipfix.FactRow{Topic: topic, Key: string(rune('0' + i)), State: o.Name, Value: int64(o.Entries)})
		}
	}
	return out
}

var onOff = map[bool]string{true: "on", false: "off"}

// FromFacts puts a node's rows together again, in any order. Rows that it does not
// know, and states that are no words of this version, are left out.
func FromFacts(node string, rows []ipfix.FactRow) Table {
	t := Table{Node: node}
	var p pressure.State
	byKey := map[string]*ipfix.FactRow{}
	for i := range rows {
		r := &rows[i]
		byKey[r.Topic+" "+r.Key] = r
		if r.Topic == topicEvidence {
			t.Evidence = append(t.Evidence, Evidence{Name: r.Key, On: r.State == "on", Why: r.Reason, Remedy: r.Remedy})
		}
	}
	for c := range numClasses {
		for v := range numFamilies {
			key := c.String() + "/" + v.String()
			r := byKey[topicCoverage+" "+key]
			row := Row{Class: c.String(), Family: v.String()}
			if r == nil || row.Seen.UnmarshalText([]byte(r.State)) != nil {
				continue
			}
			row.Why, row.Remedy, row.Inspected = r.Reason, r.Remedy, row.Seen
			if x := byKey[topicInspected+" "+key]; x != nil {
				_ = row.Inspected.UnmarshalText([]byte(x.State)) // of another version: as seen
			}
			if x := byKey[topicCanary+" "+key]; x != nil && row.Canary.UnmarshalText([]byte(x.State)) == nil {
				row.CanaryWhy = x.Reason
			}
			t.Rows = append(t.Rows, row)
		}
	}
	numbers := 0
	for k, at := range pressureNumbers(&p) {
		if r := byKey[topicPressure+" "+k]; r != nil {
			*at = r.Value
			numbers++
		}
	}
	for k, at := range pressureCounts(&p) {
		if r := byKey[topicPressure+" "+k]; r != nil {
			*at = uint64(r.Value)
			numbers++
		}
	}
	if r := byKey[topicPressure+" growth_per_1000s"]; r != nil {
		p.Known, p.GrowthPerSecond = true, float64(r.Value)/1000
	}
	for topic, list := range map[string]*[]pressure.Owner{topicClient: &p.Clients, topicServer: &p.Servers} {
		for i := range 10 {
			if r := byKey[topic+" "+string(rune('0'+i))]; r != nil && r.State != "" {
				*list = append(*list, pressure.Owner{Name: r.State, Entries: uint64(r.Value)})
			}
		}
	}
	if numbers > 0 {
		t.Pressure = &p
	}
	slices.SortFunc(t.Evidence, func(a, b Evidence) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// OfPressure says whether a row tells of the conntrack table.
func OfPressure(r *ipfix.FactRow) bool {
	return r.Topic == topicPressure || r.Topic == topicClient || r.Topic == topicServer
}
