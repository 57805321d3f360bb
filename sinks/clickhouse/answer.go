package clickhouse

import (
	"fmt"
	"math"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// listed takes a connection of a list.
func listed(a *query.Answer, rows driver.Rows, fields []flow.FieldID) error {
	texts := make([]*string, len(fields))
	dest := make([]any, len(fields))
	for i := range texts {
		dest[i] = &texts[i]
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	var r flow.Record
	for i, id := range fields {
		if texts[i] == nil || *texts[i] == ddl.UnlistedWord && flow.EnumWords[id] != nil {
			continue
		}
		if err := r.SetText(id, *texts[i]); err != nil {
			return err
		}
	}
	return a.Add(0, &r)
}

// part is what a row has of one aggregate; see sql.Compile.
type part struct {
	n, uncounted, zero                 uint64
	number                             *string
	posBins, negBins                   []int32
	posCounts, negCounts               []uint64
	hashes, registers, registersValues []uint64
}

func (p *part) dest(fn query.Func) []any {
	switch fn {
	case query.Conns, query.Active:
		return []any{&p.n}
	case query.Uniq:
		return []any{&p.n, &p.uncounted, &p.hashes, &p.registers, &p.registersValues}
	case query.P50, query.P95, query.P99:
		return []any{&p.n, &p.uncounted, &p.zero, &p.posBins, &p.posCounts, &p.negBins, &p.negCounts}
	default:
		return []any{&p.n, &p.uncounted, &p.number}
	}
}

// grouped takes a group.
func grouped(a *query.Answer, rows driver.Rows) error {
	st := a.Query.Stats()
	var step int64
	var dest []any
	if st.Every > 0 {
		dest = append(dest, &step)
	}
	keys := make([]*string, len(st.By))
	for i := range keys {
		dest = append(dest, &keys[i])
	}
	parts := make([]part, len(st.Aggs))
	for i := range st.Aggs {
		dest = append(dest, parts[i].dest(st.Aggs[i].Func)...)
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	cells := make([]query.Cell, len(keys))
	for i, k := range keys {
		if k != nil {
			cells[i] = query.Cell{Text: *k, Present: true}
		}
	}
	if len(st.By) == 0 && st.Every == 0 && empty(parts) {
		return nil // SQL gives one group of nothing
	}
	g, err := a.Table().Group(step, cells)
	if err != nil {
		return err
	}
	for i := range parts {
		acc, err := parts[i].acc(st.Aggs[i].Func)
		if err != nil {
			return fmt.Errorf("%s: %w", st.Aggs[i].Name(), err)
		}
		g.Accs[i].Merge(&acc)
	}
	return nil
}

func empty(parts []part) bool {
	for i := range parts {
		if parts[i].n+parts[i].uncounted > 0 {
			return false
		}
	}
	return true
}

func (p *part) acc(fn query.Func) (query.Acc, error) {
	acc := query.Acc{N: p.n, Uncounted: p.uncounted}
	switch fn {
	case query.Sum, query.Rate, query.Min, query.Max:
		if p.number == nil {
			return acc, nil
		}
		var w query.Wide
		if err := w.UnmarshalText([]byte(*p.number)); err != nil {
			return acc, err
		}
		switch fn {
		case query.Min:
			acc.Min = &w
		case query.Max:
			acc.Max = &w
		default:
			acc.Sum = &w
		}
	case query.P50, query.P95, query.P99:
		if p.n > 0 {
			acc.Sketch = &query.Sketch{Zero: p.zero, Positive: bins(p.posBins, p.posCounts), Negative: bins(p.negBins, p.negCounts)}
		}
	case query.Uniq:
		if p.n > 0 {
			acc.Distinct = p.distinct()
		}
	default:
	}
	return acc, nil
}

func bins(bins []int32, counts []uint64) map[int32]uint64 {
	m := make(map[int32]uint64, len(bins))
	for i := range min(len(bins), len(counts)) {
		m[bins[i]] = counts[i]
	}
	return m
}

func (p *part) distinct() *query.Distinct {
	d := &query.Distinct{}
	if len(p.hashes) <= query.UniqExact {
		for _, h := range p.hashes {
			d.AddHash(h)
		}
		return d
	}
	d.Registers = make([]byte, query.UniqRegisters)
	for i := range min(len(p.registers), len(p.registersValues)) {
		if k := p.registers[i]; k < uint64(len(d.Registers)) {
			d.Registers[k] = byte(min(p.registersValues[i], math.MaxUint8))
		}
	}
	return d
}
