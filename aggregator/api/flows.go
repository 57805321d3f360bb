package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/selector"
)

// Note is a line of a stream that is no flow: {"weir":{...}}.
type Note struct {
	Weir NoteBody `json:"weir"`
}

// NoteBody tells what happened to the stream itself.
type NoteBody struct {
	// Skipped counts records that were overwritten before this client took them;
	// whether they would have matched is not known.
	Skipped uint64 `json:"skipped,omitempty"`
	// Sent and End close a stream.
	Sent uint64 `json:"sent,omitempty"`
	End  bool   `json:"end,omitempty"`
	// Alive is a sign of life where there are no flows.
	Alive bool `json:"alive,omitempty"`
	// Coverage stands beside End, for a caller who sees the whole cluster.
	Coverage *CoverageBrief `json:"coverage,omitempty"`
}

const (
	writeTimeout = 30 * time.Second // a client that takes nothing for so long is cut off
	keepAlive    = 15 * time.Second
	batch        = 128
)

type request struct {
	set     *selector.Set
	expr    func(*flow.Record) bool
	last    int
	sinceMs int64
	follow  bool
	visible *flow.Visibility
}

// match reports whether a record is the caller's and fits all that was asked for. What is
// hidden from the caller is cleared before that, in r.
func (q *request) match(r *flow.Record) bool {
	if q.visible == nil {
		return q.set.Match(r) && q.expr(r)
	}
	if !q.visible.Sees(r) {
		return false
	}
	q.visible.Mask(r)
	return q.set.Match(r) && q.expr(r)
}

// matches is match of a record that stays as it is.
func (q *request) matches(r *flow.Record) bool {
	if q.visible == nil {
		return q.match(r)
	}
	if !q.visible.Sees(r) {
		return false
	}
	c := *r
	return q.match(&c)
}

// parseQuery reads query=CONDITION, where=TERM (repeated), last=N, since=DURATION or RFC 3339, and
// follow=BOOL.
func parseQuery(v url.Values, now time.Time) (q request, err error) {
	if len(v["where"]) > 256 {
		return q, fmt.Errorf("where: %d terms are too many: give at most 256", len(v["where"]))
	}
	var terms []selector.Term
	for _, w := range v["where"] {
		t, err := selector.ParseTerm(w)
		if err != nil {
			return q, fmt.Errorf("where: %w", err)
		}
		terms = append(terms, t)
	}
	if q.set, err = selector.New(terms); err != nil {
		return q, fmt.Errorf("where: %w", err)
	}
	expr, err := query.ParseExpr(v.Get("query"))
	if err != nil {
		return q, fmt.Errorf("query: %w", err)
	}
	if q.expr, err = query.Predicate(expr); err != nil {
		return q, fmt.Errorf("query: %w", err)
	}
	if s := v.Get("last"); s != "" {
		if q.last, err = strconv.Atoi(s); err != nil || q.last < 0 {
			return q, fmt.Errorf("last: %q is no number of connections: give 0 or more", s)
		}
	}
	if s := v.Get("since"); s != "" {
		at, err := ParseTime(s, now)
		if err != nil {
			return q, fmt.Errorf("since: %w", err)
		}
		q.sinceMs = at.UnixMilli()
	}
	if s := v.Get("follow"); s != "" {
		if q.follow, err = strconv.ParseBool(s); err != nil {
			return q, fmt.Errorf("follow: %q is neither true nor false", s)
		}
	}
	return q, nil
}

// ParseTime reads a time as RFC 3339, or as a duration before now.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(strings.TrimPrefix(s, "-")); err == nil {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, fmt.Errorf("%q is no time: write 5m, 2h or 2006-01-02T15:04:05Z", s)
	}
	return at, nil
}

// stream writes lines or events to one client.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	buf  bytes.Buffer
	line []byte
	sse  bool
	sent uint64
}

func (st *stream) put(line []byte) {
	if st.sse {
		st.buf.WriteString("data: ")
	}
	st.buf.Write(line)
	st.buf.WriteByte('\n')
	if st.sse {
		st.buf.WriteByte('\n')
	}
}

func (st *stream) record(r *flow.Record) {
	st.line = flow.AppendJSON(st.line[:0], r)
	st.put(st.line)
	st.sent++
}

func (st *stream) note(n NoteBody) {
	b, err := json.Marshal(Note{n})
	if err == nil { // a NoteBody has nothing that cannot be encoded
		st.put(b)
	}
}

func (st *stream) flush() error {
	_ = st.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := st.w.Write(st.buf.Bytes()); err != nil {
		return err
	}
	st.buf.Reset()
	return st.rc.Flush()
}

func (s *Server) flows(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query(), time.Now())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	c := callerOf(r)
	q.visible = c.Visible()
	sse := strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	if sse {
		w.Header().Set("Content-Type", "text/event-stream")
	} else {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	if r.Method == http.MethodHead {
		return // there is nothing to wait for
	}
	u := s.usage.of(c.Name, s.Caller, time.Now())
	if u == nil || !take(&u.streams, s.Caller.Streams) {
		s.Stats.StreamsRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d streams of %s are open already: close one or raise api.callerStreams", s.Caller.Streams, c.Name))
		return
	}
	defer u.streams.Add(-1)
	if !take(&s.clients, s.MaxClients) {
		s.Stats.StreamsRefused.Add(1)
		fail(w, http.StatusTooManyRequests, fmt.Sprintf("%d streams are open already: close one or raise api.maxClients", s.MaxClients))
		return
	}
	defer s.clients.Add(-1)
	st := &stream{w: w, rc: http.NewResponseController(w), sse: sse}
	_ = st.rc.SetReadDeadline(time.Time{})
	s.pump(r, st, q)
	s.Stats.Sent.Add(st.sent)
}

// pump sends the backlog, then what comes, until the client or the server goes.
func (s *Server) pump(r *http.Request, st *stream, q request) {
	ctx := r.Context()
	at, seen := s.Hub.Begin(q.visible)
	var skipped uint64
	if q.last > 0 || q.sinceMs > 0 {
		nums := s.Hub.last(at, q.last, q.sinceMs, q.matches)
		var rec flow.Record
		for _, n := range nums {
			if !s.Hub.one(n, &rec) {
				skipped++
				continue
			}
			q.visible.Mask(&rec)
			st.record(&rec)
			if st.buf.Len() > 64<<10 && st.flush() != nil {
				return
			}
		}
	}
	if st.flush() != nil {
		return
	}
	if q.follow {
		buf := make([]flow.Record, batch)
		tick := time.NewTicker(keepAlive)
		defer tick.Stop()
		for ctx.Err() == nil {
			n, lost, told, next, more := s.Hub.readVisible(q.visible, at, seen, buf)
			at, seen = next, told
			if lost > 0 {
				skipped += lost
				s.Stats.Skipped.Add(lost)
				st.note(NoteBody{Skipped: lost})
			}
			for i := range n {
				if q.visible.Sees(&buf[i]) {
					seen++
				}
				if q.match(&buf[i]) {
					st.record(&buf[i])
				}
			}
			if st.buf.Len() > 0 && st.flush() != nil {
				return
			}
			if n > 0 {
				continue
			}
			select {
			case <-ctx.Done():
			case <-more:
			case <-tick.C:
				st.note(NoteBody{Alive: true})
			}
		}
	}
	st.note(NoteBody{End: true, Sent: st.sent, Skipped: skipped, Coverage: s.brief(r)})
	_ = st.flush() // the client may be gone
}
