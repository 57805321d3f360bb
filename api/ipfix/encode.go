package ipfix

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

const (
	headerLen     = 16
	setHeaderLen  = 4
	setTemplate   = 2
	setOptions    = 3
	version       = 10
	maxMessageLen = 65535
)

// EncoderOptions bound an Encoder.
type EncoderOptions struct {
	MaxMessage int    // bytes; 0 means 65535. Over UDP take the path MTU minus IP and UDP headers
	OneSet     bool   // one set a message, one template a set: all that go-ipfix, and so Antrea, reads
	Sequence   uint32 // number of data records sent before in this transport session
}

// Encoder builds the messages of one observation domain. Append until it says the
// message is full, then Take.
type Encoder struct {
	domain uint32
	seq    uint32
	max    int
	oneSet bool
	buf    []byte
	set    int // offset of the open set's header, 0 for none
	setID  uint16
	data   uint32 // data records in the pending message
}

// NewEncoder makes an encoder for an observation domain.
func NewEncoder(domain uint32, o EncoderOptions) *Encoder {
	if o.MaxMessage <= 0 || o.MaxMessage > maxMessageLen {
		o.MaxMessage = maxMessageLen
	}
	e := &Encoder{domain: domain, seq: o.Sequence, max: o.MaxMessage, oneSet: o.OneSet}
	e.buf = make([]byte, headerLen, o.MaxMessage+2048)
	return e
}

// Pending is the number of data records in the unfinished message.
func (e *Encoder) Pending() int { return int(e.data) }

// Len is the size of the unfinished message in bytes, header included.
func (e *Encoder) Len() int { return len(e.buf) }

// Empty reports whether the unfinished message holds nothing.
func (e *Encoder) Empty() bool { return len(e.buf) == headerLen }

// Sequence is the number of data records in all messages taken so far.
func (e *Encoder) Sequence() uint32 { return e.seq }

// Reset drops the unfinished message and starts a new transport session.
func (e *Encoder) Reset() {
	e.buf, e.set, e.setID, e.data, e.seq = e.buf[:headerLen], 0, 0, 0, 0
}

func (e *Encoder) open(id uint16) {
	if e.set != 0 && e.setID == id {
		return
	}
	e.closeSet()
	e.set, e.setID = len(e.buf), id
	e.buf = append(e.buf, byte(id>>8), byte(id), 0, 0)
}

func (e *Encoder) closeSet() {
	if e.set == 0 {
		return
	}
	binary.BigEndian.PutUint16(e.buf[e.set+2:], uint16(len(e.buf)-e.set))
	e.set, e.setID = 0, 0
}

// commit keeps what was appended since mark, or takes it back if the message got
// too long.
func (e *Encoder) commit(mark int, set int, id uint16) bool {
	if len(e.buf) <= e.max {
		return true
	}
	e.buf = e.buf[:mark]
	e.set, e.setID = set, id
	return false
}

// AddTemplate puts the template's definition into the message. It reports false
// when the message is full.
func (e *Encoder) AddTemplate(t *Template) bool {
	if e.oneSet && !e.Empty() {
		return false
	}
	mark, set, id := len(e.buf), e.set, e.setID
	if t.scopes > 0 {
		e.open(setOptions)
		e.buf = binary.BigEndian.AppendUint16(e.buf, t.ID)
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(len(t.Elems)))
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(t.scopes))
	} else {
		e.open(setTemplate)
		e.buf = binary.BigEndian.AppendUint16(e.buf, t.ID)
		e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(len(t.Elems)))
	}
	for _, el := range t.Elems {
		eid := el.ID
		if el.PEN != 0 {
			eid |= 0x8000
		}
		e.buf = binary.BigEndian.AppendUint16(e.buf, eid)
		e.buf = binary.BigEndian.AppendUint16(e.buf, el.Len)
		if el.PEN != 0 {
			e.buf = binary.BigEndian.AppendUint32(e.buf, el.PEN)
		}
	}
	return e.commit(mark, set, id)
}

