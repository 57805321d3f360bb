package ipfix

import (
	"encoding/binary"
	"fmt"
	"net/netip"
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
	Sequence   uint32 // number of data records sent before in this transport session
}

// Encoder builds the messages of one observation domain. Append until it says the
// message is full, then Take.
type Encoder struct {
	domain uint32
	seq    uint32
	max    int
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
	e := &Encoder{domain: domain, seq: o.Sequence, max: o.MaxMessage}
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
	mark, set, id := len(e.buf), e.set, e.setID
	e.open(t.ID)
	e.buf = appendRecord(e.buf, t, r)
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

func appendRecord(b []byte, t *Template, r *flow.Record) []byte {
	for i := range t.steps {
		s := &t.steps[i]
		switch s.kind {
		case stepU8:
			b = append(b, byte(readUint(r, s)))
		case stepU16:
			b = binary.BigEndian.AppendUint16(b, uint16(readUint(r, s)))
		case stepU32:
			b = binary.BigEndian.AppendUint32(b, uint32(readUint(r, s)))
		case stepU64:
			b = binary.BigEndian.AppendUint64(b, readUint(r, s))
		case stepUint, stepInt:
			v := readUint(r, s)
			for n := int(s.size) - 1; n >= 0; n-- {
				b = append(b, byte(v>>(8*n)))
			}
		case stepBool:
			if *at[bool](r, s.off) {
				b = append(b, 1)
			} else {
				b = append(b, 2)
			}
		case stepSeconds:
			b = binary.BigEndian.AppendUint32(b, uint32(*at[int64](r, s.off)/1000))
		case stepMillis:
			b = binary.BigEndian.AppendUint64(b, uint64(*at[int64](r, s.off)))
		case stepString:
			b = appendVar(b, *at[string](r, s.off))
		case stepStringFixed:
			v := *at[string](r, s.off)
			b = append(b, v[:min(len(v), int(s.size))]...)
			for n := len(v); n < int(s.size); n++ {
				b = append(b, 0)
			}
		case stepIPv4:
			b = appendIPv4(b, at[netip.Addr](r, s.off))
		case stepIPv6:
			b = appendIPv6(b, at[netip.Addr](r, s.off))
		case stepOctets:
			b = append(b, (*at[flow.UUID](r, s.off))[:]...)
		case stepPresence:
			for _, w := range r.Has {
				b = binary.BigEndian.AppendUint64(b, w)
			}
		case stepSkip:
			for range s.size {
				b = append(b, 0)
			}
		case stepSkipVar:
			b = append(b, 0)
		}
	}
	return b
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

// appendVar appends a string with its length in one or three bytes. A string over
// 65,534 bytes cannot be sent in any message and is cut.
func appendVar(b []byte, v string) []byte {
	if len(v) < 255 {
		return append(append(b, byte(len(v))), v...)
	}
	v = v[:min(len(v), 65534)]
	b = append(b, 255, byte(len(v)>>8), byte(len(v)))
	return append(b, v...)
}

func appendIPv4(b []byte, a *netip.Addr) []byte {
	if !a.Is4() && !a.Is4In6() {
		return append(b, 0, 0, 0, 0)
	}
	v := a.Unmap().As4()
	return append(b, v[:]...)
}

func appendIPv6(b []byte, a *netip.Addr) []byte {
	if !a.IsValid() || a.Is4() {
		var zero [16]byte
		return append(b, zero[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

// Fits reports whether the record can go into a message of max bytes.
func Fits(t *Template, r *flow.Record, max int) error {
	if n := len(appendRecord(nil, t, r)) + headerLen + setHeaderLen; n > max {
		return fmt.Errorf("ipfix: a record of template %d takes a message of %d bytes, the limit is %d", t.ID, n, max)
	}
	return nil
}
