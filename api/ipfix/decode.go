package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

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

// Stats counts what a session has met. All are totals since the session began.
type Stats struct {
	Messages, Records, OptionsRecords    uint64
	Templates, Withdrawn, Expired        uint64
	TemplatesRefused                     uint64 // over a bound, or unusable
	SequenceLost, SequenceReset          uint64 // records that the sequence numbers miss; jumps that are no plausible loss
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
	held    int
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
		s.held -= len(w.body)
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
	s.sequence(d, seq)
	before := s.Stats.Records + s.Stats.OptionsRecords
	err := s.sets(nowMs, d, msg[headerLen:], h)
	d.next = seq + uint32(s.Stats.Records+s.Stats.OptionsRecords-before)
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

// sequence compares the message's number with what was expected (RFC 7011 section
// 3.1: it counts data records, options among them).
func (s *Session) sequence(d *domain, seq uint32) {
	if d.started {
		switch gap := seq - d.next; {
		case gap == 0:
		case gap < 1<<24:
			s.Stats.SequenceLost += uint64(gap)
		default:
			s.Stats.SequenceReset++
		}
	}
	d.started = true
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
				delete(d.templates, tid)
				s.Stats.Withdrawn++
			}
		}
		return
	}
	if _, ok := d.templates[id]; ok {
		delete(d.templates, id)
		s.Stats.Withdrawn++
	}
}

// learn keeps a template. A refresh of the same definition keeps the plan.
func (s *Session) learn(nowMs int64, d *domain, id uint16, elems []flow.Element, scopes int) {
	if old := d.templates[id]; old != nil && old.t.scopes == scopes && sameElems(old.t.Elems, elems) {
		old.seenMs = nowMs
		return
	}
	t, err := newTemplate(id, elems, scopes)
	if err != nil || (d.templates[id] == nil && len(d.templates) >= s.opts.MaxTemplates) {
		s.Stats.TemplatesRefused++
		return
	}
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
		delete(d.templates, id)
		d.last = nil
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

// hold keeps data whose template has not come yet, within the bound.
func (s *Session) hold(d *domain, id uint16, body []byte) {
	if s.held+len(body) > s.opts.MaxHeldBytes {
		s.Stats.SetsLost++
		s.Stats.BytesLost += uint64(len(body))
		return
	}
	s.held += len(body)
	s.Stats.SetsHeld++
	d.waiting = append(d.waiting, waitingSet{id, append([]byte(nil), body...)})
	d.started = false // their number is unknown until the template comes
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
		s.held -= len(w.body)
		before := s.Stats.Records + s.Stats.OptionsRecords
		if err := s.dataSet(nowMs, d, id, w.body, h); err != nil {
			s.Stats.SetsLost++
		}
		// they were numbered in an earlier message
		d.next -= uint32(s.Stats.Records + s.Stats.OptionsRecords - before)
		d.started = false
	}
	d.waiting = keep
}

func (s *Session) dataRecords(t *Template, b []byte, h Handler) error {
	if s.recFor != t {
		s.rec = flow.Record{}
		s.recFor = t
	}
	for len(b) >= t.minLen {
		rest, ok := s.decodeRecord(t, b)
		if !ok {
			s.Stats.BadRecord++
			s.recFor = nil
			return fmt.Errorf("%w: a record of template %d is cut", ErrMalformed, t.ID)
		}
		b = rest
		s.Stats.Records++
		h.Record(&s.rec)
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

// varLen reads the length of a variable-length value (RFC 7011 section 7).
func varLen(b []byte) (n int, rest []byte, ok bool) {
	if len(b) < 1 {
		return 0, nil, false
	}
	if b[0] < 255 {
		return int(b[0]), b[1:], int(b[0]) <= len(b)-1
	}
	if len(b) < 3 {
		return 0, nil, false
	}
	n = int(b[1])<<8 | int(b[2])
	return n, b[3:], n <= len(b)-3
}

func (s *Session) decodeRecord(t *Template, b []byte) ([]byte, bool) {
	r := &s.rec
	has := t.mask
	var present *[24]byte
	for i := range t.steps {
		st := &t.steps[i]
		n := int(st.size)
		if st.size == VarLen {
			var ok bool
			if n, b, ok = varLen(b); !ok {
				return nil, false
			}
		} else if n > len(b) {
			return nil, false
		}
		v := b[:n]
		b = b[n:]
		switch st.kind {
		case stepU64:
			writeUint(r, st, binary.BigEndian.Uint64(v))
		case stepString, stepStringFixed:
			if st.kind == stepStringFixed {
				v = trimZeros(v)
			}
			if len(v) == 0 {
				*at[string](r, st.off) = ""
				has.Clear(st.field)
			} else {
				*at[string](r, st.off) = s.in.get(v)
			}
		case stepU8:
			writeUint(r, st, uint64(v[0]))
		case stepU16:
			writeUint(r, st, uint64(binary.BigEndian.Uint16(v)))
		case stepU32:
			writeUint(r, st, uint64(binary.BigEndian.Uint32(v)))
		case stepIPv4:
			decodeAddr(r, st, v, &has)
		case stepIPv6:
			decodeAddr(r, st, v, &has)
		case stepSeconds:
			if !st.weak {
				*at[int64](r, st.off) = int64(binary.BigEndian.Uint32(v)) * 1000
			}
		case stepMillis:
			*at[int64](r, st.off) = int64(binary.BigEndian.Uint64(v))
		case stepOctets:
			u := at[flow.UUID](r, st.off)
			copy(u[:], v)
			if *u == (flow.UUID{}) {
				has.Clear(st.field)
			}
		case stepBool:
			*at[bool](r, st.off) = v[0] == 1
		case stepUint:
			writeUint(r, st, beUint(v))
		case stepInt:
			shift := 64 - 8*uint(len(v))
			writeUint(r, st, uint64(int64(beUint(v)<<shift)>>shift))
		case stepPresence:
			present = (*[24]byte)(v)
		}
	}
	if present != nil {
		for i := range has {
			has[i] &= binary.BigEndian.Uint64(present[i*8:])
		}
	}
	r.Has = has
	return b, true
}

func trimZeros(v []byte) []byte {
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return v
}

func beUint(v []byte) uint64 {
	var x uint64
	for _, c := range v {
		x = x<<8 | uint64(c)
	}
	return x
}

// decodeAddr reads an address; all zeros say nothing, which lets a template carry
// both families.
func decodeAddr(r *flow.Record, st *step, v []byte, has *flow.Mask) {
	a := at[netip.Addr](r, st.off)
	var zero bool
	var addr netip.Addr
	if len(v) == 4 {
		x := [4]byte(v)
		zero, addr = x == [4]byte{}, netip.AddrFrom4(x)
	} else {
		x := [16]byte(v)
		zero, addr = x == [16]byte{}, netip.AddrFrom16(x)
	}
	switch {
	case !zero:
		*a = addr
		has.Set(st.field)
	case !st.weak:
		*a = netip.Addr{}
		has.Clear(st.field)
	}
}

// writeUint stores any integer, truncated to the field.
func writeUint(r *flow.Record, st *step, v uint64) {
	switch st.typ {
	case flow.TypeU64:
		*at[uint64](r, st.off) = v
	case flow.TypeU8:
		*at[uint8](r, st.off) = uint8(v)
	case flow.TypeU16:
		*at[uint16](r, st.off) = uint16(v)
	case flow.TypeU32:
		*at[uint32](r, st.off) = uint32(v)
	case flow.TypeI32:
		*at[int32](r, st.off) = int32(v)
	case flow.TypeI64:
		*at[int64](r, st.off) = int64(v)
	}
}
