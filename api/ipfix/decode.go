package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/weirnet/weir/api/flow"
)

// Errors of Decode and NextMessage. A session may go on after a malformed message
// over UDP; over a stream the framing is lost only with ErrFraming.
var (
	ErrMalformed = errors.New("ipfix: malformed message")
	ErrFraming   = errors.New("ipfix: not an IPFIX message header")
)

// NextMessage takes the first whole message off a stream's buffer. It gives nil
// and the buffer back when more bytes are needed, and ErrFraming when what stands
// there cannot be a message: the connection is then of no more use.
func NextMessage(buf []byte) (msg, rest []byte, err error) {
	if len(buf) >= 2 && binary.BigEndian.Uint16(buf) != version {
		return nil, buf, fmt.Errorf("%w: version %d, want 10", ErrFraming, binary.BigEndian.Uint16(buf))
	}
	if len(buf) < 4 {
		return nil, buf, nil
	}
	n := int(binary.BigEndian.Uint16(buf[2:]))
	if n < headerLen {
		return nil, buf, fmt.Errorf("%w: length %d is under the header's 16", ErrFraming, n)
	}
	if len(buf) < n {
		return nil, buf, nil
	}
	return buf[:n], buf[n:], nil
}

// Handler takes what a session decodes. The pointers are valid during the call.
type Handler interface {
	Record(r *flow.Record)
	Ledger(row *LedgerRow)
}

// Placer is a Handler that says where the next record is to be decoded, so that it
// need not be copied. Place gives a record that is zero but for fields, which are
// written all; Record follows with the same pointer, unless the record was cut.
type Placer interface {
	Handler
	Place(fields *flow.Mask) *flow.Record
}

// Stats counts what a session has met. All are totals since the session began.
type Stats struct {
	Messages, Records, OptionsRecords    uint64
	Templates, Withdrawn, Expired        uint64
	TemplatesRefused                     uint64 // over a bound, or unusable
	SequenceLost, SequenceReset          uint64 // records that the sequence numbers miss; jumps that are no plausible loss
	SequenceLate                         uint64 // messages that came after a later one (UDP): taken off SequenceLost again
	SetsHeld, SetsLost, BytesLost        uint64 // data before its template: held now in all, lost sets and bytes
	BadHeader, BadSet, BadTemplate       uint64 // malformed, by what was wrong
	BadRecord, BadPadding, DomainsDenied uint64
}

// Malformed adds up the reasons.
func (s *Stats) Malformed() uint64 {
	return s.BadHeader + s.BadSet + s.BadTemplate + s.BadRecord + s.BadPadding + s.DomainsDenied
}

// SessionOptions bound a Session. The zero value gives the defaults.
type SessionOptions struct {
	MaxDomains   int   // 64
	MaxTemplates int   // per domain, 1024
	MaxElements  int   // of all templates of the session, 64 Ki
	MaxHeldBytes int   // data before its template, per session, 256 KiB
	TemplateTTL  int64 // ms without a refresh after which a template is forgotten; 0 never (TCP, TLS)
}

// Session decodes one transport session. It is owned by one goroutine.
type Session struct {
	Stats   Stats
	opts    SessionOptions
	domains map[uint32]*domain
	lastDom *domain
	in      interner
	rec     flow.Record
	recFor  *Template // the template that filled rec last
	row     LedgerRow
	fact    FactRow
	held    int
	elems   int    // of all templates
	late    uint64 // records decoded now whose numbers belong to earlier messages
	domain  uint32
	time    uint32
}

type domain struct {
	id        uint32
	templates map[uint16]*held
	last      *held
	lastID    uint16
	next      uint32
	started   bool
	lateRun   int // messages in a row that came late
	waiting   []waitingSet
}

type held struct {
	t      *Template
	seenMs int64
}

type waitingSet struct {
	id   uint16
	body []byte
}

