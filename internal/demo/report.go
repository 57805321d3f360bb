package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// tally counts what arrived: one goroutine reads the file of the aggregator's jsonl
// sink as it grows and owns the numbers; after wait they are the caller's.
type tally struct {
	byServer map[string][]shape // what a record has -> the shape, or those before and after the incident
	incident atomic.Int64       // when it came, Unix milliseconds; 0: not yet
	conns    map[string]seenConn
	records  int
	unread   int // lines that are no record
	strange  int // records of no shape: the world's own chatter
	first    time.Time
	done     chan error
}

// seenConn is one connection as its latest record tells it.
type seenConn struct {
	shape   string
	outcome string
	by      string
	seenBy  flow.SeenBy
	named   string // name of an outside server and where it is from, or the answer of a DNS flow
	evals   string
	after   bool   // it began after the incident
	link    string // between the nodes of its ends
	packets int64  // both ways, and those of them that were lost on the link
	lost    int64
}

func newTally() *tally {
	t := &tally{byServer: map[string][]shape{}, conns: map[string]seenConn{}, done: make(chan error, 1)}
	for _, s := range shapes() {
		t.byServer[s.key()] = append(t.byServer[s.key()], s)
	}
	return t
}

// follow counts the records of path until ctx is done, and once more to the end of it.
func (t *tally) follow(ctx context.Context, path string) {
	go func() { t.done <- t.read(ctx, path) }()
}

func (t *tally) wait() error { return <-t.done }

