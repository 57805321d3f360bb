package elastic

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic/mapping"
	"github.com/weirnet/weir/sinks/spool"
)

// minutes is a sink of sums by minute. It is a sinks.Keeper: records are added up in
// memory and stay in the spool until their sums are written.
//
// Before sums are written, the file in Config.Dir notes of which positions of the spool
// they are. A process that finds a note which is not done adds up exactly those records
// again, and so gets the same documents under the same ids, whichever are there already.
type minutes struct {
	*Sink
	by    []string // of what is in memory
	form  *flow.JSONForm
	spool string
	note  note

	groups   map[string]*group
	keys     []*group
	from, to uint64 // positions of the records in groups
	stored   uint64
	since    time.Time // when the first of them came
	scratch  []byte

	lostBefore ledger.Amount // of the batch whose try failed
}

var _ sinks.Keeper = (*minutes)(nil)

// note is what the file holds.
type note struct {
	Spool string   `json:"spool"`
	From  uint64   `json:"from"`
	To    uint64   `json:"to"`
	By    []string `json:"by"`
	Done  bool     `json:"done"`
}

// sumFields are the fields that add up, in the order of group.sums.
var sumFields = [...]flow.FieldID{flow.FBytesDelta, flow.FPacketsDelta, flow.FRevBytesDelta, flow.FRevPacketsDelta}

// maxDelta is more than a record can have moved; a sum of more would not fit a long.
const maxDelta = 1 << 48

type group struct {
	minute             int64 // its start, in milliseconds since the Unix epoch
	key                string
	flows, connections uint64
	sums               [len(sumFields)]uint64
	has                [len(sumFields)]bool
}

