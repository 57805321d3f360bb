package query

import (
	"time"
)

// Column is a column of a Result.
type Column struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	Type string `json:"type"` // text, number or time
}

// Row is a row of a Result. A value is nil where absent, or an int64, uint64, float64,
// bool or string; times are strings in RFC 3339.
type Row struct {
	Values []any `json:"values"`
	// Uncounted, where any is above zero, says for each column how many connections had
	// no value to add to it.
	Uncounted []uint64 `json:"uncounted,omitempty"`
	Other     bool     `json:"other,omitempty"` // the groups that top folded
}

// Scanned is what an answer cost to find.
type Scanned struct {
	Rows     uint64 `json:"rows"`              // records, and sums of records, that were looked at
	Segments uint64 `json:"segments"`          // files of the history
	Rollups  uint64 `json:"rollups,omitempty"` // of them, roll-ups in place of records
	Bytes    uint64 `json:"bytes,omitempty"`   // read from the disk
}

// Add adds what another part of the answer cost.
func (s *Scanned) Add(o Scanned) {
	s.Rows += o.Rows
	s.Segments += o.Segments
	s.Rollups += o.Rollups
	s.Bytes += o.Bytes
}

// Missing names an aggregator that did not answer.
type Missing struct {
	Name  string `json:"name"`
	Error string `json:"error"`
	// Share of the agents that report to it, 0 to 1; nil where it is not known.
	Share *float64 `json:"share,omitempty"`
}

// Result is an answer.
type Result struct {
	Columns []Column      `json:"columns"`
	Rows    []Row         `json:"rows"`
	Cut     bool          `json:"cut,omitempty"` // there were more rows than the limit
	Notes   []string      `json:"notes,omitempty"`
	Scanned Scanned       `json:"scanned"`
	Took    time.Duration `json:"took_ns"`
	Partial []Missing     `json:"partial,omitempty"`
}