// NewSession makes a decoder.
func NewSession(o SessionOptions) *Session {
	if o.MaxDomains <= 0 {
		o.MaxDomains = 64
	}
	if o.MaxTemplates <= 0 {
		o.MaxTemplates = 1024
	}
	if o.MaxElements <= 0 {
		o.MaxElements = 64 << 10
	}
	if o.MaxHeldBytes <= 0 {
		o.MaxHeldBytes = 256 << 10
	}
	return &Session{opts: o, domains: map[uint32]*domain{}, in: newInterner()}
}

// Domain and ExportTime (seconds since the Unix epoch) tell of the message that is
// being decoded or was decoded last.
func (s *Session) Domain() uint32 { return s.domain }

// ExportTime is the export time of the message decoded last, in seconds.
func (s *Session) ExportTime() uint32 { return s.time }

// Close counts what still waits for its template as lost.
func (s *Session) Close() {
	for _, d := range s.domains {
		s.dropWaiting(d)
	}
}

func (s *Session) dropWaiting(d *domain) {
	for _, w := range d.waiting {
		s.Stats.SetsLost++
		s.Stats.BytesLost += uint64(len(w.body))
		s.held -= len(w.body) + heldOverhead
	}
	d.waiting = nil
}

// Decode reads one message. What was readable before an error has been handed on.
// nowMs serves template life times only.
func (s *Session) Decode(nowMs int64, msg []byte, h Handler) error {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg) != version || int(binary.BigEndian.Uint16(msg[2:])) != len(msg) {
		s.Stats.BadHeader++
		return fmt.Errorf("%w: header", ErrMalformed)
	}
	s.time = binary.BigEndian.Uint32(msg[4:])
	seq := binary.BigEndian.Uint32(msg[8:])
	s.domain = binary.BigEndian.Uint32(msg[12:])
	d := s.lastDom
	if d == nil || d.id != s.domain {
		if d = s.domainOf(s.domain); d == nil {
			s.Stats.DomainsDenied++
			return fmt.Errorf("%w: more than %d observation domains in one session", ErrMalformed, s.opts.MaxDomains)
		}
		s.lastDom = d
	}
	s.Stats.Messages++
	known := d.started
	d.started = true
	s.late = 0
	before := s.Stats.Records + s.Stats.OptionsRecords
	err := s.sets(nowMs, d, msg[headerLen:], h)
	n := uint32(s.Stats.Records + s.Stats.OptionsRecords - before - s.late)
	if known {
		s.sequence(d, seq, n)
	} else {
		d.next = seq + n
	}
	if err != nil {
		// how many records the rest held is unknown: do not call the next message a gap
		d.started = false
	}
	return err
}

func (s *Session) domainOf(id uint32) *domain {
	d := s.domains[id]
	if d == nil && len(s.domains) < s.opts.MaxDomains {
		d = &domain{id: id, templates: map[uint16]*held{}}
		s.domains[id] = d
	}
	return d
}

const (
	maxGap     = 1 << 24 // a larger jump ahead is no loss but another count
	maxLate    = 1 << 16 // records; farther behind is another count
	maxLateRun = 16      // messages; an exporter that started over is behind for good
)

// sequence compares the number of a message with n records with what was expected
// (RFC 7011 section 3.1: it counts data records, options among them).
func (s *Session) sequence(d *domain, seq, n uint32) {
	gap := seq - d.next
	if gap != 0 && -gap < maxLate && seq != 0 && d.lateRun < maxLateRun {
		d.lateRun++
		s.Stats.SequenceLate++
		s.Stats.SequenceLost -= min(uint64(n), s.Stats.SequenceLost)
		return
	}
	switch {
	case gap == 0:
	case gap < maxGap:
		s.Stats.SequenceLost += uint64(gap)
	default:
		s.Stats.SequenceReset++
	}
	d.lateRun = 0
	d.next = seq + n
}

