package api

import (
	"net/http"
	"sync"
	"time"

	"github.com/weirnet/weir/exporter/coverage"
)

// Coverage is the answer of /api/v1/coverage: what the nodes say can be seen of them.
type Coverage struct {
	Time time.Time `json:"time"`
	// Summary is one line for the foot of every total.
	Summary string `json:"summary"`
	// Nodes is how many nodes sent records or told of themselves within a day.
	Nodes int `json:"nodes"`
	// Full is of how many all traffic is seen, at least partly.
	Full   int            `json:"full"`
	Tables []NodeCoverage `json:"tables"`
}

// NodeCoverage is the table of one node.
type NodeCoverage struct {
	coverage.Table
	At time.Time `json:"at"` // when the node told it, by the aggregator's clock
	// ClockMs is how far the node's clock is ahead of the aggregator's, below 0 how far behind,
	// in ms; left out where they agree within 5 s. Times of its records are by its clock.
	ClockMs int64 `json:"clock_ms,omitempty"`
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
	c.Summary, c.Full = coverage.Summary(fresh, c.Nodes)
	return c
}

// CoverageBrief is what an answer says of what its nodes let be seen at all.
type CoverageBrief struct {
	Nodes   int    `json:"nodes"`   // that sent records or told of themselves within a day
	Full    int    `json:"full"`    // of which all traffic is seen, at least partly
	Summary string `json:"summary"` // what is not seen, where and why
}

// briefs is the newest brief: a busy API need not sum all nodes up for each answer.
type briefs struct {
	mu sync.Mutex
	at time.Time
	b  CoverageBrief
}

const briefFor = time.Second

// brief is what stands beside a caller's answer; nil for one who sees a part of the
// cluster, as it is about nodes.
func (s *Server) brief(r *http.Request) *CoverageBrief {
	if s.Coverage == nil || !callerOf(r).All {
		return nil
	}
	s.briefs.mu.Lock()
	defer s.briefs.mu.Unlock()
	if now := time.Now(); now.Sub(s.briefs.at) > briefFor {
		c := s.Coverage()
		s.briefs.at, s.briefs.b = now, CoverageBrief{c.Nodes, c.Full, c.Summary}
	}
	b := s.briefs.b
	return &b
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