// Withdraw withdraws templates (RFC 7011 section 8.1); not over UDP.
func (e *Encoder) Withdraw(ids ...uint16) bool {
	if e.oneSet && !e.Empty() {
		return false
	}
	mark, set, id := len(e.buf), e.set, e.setID
	e.closeSet() // a withdrawal has a set of its own
	e.open(setTemplate)
	for _, t := range ids {
		e.buf = binary.BigEndian.AppendUint16(e.buf, t)
		e.buf = binary.BigEndian.AppendUint16(e.buf, 0)
	}
	ok := e.commit(mark, set, id)
	e.closeSet()
	return ok
}

// Append encodes a record by the template. It reports false when the message is
// full: Take it and append again. A record that does not fit an empty message is
// an error of the caller's limits and reported by Fits.
func (e *Encoder) Append(t *Template, r *flow.Record) bool {
	if e.oneSet && !e.Empty() && e.setID != t.ID {
		return false
	}
	mark, set, id := len(e.buf), e.set, e.setID
	e.open(t.ID)
	e.buf = appendRecord(e.buf, t, r)
	if !e.commit(mark, set, id) {
		return false
	}
	e.data++
	return true
}

// AppendRecord appends the bytes of one record by the template, without a set
// around them; AppendBody puts such bytes into a message later.
func AppendRecord(b []byte, t *Template, r *flow.Record) []byte { return appendRecord(b, t, r) }

// AppendBody is Append for a record that AppendRecord encoded by the same template.
func (e *Encoder) AppendBody(t *Template, body []byte) bool {
	mark, set, id := len(e.buf), e.set, e.setID
	e.open(t.ID)
	e.buf = append(e.buf, body...)
	if !e.commit(mark, set, id) {
		return false
	}
	e.data++
	return true
}

// Take completes the message and starts the next. exportTime is in seconds since
// the Unix epoch. The bytes are valid until the next call of the encoder. It gives
// nil when there is nothing to send.
func (e *Encoder) Take(exportTime uint32) []byte {
	if e.Empty() {
		return nil
	}
	e.closeSet()
	b := e.buf
	binary.BigEndian.PutUint16(b[0:], version)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[4:], exportTime)
	binary.BigEndian.PutUint32(b[8:], e.seq)
	binary.BigEndian.PutUint32(b[12:], e.domain)
	e.seq += e.data
	e.data = 0
	e.buf = e.buf[:headerLen]
	return b
}

func at[T any](r *flow.Record, off uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(r), off))
}

// appendRecord writes a record by the template's plan.
func appendRecord(b []byte, t *Template, r *flow.Record) []byte {
	for i := range t.segs {
		g := &t.segs[i]
		n := g.size
		for j := range g.vars {
			if g.vars[j].kind == stepString {
				n += len(*at[string](r, g.vars[j].off))
			}
			n += 3
		}
		at0 := len(b)
		b = slices.Grow(b, n)[:at0+n]
		if g.size > 0 {
			if g.gaps {
				clear(b[at0 : at0+g.size])
			}
			encodeFixed(r, g.fixed, unsafe.Pointer(&b[at0]))
		}
		o := at0 + g.size
		for j := range g.vars {
			if g.vars[j].kind == stepSkipVar {
				b[o] = 0
				o++
				continue
			}
			v := *at[string](r, g.vars[j].off)
			if len(v) < 255 {
				b[o] = byte(len(v))
				o++
			} else {
				v = v[:min(len(v), maxVar)]
				b[o], b[o+1], b[o+2] = 255, byte(len(v)>>8), byte(len(v))
				o += 3
			}
			o += copy(b[o:], v)
		}
		b = b[:o]
	}
	return b
}

