package api

import (
	"net/http"
	"time"

	"github.com/weirnet/weir/exporter/coverage"
)

// Coverage is the answer of /api/v1/coverage: what the nodes say can be seen of them.
type Coverage struct {
	Time time.Time `json:"time"`
	// Summary is one line for the foot of every total.
	Summary string `json:"summary"`
	// Nodes is how many nodes sent records or told of themselves within a day.
	Nodes  int            `json:"nodes"`
	Tables []NodeCoverage `json:"tables"`
}

// NodeCoverage is the table of one node.
type NodeCoverage struct {
	coverage.Table
	At time.Time `json:"at"` // when the node told it, by its clock
	// Silent is true where the node has not told anything for a minute: it may look
	// otherwise now.
	Silent bool `json:"silent,omitempty"`
}

// SilentAfter is how old a table may be before its node counts as silent.
const SilentAfter = time.Minute

// NewCoverage marks silent nodes and sums up.
func NewCoverage(now time.Time, tables []NodeCoverage, nodes int) Coverage {
	if tables == nil {
		tables = []NodeCoverage{} // an array in JSON, not null
	}
	c := Coverage{Time: now, Tables: tables, Nodes: max(nodes, len(tables))}
	var fresh []coverage.Table
	for i := range tables {
		t := &tables[i]
		if t.Silent = now.Sub(t.At) > SilentAfter; !t.Silent {
			fresh = append(fresh, t.Table)
		}
	}
	c.Summary = coverage.Summary(fresh, c.Nodes)
	return c
}

func (s *Server) coverage(w http.ResponseWriter, _ *http.Request) {
	if s.Coverage == nil {
		fail(w, http.StatusNotFound, "this aggregator collects no coverage")
		return
	}
	reply(w, http.StatusOK, s.Coverage())
}

// canaries shows which of the probe's connections passed which hop.
func (s *Server) canaries(w http.ResponseWriter, _ *http.Request) {
	if s.Canaries == nil {
		fail(w, http.StatusNotFound, "this aggregator notes no canaries")
		return
	}
	reply(w, http.StatusOK, s.Canaries())
}

// verify shows what became of the runs of each node's own probe.
func (s *Server) verify(w http.ResponseWriter, _ *http.Request) {
	if s.Verify == nil {
		fail(w, http.StatusNotFound, "this aggregator judges no canaries")
		return
	}
	reply(w, http.StatusOK, s.Verify())
}