func groupFields(names []string) ([]flow.FieldID, error) {
	ids := make([]flow.FieldID, 0, len(names))
	for i, n := range names {
		id, ok := flow.FieldByName(n)
		switch {
		case !ok:
			return nil, fmt.Errorf("minutes.by[%d]: there is no field %q", i, n)
		case mapping.Name(id) == "" || id == flow.FEnd || slices.Contains(sumFields[:], id):
			return nil, fmt.Errorf("minutes.by[%d]: %s does not tell sums apart: take it out", i, n)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func newMinutes(s *Sink) (sinks.Sink, error) {
	if s.cfg.Dir == "" {
		return nil, errors.New("minutes need a directory of their own")
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o750); err != nil {
		return nil, err
	}
	m := &minutes{Sink: s, groups: map[string]*group{}}
	s.strict = true
	m.addUpBy(s.cfg.Minutes.By)
	return m, nil
}

// addUpBy sets what tells sums apart; nothing may be in memory.
func (m *minutes) addUpBy(names []string) {
	want := map[flow.FieldID]bool{}
	ids, err := groupFields(names)
	if err != nil {
		panic(err) // Validate saw them, or an earlier process did
	}
	for _, id := range ids {
		want[id] = true
	}
	m.by = names
	m.form = flow.NewSearchJSON(func(id flow.FieldID) string {
		if want[id] {
			return mapping.Name(id)
		}
		return ""
	})
}

func (m *minutes) path() string { return filepath.Join(m.cfg.Dir, "minutes.json") }

// Resume implements sinks.Resumer.
func (m *minutes) Resume(_ context.Context, spoolID string) (uint64, bool, error) {
	m.spool = spoolID
	b, err := os.ReadFile(m.path())
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	var n note
	if err := json.Unmarshal(b, &n); err != nil {
		return 0, false, fmt.Errorf("%s: %w: delete it, and sums of the last minute may be there twice", m.path(), err)
	}
	if n.Spool != spoolID {
		return 0, false, nil
	}
	if n.Done {
		m.stored, m.from, m.to = n.To, n.To, n.To // nothing is in memory
		return n.To, true, nil
	}
	if _, err := groupFields(n.By); err != nil {
		return 0, false, fmt.Errorf("%s: %w: run the Weir that wrote it until it has written its sums", m.path(), err)
	}
	m.note, m.stored, m.from, m.to = n, n.From, n.From, n.From
	m.addUpBy(n.By)
	return n.From, true, nil
}

// Write implements sinks.Sink. The Runner calls WriteAt.
func (m *minutes) Write(context.Context, []flow.Record) error {
	return errors.New("elastic: sums need positions: use WriteAt")
}

// WriteAt implements sinks.Resumer.
func (m *minutes) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	var lost ledger.Amount
	end := pos + uint64(len(recs))
	for at := max(pos, m.to); at < end; at++ { // what a try before took is passed over
		if m.mustStore(at) {
			if err := m.store(ctx); err != nil {
				m.lostBefore = m.lostBefore.Plus(lost)
				return err
			}
		}
		lost = lost.Plus(m.add(at, &recs[at-pos]))
	}
	lost, m.lostBefore = lost.Plus(m.lostBefore), ledger.Amount{}
	if lost.Records > 0 {
		m.m.poisoned.Add(lost.Records)
		return &sinks.Undelivered{Reason: LostPoisoned, Amount: lost}
	}
	return nil
}

// mustStore says whether what is in memory has to be written before the record at that
// position comes in.
func (m *minutes) mustStore(at uint64) bool {
	switch {
	case m.to == m.from:
		if m.again() && at >= m.note.To { // the spool has lost all records of those sums
			m.note = note{}
		}
		return false
	case m.again():
		return at >= m.note.To
	case m.batch.n > 0: // a part is written: nothing may be added to it
		return true
	}
	return len(m.groups) >= m.cfg.Minutes.MaxGroups || m.now().Sub(m.since) >= m.cfg.Minutes.Every
}

// again says whether the sums in memory are those of a killed process.
func (m *minutes) again() bool { return !m.note.Done && m.note.To > m.stored }

// add takes a record.
func (m *minutes) add(at uint64, r *flow.Record) (lost ledger.Amount) {
	if m.to == m.from {
		m.from, m.since = at, m.now()
		if m.again() {
			m.from = m.note.From
		}
	}
	m.to = at + 1
	if !placed(r) || !addable(r) {
		m.poison(r.ID, r.ConnID, "no time that can be of a flow, or counters that cannot be")
		return spool.AmountOf(r)
	}
	if r.Canary { // the probe's own connections are no traffic
		m.m.canaries.Add(1)
		return lost
	}
	minute := r.End - r.End%60_000
	m.scratch = m.form.AppendMembers(binary.BigEndian.AppendUint64(m.scratch[:0], uint64(minute)), r)
	m.scratch = appendVerdict(m.scratch, r)
	g := m.groups[string(m.scratch)]
	if g == nil {
		g = &group{minute: minute, key: string(m.scratch)}
		m.groups[g.key] = g
		m.keys = append(m.keys, g)
	}
	g.flows++
	if r.Has.Has(flow.FFirst) && r.First {
		g.connections++
	}
	for i, f := range sumFields {
		if v, ok := r.Uint(f); ok {
			g.sums[i] += v
			g.has[i] = true
		}
	}
	return lost
}

func addable(r *flow.Record) bool {
	for _, f := range sumFields {
		if v, _ := r.Uint(f); v > maxDelta {
			return false
		}
	}
	return true
}

// Tick writes what has waited long enough.
func (m *minutes) Tick(ctx context.Context, _ time.Time) error {
	if m.again() || !m.mustStore(m.to) {
		return nil
	}
	return m.store(ctx)
}

// Stored implements sinks.Keeper.
func (m *minutes) Stored() uint64 { return m.stored }

// Store implements sinks.Keeper: it writes the sums that are in memory. Those of a killed
// process wait until all their records have come.
func (m *minutes) Store(ctx context.Context) error {
	if m.to == m.from || m.again() && m.to < m.note.To {
		return nil
	}
	return m.store(ctx)
}

func (m *minutes) store(ctx context.Context) error {
	if !m.again() {
		m.note = note{Spool: m.spool, From: m.from, To: m.to, By: m.by}
		if err := m.write(&m.note); err != nil {
			m.note = note{}
			return fmt.Errorf("note the sums: %w", err)
		}
	}
	if m.batch.n == 0 && len(m.keys) > 0 {
		m.open()
	}
	if err := m.deliver(ctx, m.document); err != nil {
		return err
	}
	if err := m.end(); err != nil {
		return err
	}
	clear(m.groups)
	m.keys = m.keys[:0]
	m.to = max(m.to, m.note.To)
	m.stored, m.from = m.to, m.to
	m.note.Done = true
	if err := m.write(&m.note); err != nil { // the note before it does as well
		m.log.Warn("the sums are written and their note is not", "error", err)
	}
	if !slices.Equal(m.by, m.cfg.Minutes.By) {
		m.addUpBy(m.cfg.Minutes.By)
	}
	return nil
}

// open makes a batch of all sums.
func (m *minutes) open() {
	b := &m.batch
	*b = batch{n: len(m.keys), pending: b.pending[:0], tried: m.now(), oldest: maxEnd}
	for i, g := range m.keys {
		b.pending = append(b.pending, i)
		b.oldest = min(b.oldest, g.minute)
	}
}

// document is one sum.
func (m *minutes) document(i int) document {
	g := m.keys[i]
	h := fnv.New128a()
	var from [8]byte
	binary.BigEndian.PutUint64(from[:], m.from)
	for _, part := range [][]byte{[]byte(m.spool), from[:], []byte(g.key)} {
		_, _ = h.Write(part)
	}
	b := append(m.scratch[:0], `"`+mapping.Time+`":`...)
	b = strconv.AppendInt(b, g.minute, 10)
	if members := strings.TrimPrefix(g.key[8:], ","); members != "" {
		b = append(append(b, ','), members...)
	}
	number := func(name string, v uint64) { b = strconv.AppendUint(append(b, `,"`+name+`":`...), v, 10) }
	number(mapping.Flows, g.flows)
	number(mapping.Connections, g.connections)
	for k, f := range sumFields {
		if g.has[k] {
			number(mapping.Name(f), g.sums[k])
		}
	}
	m.scratch = b
	return document{id: flow.UUID(h.Sum(nil)), body: b}
}

// write puts the note on the disk, whole or not at all.
func (m *minutes) write(n *note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp := m.path() + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, m.path())
}