// encodeFixed writes the steps of a segment at p, where the caller has made room.
func encodeFixed(r *flow.Record, steps []step, p unsafe.Pointer) {
	for i := range steps {
		s := &steps[i]
		v := unsafe.Add(p, s.pos)
		switch s.kind {
		case stepU64:
			binary.BigEndian.PutUint64((*[8]byte)(v)[:], *at[uint64](r, s.off))
		case stepU8:
			*(*byte)(v) = *at[uint8](r, s.off)
		case stepU16:
			binary.BigEndian.PutUint16((*[2]byte)(v)[:], *at[uint16](r, s.off))
		case stepU32:
			binary.BigEndian.PutUint32((*[4]byte)(v)[:], *at[uint32](r, s.off))
		case stepSeconds:
			binary.BigEndian.PutUint32((*[4]byte)(v)[:], uint32(*at[int64](r, s.off)/1000))
		case stepMillis:
			binary.BigEndian.PutUint64((*[8]byte)(v)[:], uint64(*at[int64](r, s.off)))
		case stepIPv4:
			*(*[4]byte)(v) = ipv4Of(at[netip.Addr](r, s.off))
		case stepIPv6:
			*(*[16]byte)(v) = ipv6Of(at[netip.Addr](r, s.off))
		case stepOctets:
			*(*[16]byte)(v) = *at[flow.UUID](r, s.off)
		case stepBool:
			*(*byte)(v) = 2
			if *at[bool](r, s.off) {
				*(*byte)(v) = 1
			}
		case stepPresence:
			w := (*[24]byte)(v)
			for k := range r.Has {
				binary.BigEndian.PutUint64(w[k*8:], r.Has[k])
			}
		default:
			encodeRare(r, s, unsafe.Slice((*byte)(v), int(s.size)))
		}
	}
}

// encodeRare writes integers of another width than their field's (what does not fit
// is sent as the largest that does) and strings of fixed length.
func encodeRare(r *flow.Record, s *step, v []byte) {
	switch s.kind {
	case stepUint:
		x := readUint(r, s)
		if len(v) < 8 {
			x = min(x, 1<<(8*len(v))-1)
		}
		putUint(v, x)
	case stepInt:
		putUint(v, readUint(r, s))
	case stepStringFixed:
		n := copy(v, *at[string](r, s.off))
		clear(v[n:])
	default:
		clear(v)
	}
}

func putUint(v []byte, x uint64) {
	for i := range v {
		v[len(v)-1-i] = byte(x)
		x >>= 8
	}
}

// readUint reads any integer field, sign extended.
func readUint(r *flow.Record, s *step) uint64 {
	switch s.typ {
	case flow.TypeU8:
		return uint64(*at[uint8](r, s.off))
	case flow.TypeU16:
		return uint64(*at[uint16](r, s.off))
	case flow.TypeU32:
		return uint64(*at[uint32](r, s.off))
	case flow.TypeU64:
		return *at[uint64](r, s.off)
	case flow.TypeI32:
		return uint64(int64(*at[int32](r, s.off)))
	case flow.TypeI64:
		return uint64(*at[int64](r, s.off))
	default:
		return 0
	}
}

// maxVar is the longest string that a message can hold. A longer one is cut.
const maxVar = 65000

// appendVar appends a string with its length in one or three bytes.
func appendVar(b []byte, v string) []byte {
	if len(v) < 255 {
		return append(append(b, byte(len(v))), v...)
	}
	v = v[:min(len(v), maxVar)]
	b = append(b, 255, byte(len(v)>>8), byte(len(v)))
	return append(b, v...)
}

func ipv4Of(a *netip.Addr) [4]byte {
	if !a.Is4() && !a.Is4In6() {
		return [4]byte{}
	}
	return a.As4()
}

func ipv6Of(a *netip.Addr) [16]byte {
	if !a.IsValid() || a.Is4() {
		return [16]byte{}
	}
	return a.As16()
}

// Fits reports whether the record can go into a message of max bytes.
func Fits(t *Template, r *flow.Record, max int) error {
	if n := len(appendRecord(nil, t, r)) + headerLen + setHeaderLen; n > max {
		return fmt.Errorf("ipfix: a record of template %d takes a message of %d bytes, the limit is %d", t.ID, n, max)
	}
	return nil
}