func (s *Session) sets(nowMs int64, d *domain, b []byte, h Handler) error {
	for len(b) > 0 {
		if len(b) < setHeaderLen {
			s.Stats.BadSet++
			return fmt.Errorf("%w: %d bytes after the last set", ErrMalformed, len(b))
		}
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n < setHeaderLen || n > len(b) {
			s.Stats.BadSet++
			return fmt.Errorf("%w: set %d says %d bytes, %d are left", ErrMalformed, id, n, len(b))
		}
		body := b[setHeaderLen:n]
		b = b[n:]
		var err error
		switch {
		case id == setTemplate || id == setOptions:
			err = s.templateSet(nowMs, d, body, id == setOptions, h)
		case id >= minTemplateID:
			err = s.dataSet(nowMs, d, id, body, h)
		default:
			s.Stats.BadSet++
			err = fmt.Errorf("%w: set id %d", ErrMalformed, id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) templateSet(nowMs int64, d *domain, b []byte, options bool, h Handler) error {
	for len(b) >= 4 {
		id, count := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		if id == 0 && count == 0 { // padding
			break
		}
		if count == 0 {
			s.withdraw(d, id, options)
			continue
		}
		scopes := 0
		if options {
			if len(b) < 2 {
				s.Stats.BadTemplate++
				return fmt.Errorf("%w: options template %d is cut", ErrMalformed, id)
			}
			scopes = int(binary.BigEndian.Uint16(b))
			b = b[2:]
			if scopes == 0 || scopes > count {
				s.Stats.BadTemplate++
				return fmt.Errorf("%w: options template %d has %d scope fields of %d", ErrMalformed, id, scopes, count)
			}
		}
		elems, rest, err := parseElems(b, id, count)
		if err != nil {
			s.Stats.BadTemplate++
			return err
		}
		b = rest
		s.learn(nowMs, d, id, elems, scopes)
		s.replay(nowMs, d, id, h)
	}
	return nil
}

func parseElems(b []byte, id uint16, count int) ([]flow.Element, []byte, error) {
	if count > maxTemplateFields || count*4 > len(b) {
		return nil, nil, fmt.Errorf("%w: template %d says %d elements in %d bytes", ErrMalformed, id, count, len(b))
	}
	elems := make([]flow.Element, 0, count)
	for range count {
		if len(b) < 4 {
			return nil, nil, fmt.Errorf("%w: template %d is cut", ErrMalformed, id)
		}
		e := flow.Element{ID: binary.BigEndian.Uint16(b), Len: binary.BigEndian.Uint16(b[2:])}
		b = b[4:]
		if e.ID&0x8000 != 0 {
			if len(b) < 4 {
				return nil, nil, fmt.Errorf("%w: template %d is cut", ErrMalformed, id)
			}
			e.ID &^= 0x8000
			e.PEN = binary.BigEndian.Uint32(b)
			b = b[4:]
		}
		if known, ok := Lookup(e.PEN, e.ID); ok {
			e.Name, e.Enc = known.Name, known.Enc
		}
		elems = append(elems, e)
	}
	return elems, b, nil
}

func (s *Session) withdraw(d *domain, id uint16, options bool) {
	d.last = nil
	s.recFor = nil
	if id == setTemplate || id == setOptions { // all of the kind (RFC 7011 section 8.1)
		for tid, t := range d.templates {
			if (t.t.scopes > 0) == options {
				s.forget(d, tid, t)
				s.Stats.Withdrawn++
			}
		}
		return
	}
	if t, ok := d.templates[id]; ok {
		s.forget(d, id, t)
		s.Stats.Withdrawn++
	}
}

func (s *Session) forget(d *domain, id uint16, t *held) {
	delete(d.templates, id)
	d.last = nil
	s.elems -= len(t.t.Elems)
}

// learn keeps a template. A refresh of the same definition keeps the plan.
func (s *Session) learn(nowMs int64, d *domain, id uint16, elems []flow.Element, scopes int) {
	old := d.templates[id]
	if old != nil && old.t.scopes == scopes && sameElems(old.t.Elems, elems) {
		old.seenMs = nowMs
		return
	}
	t, err := newTemplate(id, elems, scopes)
	if old != nil { // what it meant before, it means no more
		s.forget(d, id, old)
	}
	if err != nil || len(d.templates) >= s.opts.MaxTemplates || s.elems+len(elems) > s.opts.MaxElements {
		s.Stats.TemplatesRefused++
		return
	}
	s.elems += len(elems)
	s.Stats.Templates++
	d.templates[id] = &held{t, nowMs}
	d.last = nil
}

func sameElems(a, b []flow.Element) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].PEN != b[i].PEN || a[i].ID != b[i].ID || a[i].Len != b[i].Len {
			return false
		}
	}
	return true
}