func (t *tally) read(ctx context.Context, path string) error {
	var f *os.File
	for f == nil {
		var err error
		if f, err = os.Open(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if f == nil {
			if ctx.Err() != nil {
				return nil // nothing ever came; the report says so
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	var part []byte
	for {
		last := ctx.Err() != nil
		line, err := r.ReadBytes('\n')
		part = append(part, line...)
		switch {
		case err == nil:
			t.add(part)
			part = part[:0]
		case !errors.Is(err, io.EOF):
			return err
		case last:
			return nil
		default:
			pause(ctx, 50*time.Millisecond)
		}
	}
}

// add counts one line.
func (t *tally) add(line []byte) {
	var r flow.Record
	if err := flow.ParseJSON(bytes.TrimSpace(line), &r); err != nil {
		t.unread++
		return
	}
	t.records++
	if t.first.IsZero() {
		t.first = time.Now()
	}
	list := t.byServer[recordKey(&r)]
	if len(list) == 0 {
		t.strange++
		return
	}
	id := fmt.Sprintf("%s %d %s %d %d %d", r.SrcIP, r.SrcPort, r.DstIP, r.DstPort, r.Proto, r.ICMP)
	if r.Has.Has(flow.FConnID) {
		id = fmt.Sprint(r.ConnID)
	}
	c := t.conns[id]
	if c.shape == "" {
		at := t.incident.Load()
		c.after = at != 0 && r.Start >= at
		for _, s := range list {
			if len(list) == 1 || (s.phase == after) == c.after {
				c.shape = s.name
			}
		}
	}
	if r.Has.Has(flow.FOutcome) && (r.Outcome != flow.OutcomeUnknown || c.outcome == "") {
		c.outcome = r.Text(flow.FOutcome)
	}
	if r.Has.Has(flow.FResetBy) {
		c.by = r.Text(flow.FResetBy)
	}
	if r.Has.Has(flow.FPolicyEval) {
		c.evals = r.Text(flow.FPolicyEval)
	}
	if r.Has.Has(flow.FLossPackets) && r.Has.Has(flow.FLossRevPackets) {
		c.link, c.packets, c.lost = linkOf(r.SrcNode, r.DstNode), int64(r.Packets+r.RevPackets), r.LossPackets+r.LossRevPackets
	}
	c.seenBy = max(c.seenBy, r.SeenBy)
	switch {
	case r.Has.Has(flow.FDNSRcode):
		c.named = r.DNSQuery + " " + r.Text(flow.FDNSRcode)
	case r.DstName != "":
		c.named = r.DstName + " by " + r.Text(flow.FDstNameVia)
	}
	t.conns[id] = c
}

// recordKey is shape.key of the shape that a record is of.
func recordKey(r *flow.Record) string {
	s := shape{kind: tcpShort, family: 4, server: r.DstPort}
	if !r.SrcIP.Unmap().Is4() {
		s.family = 6
	}
	switch r.Proto {
	case 17:
		s.kind = udpEcho
	case 1, 58:
		s.kind, s.server = icmpEcho, 0
	}
	return s.key()
}

// shapeSum is one line of the report.
type shapeSum struct {
	shape    shape
	made     int
	seen     int
	both     int // seen by both nodes
	outcomes map[string]int
	by       map[string]int
	named    map[string]int
	evals    map[string]int
	lossy    bool // the incident made its link lose packets, and nobody repeats its packets
}

// sums gives the lines in the order of the shapes.
func (t *tally) sums(made map[string]int) []shapeSum {
	index := map[string]*shapeSum{}
	list := make([]shapeSum, 0, len(shapes()))
	incident := t.incident.Load() != 0
	for _, s := range shapesOf(incident) {
		list = append(list, shapeSum{
			shape: s, made: made[s.name], outcomes: map[string]int{}, by: map[string]int{}, named: map[string]int{}, evals: map[string]int{},
			lossy: incident && s.kind.proto() != "tcp",
		})
	}
	for i := range list {
		index[list[i].shape.name] = &list[i]
	}
	for _, c := range t.conns {
		s := index[c.shape]
		if s == nil {
			continue // of the incident, that did not come: nobody makes it
		}
		s.seen++
		s.outcomes[cmpOr(c.outcome, "unknown")]++
		if c.by != "" {
			s.by[c.by]++
		}
		if c.named != "" {
			s.named[c.named]++
		}
		if c.evals != "" && s.shape.evals != "" {
			s.evals[c.evals]++
		}
		if c.seenBy == flow.SeenByBoth {
			s.both++
		}
	}
	return list
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// fault says what is wrong with a line, or nothing.
func (s *shapeSum) fault() string {
	switch {
	case s.made == 0:
		return "no such connection was made"
	case s.seen == 0:
		return "none arrived"
	case s.seen < s.made:
		return fmt.Sprintf("%d did not arrive", s.made-s.seen)
	case s.shape.evals != "" && s.evals[s.shape.evals] == 0:
		return "none is evaluated as " + s.shape.evals
	case s.shape.named != "" && s.named[s.shape.named] == 0:
		return "none is " + s.shape.named
	}
	wrong := 0
	for o, n := range s.outcomes {
		if !slices.Contains(s.shape.want, o) {
			wrong += n
		}
	}
	may := s.seen / 20 // a machine out of breath may break off a few
	if s.lossy {
		may = s.seen / 5 // and a datagram may be among the 3 % that are lost, or its answer
	}
	if wrong > may {
		return "want outcome " + strings.Join(s.shape.want, " or ")
	}
	if by := s.shape.by; by != "" && (s.by[by] == 0 || len(s.by) > 1) {
		return "want it refused by " + by
	}
	return ""
}

// words prints outcomes, the most frequent first.
func words(m map[string]int) string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Slice(names, func(i, j int) bool {
		return m[names[i]] > m[names[j]] || m[names[i]] == m[names[j]] && names[i] < names[j]
	})
	for i, k := range names {
		names[i] = fmt.Sprintf("%s %d", k, m[k])
	}
	return strings.Join(names, ", ")
}

// printReport prints the table and gives the number of faulty lines.
func (t *tally) printReport(out io.Writer, made map[string]int) int {
	faults := 0
	fmt.Fprintf(out, "\n%-22s %6s %6s %6s  %s\n", "shape", "made", "seen", "both", "outcomes")
	for _, s := range t.sums(made) {
		note := words(s.outcomes)
		if len(s.by) > 0 {
			note += "; by " + words(s.by)
		}
		if len(s.named) > 0 {
			note += "; " + words(s.named)
		}
		if len(s.evals) > 0 {
			note += "; policy.eval " + words(s.evals)
		}
		if f := s.fault(); f != "" {
			faults++
			note += "  <-- " + f
		}
		fmt.Fprintf(out, "%-22s %6d %6d %6d  %s\n", s.shape.name, s.made, s.seen, s.both, note)
	}
	fmt.Fprintf(out, "%d connections in %d records; %d records of the world's own chatter\n", len(t.conns), t.records, t.strange)
	if t.unread != 0 {
		faults++
		fmt.Fprintf(out, "%d lines were no flow record  <-- the sink wrote what its own reader refuses\n", t.unread)
	}
	return faults
}
