package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
)

// Changes is the answer of /api/v1/changes: what happened in the cluster, beside
// the flows, in the order of time.
type Changes struct {
	Changes []cluster.Change `json:"changes"`
	Total   int              `json:"total"` // with those before the newest `limit`
	// Source says where they come from, or why there are none but the agents'.
	Source string `json:"source"`
}

const (
	changesLimit = 1000
	changesSince = time.Hour
)

// ChangeQuery picks changes.
type ChangeQuery struct {
	FromMs, ToMs int64
	Limit        int
	Kinds        []string // empty for all
	Namespaces   []string // empty for all; changes without a namespace are in all
	Visible      *flow.Visibility
}

// Wants says whether a change is asked for.
func (q *ChangeQuery) Wants(c *cluster.Change) bool {
	return q.Visible.Has(c.Namespace) && (len(q.Kinds) == 0 || slices.Contains(q.Kinds, string(c.Kind))) &&
		(len(q.Namespaces) == 0 || c.Namespace == "" || slices.Contains(q.Namespaces, c.Namespace))
}

func parseChanges(v url.Values, now time.Time) (q ChangeQuery, err error) {
	q = ChangeQuery{FromMs: now.Add(-changesSince).UnixMilli(), ToMs: now.UnixMilli() + 1, Limit: changesLimit, Kinds: v["kind"], Namespaces: v["ns"]}
	for _, x := range []struct {
		key  string
		into *int64
	}{{"since", &q.FromMs}, {"until", &q.ToMs}} {
		if s := v.Get(x.key); s != "" {
			at, err := ParseTime(s, now)
			if err != nil {
				return q, fmt.Errorf("%s: %w", x.key, err)
			}
			*x.into = at.UnixMilli()
		}
	}
	if q.ToMs < q.FromMs {
		return q, fmt.Errorf("until: it is before since: turn them around")
	}
	for _, k := range q.Kinds {
		if !slices.Contains(cluster.ChangeKinds, cluster.ChangeKind(k)) {
			return q, fmt.Errorf("kind: %q is unknown: use one of %v", k, cluster.ChangeKinds)
		}
	}
	if s := v.Get("limit"); s != "" {
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > 10*changesLimit {
			return q, fmt.Errorf("limit: %q is out of range: give 1 to %d", s, 10*changesLimit)
		}
	}
	return q, nil
}

func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	if s.Changes == nil {
		fail(w, http.StatusNotFound, "this aggregator keeps no changes")
		return
	}
	q, err := parseChanges(r.URL.Query(), time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	q.Visible = callerOf(r).Visible()
	c := s.Changes(q)
	if c.Changes == nil {
		c.Changes = []cluster.Change{}
	}
	reply(w, http.StatusOK, c)
}