func (s *Session) template(nowMs int64, d *domain, id uint16) *held {
	t := d.last
	if t == nil || d.lastID != id {
		if t = d.templates[id]; t == nil {
			return nil
		}
		d.last, d.lastID = t, id
	}
	if s.opts.TemplateTTL > 0 && nowMs-t.seenMs > s.opts.TemplateTTL {
		s.forget(d, id, t)
		s.Stats.Expired++
		return nil
	}
	return t
}

func (s *Session) dataSet(nowMs int64, d *domain, id uint16, body []byte, h Handler) error {
	t := s.template(nowMs, d, id)
	if t == nil {
		s.hold(d, id, body)
		return nil
	}
	if t.t.scopes > 0 {
		return s.optionsRecords(t.t, body, h)
	}
	return s.dataRecords(t.t, body, h)
}

// heldOverhead is what a held set costs beside its bytes.
const heldOverhead = 64

// hold keeps data whose template has not come yet, within the bound.
func (s *Session) hold(d *domain, id uint16, body []byte) {
	d.started = false // how many records these are is unknown until the template comes
	if s.held+len(body)+heldOverhead > s.opts.MaxHeldBytes {
		s.Stats.SetsLost++
		s.Stats.BytesLost += uint64(len(body))
		return
	}
	s.held += len(body) + heldOverhead
	s.Stats.SetsHeld++
	d.waiting = append(d.waiting, waitingSet{id, append([]byte(nil), body...)})
}

func (s *Session) replay(nowMs int64, d *domain, id uint16, h Handler) {
	if len(d.waiting) == 0 || d.templates[id] == nil {
		return
	}
	keep := d.waiting[:0]
	for _, w := range d.waiting {
		if w.id != id {
			keep = append(keep, w)
			continue
		}
		s.held -= len(w.body) + heldOverhead
		before := s.Stats.Records + s.Stats.OptionsRecords
		if err := s.dataSet(nowMs, d, id, w.body, h); err != nil {
			s.Stats.SetsLost++
		}
		s.late += s.Stats.Records + s.Stats.OptionsRecords - before
	}
	d.waiting = keep
}

func (s *Session) dataRecords(t *Template, b []byte, h Handler) error {
	p, places := h.(Placer)
	r := &s.rec
	if !places && s.recFor != t {
		s.rec = flow.Record{}
		s.recFor = t
	}
	for len(b) >= t.minLen {
		if places {
			r = p.Place(&t.mask)
		}
		rest, ok := s.in.record(r, t, b)
		if !ok {
			s.Stats.BadRecord++
			s.recFor = nil
			return fmt.Errorf("%w: a record of template %d is cut", ErrMalformed, t.ID)
		}
		b = rest
		s.Stats.Records++
		h.Record(r)
	}
	return s.padding(t, b)
}

// padding checks what is left after the last record: zeros, shorter than a record.
func (s *Session) padding(t *Template, b []byte) error {
	for _, c := range b {
		if c != 0 {
			s.Stats.BadPadding++
			return fmt.Errorf("%w: %d bytes after the last record of template %d", ErrMalformed, len(b), t.ID)
		}
	}
	return nil
}
