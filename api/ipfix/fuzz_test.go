package ipfix

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// message wraps sets into a message.
func message(seq uint32, sets ...[]byte) []byte {
	b := make([]byte, headerLen)
	for _, s := range sets {
		b = append(b, s...)
	}
	binary.BigEndian.PutUint16(b, version)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint32(b[8:], seq)
	return b
}

func set(id uint16, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body)+setHeaderLen)), body...)
}

// hostile are messages that a broken or a bad peer may send.
func hostile() map[string][]byte {
	many := []byte{1, 0, 3, 0xff}
	for range 1023 {
		many = append(many, 0, 82, 0, 0) // zero bytes each
	}
	var templates []byte
	for i := range 2000 {
		templates = binary.BigEndian.AppendUint16(templates, uint16(256+i))
		templates = append(templates, 0, 1, 0, 4, 0, 1)
	}
	tm := set(setTemplate, 1, 0, 0, 2, 0, 4, 0, 1, 0, 82, 255, 255)
	return map[string][]byte{
		"empty message":        message(0),
		"cut set header":       message(0, []byte{1, 0, 0}),
		"set of length 0":      message(0, []byte{1, 0, 0, 0}),
		"set past the end":     message(0, []byte{1, 0, 255, 255}),
		"reserved set":         message(0, set(7, 1, 2, 3)),
		"template cut":         message(0, set(setTemplate, 1, 0, 0, 9, 0, 4, 0, 1)),
		"65535 elements":       message(0, set(setTemplate, 1, 0, 255, 255, 0, 4, 0, 1)),
		"elements of no bytes": message(0, set(setTemplate, many...), set(256, make([]byte, 4000)...)),
		"record of no bytes":   message(0, set(setTemplate, 1, 0, 0, 1, 0, 82, 0, 0), set(256, 1, 2, 3, 4)),
		"2000 templates":       message(0, set(setTemplate, templates...)),
		"template below 256":   message(0, set(setTemplate, 0, 9, 0, 1, 0, 4, 0, 1)),
		"no scope":             message(0, set(setOptions, 1, 0, 0, 1, 0, 0, 0, 4, 0, 1)),
		"more scopes":          message(0, set(setOptions, 1, 0, 0, 1, 0, 9, 0, 4, 0, 1)),
		"string past the end":  message(0, tm, set(256, 6, 200, 'a', 'b')),
		"long string cut":      message(0, tm, set(256, 6, 255, 255)),
		"long string past":     message(0, tm, set(256, 6, 255, 255, 255, 'a')),
		"padding not zero":     message(0, tm, set(256, 6, 1, 'a', 9)),
		"data before template": message(0, set(256, 6, 1, 'a'), tm),
		"withdraw all":         message(0, tm, set(setTemplate, 0, 2, 0, 0), set(256, 6, 1, 'a')),
		"short IPv6":           message(0, set(setTemplate, 1, 0, 0, 1, 0, 27, 0, 4), set(256, 1, 2, 3, 4)),
		"wide counter":         message(0, set(setTemplate, 1, 0, 0, 1, 0, 1, 0, 9), set(256, make([]byte, 9)...)),
	}
}

func wellFormed() [][]byte {
	var out [][]byte
	for _, s := range []Set{WeirLink(), WeirAggregated(), AntreaExporter(), AntreaAggregator(), AntreaProxy(), IANA()} {
		enc := NewEncoder(9, EncoderOptions{})
		for _, tm := range append(s.Templates(), LedgerTemplate(), FactTemplate()) {
			enc.AddTemplate(tm)
		}
		for n := range 4 {
			r := sample(n, n%2 == 1)
			enc.Append(s.For(&r), &r)
		}
		enc.AppendLedger(&LedgerRow{"node", "boot", "send", "lost", "full", 1, 2, 3, 4})
		enc.AppendFact(&FactRow{"node", "boot", "coverage", "host/v6", "no", "why", "do", -1, 4})
		out = append(out, bytes.Clone(enc.Take(5)))
	}
	return out
}

// placer keeps its records where they were decoded: in batches that others used
// before.
type placer struct {
	catcher
	batch *flow.Batch
}

func newPlacer() *placer {
	p := &placer{batch: flow.NewBatch(3, nil)}
	for n := range 3 {
		r := sample(n, n == 1)
		p.batch.Append(&r)
	}
	p.batch.Release()
	return p
}

func (p *placer) Place(fields *flow.Mask) *flow.Record { return p.batch.Place(fields) }

func (p *placer) Record(r *flow.Record) {
	p.batch.Commit()
	p.catcher.Record(r)
	if p.batch.Full() {
		p.batch.Release()
	}
}

// Whether records are copied out of the session or decoded where they stay, they
// are the same, with any mix of templates.
func TestPlacedAsCopied(t *testing.T) {
	s, placing := NewSession(SessionOptions{}), NewSession(SessionOptions{})
	var c catcher
	p := newPlacer()
	late := message(0, // milliseconds of a length that cannot be read stand aside for seconds
		set(setTemplate, 1, 9, 0, 2, 0, 152, 0, 3, 0, 150, 0, 4), set(265, 0, 0, 0, 0, 0, 0, 9))
	for _, m := range append(wellFormed(), late) {
		if err := errors.Join(s.Decode(0, m, &c), placing.Decode(0, m, p)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, c.recs, p.recs)
	if last := c.recs[len(c.recs)-1]; last.Start != 9000 {
		t.Fatalf("started at %d ms, want 9000", last.Start)
	}
}

func same(t *testing.T, copied, placed []flow.Record) {
	t.Helper()
	if len(copied) != len(placed) {
		t.Fatalf("%d records by copy, %d in place", len(copied), len(placed))
	}
	for i := range copied {
		if copied[i] != placed[i] {
			t.Fatalf("record %d in place differs (-copied +placed):\n%s", i, cmpRec(copied[i], placed[i]))
		}
	}
}

// bounded checks what must hold whatever came.
func bounded(t *testing.T, s *Session, in int) {
	t.Helper()
	if s.held < 0 || s.held > s.opts.MaxHeldBytes {
		t.Fatalf("holds %d bytes, the bound is %d", s.held, s.opts.MaxHeldBytes)
	}
	if s.elems < 0 || s.elems > s.opts.MaxElements || len(s.domains) > s.opts.MaxDomains {
		t.Fatalf("%d elements in %d domains", s.elems, len(s.domains))
	}
	if n := s.Stats.Records + s.Stats.OptionsRecords; n > uint64(in) {
		t.Fatalf("%d records from %d bytes", n, in)
	}
	if len(s.in.table) > maxInterned || s.in.bytes > maxInternByte || len(s.in.cache) > maxSlots {
		t.Fatalf("%d names of %d bytes in %d slots", len(s.in.table), s.in.bytes, len(s.in.cache))
	}
}

func TestHostile(t *testing.T) {
	for name, m := range hostile() {
		t.Run(name, func(t *testing.T) {
			s := NewSession(SessionOptions{MaxTemplates: 100})
			err := s.Decode(0, m, &catcher{})
			bounded(t, s, len(m))
			if st := s.Stats; err != nil && st.Malformed() == 0 {
				t.Fatalf("%v, and no reason is counted: %+v", err, st)
			}
			for n := range m { // and cut anywhere
				cut := bytes.Clone(m[:n])
				if n >= 4 {
					binary.BigEndian.PutUint16(cut[2:], uint16(n))
				}
				_ = s.Decode(0, cut, &catcher{})
				bounded(t, s, len(m)*(len(m)+1))
			}
		})
	}
}

// FuzzDecode feeds a stream of hostile messages to one session.
func FuzzDecode(f *testing.F) {
	for _, m := range hostile() {
		f.Add(m)
	}
	for _, m := range wellFormed() {
		f.Add(m)
		f.Add(m[:len(m)-7])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := SessionOptions{MaxDomains: 3, MaxTemplates: 20, MaxElements: 4000, MaxHeldBytes: 4096, TemplateTTL: 5}
		s, placing, c, p := NewSession(o), NewSession(o), catcher{}, newPlacer()
		for now := range int64(3) {
			b := data
			for len(b) > 0 {
				msg, rest, err := NextMessage(b)
				if err != nil || msg == nil {
					break
				}
				err = s.Decode(now*4, msg, &c)
				if err != nil && s.Stats.Malformed() == 0 {
					t.Fatalf("%v, and no reason is counted", err)
				}
				if perr := placing.Decode(now*4, msg, p); (err == nil) != (perr == nil) {
					t.Fatalf("%v by copy, %v in place", err, perr)
				}
				same(t, c.recs, p.recs)
				c.recs, p.recs = c.recs[:0], p.recs[:0]
				b = rest
			}
			bounded(t, s, 3*len(data))
		}
		_ = s.Decode(99, data, &catcher{}) // as a datagram
		s.Close()
		if s.held != 0 {
			t.Fatalf("%d bytes are held after Close", s.held)
		}
	})
}

// FuzzRoundTrip makes records out of the fuzzer's bytes; each must come back as it was.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a record of any bytes, repeated as needed"), false, uint8(3))
	f.Add(bytes.Repeat([]byte{255}, 300), true, uint8(200))
	f.Fuzz(func(t *testing.T, seed []byte, v6 bool, stride uint8) {
		if len(seed) == 0 {
			return
		}
		ws := WeirAggregated()
		enc := NewEncoder(1, EncoderOptions{})
		var want []flow.Record
		for _, tm := range ws.Templates() {
			enc.AddTemplate(tm)
		}
		for n := range 3 {
			r := fromSeed(seed, n*int(stride), v6)
			if Fits(ws.For(&r), &r, 60000) == nil && enc.Append(ws.For(&r), &r) {
				want = append(want, r)
			}
		}
		s := NewSession(SessionOptions{})
		var c catcher
		if err := s.Decode(0, enc.Take(1), &c); err != nil {
			t.Fatal(err)
		}
		if len(c.recs) != len(want) {
			t.Fatalf("%d records, want %d", len(c.recs), len(want))
		}
		for i := range want {
			if d := cmpRec(want[i], c.recs[i]); d != "" {
				t.Fatalf("record %d (-want +got):\n%s", i, d)
			}
		}
	})
}

// fromSeed fills the fields that the seed picks.
func fromSeed(seed []byte, o int, v6 bool) flow.Record {
	next := func() uint64 {
		var x uint64
		for range 8 {
			x = x<<8 | uint64(seed[o%len(seed)])
			o++
		}
		return x
	}
	var r flow.Record
	for i := range flow.Fields {
		f := &flow.Fields[i]
		x := next()
		if x&1 == 0 {
			continue
		}
		st := step{field: flow.FieldID(i), typ: f.Type, off: flow.Offsets[i]}
		switch f.Type {
		case flow.TypeString:
			v := seed[(x>>1)%uint64(len(seed)):]
			if len(v) == 0 {
				continue
			}
			*at[string](&r, st.off) = string(v)
		case flow.TypeAddr:
			a := netip.AddrFrom4([4]byte{1, byte(x), byte(x >> 8), 1})
			if v6 {
				a = netip.AddrFrom16([16]byte{0x20, byte(x), byte(x >> 8), 15: 1})
			}
			*at[netip.Addr](&r, st.off) = a
		case flow.TypeUUID:
			*at[flow.UUID](&r, st.off) = flow.UUID{1, byte(x)}
		case flow.TypeMillis:
			*at[int64](&r, st.off) = int64(x)
		case flow.TypeBool:
			*at[bool](&r, st.off) = x&2 == 0
		default:
			writeUint(&r, &st, x)
		}
		r.Has.Set(flow.FieldID(i))
	}
	if v6 && !r.SrcIP.IsValid() { // the family picks the template
		r.SetSrcIP(netip.IPv6LinkLocalAllNodes())
	}
	return r
}

// FuzzNextMessage checks that framing neither loses nor makes bytes.
func FuzzNextMessage(f *testing.F) {
	f.Add([]byte{0, 10, 0, 16})
	f.Add([]byte{0, 10, 0, 3, 0})
	f.Add([]byte{0, 9})
	f.Add(append(message(0), message(1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, rest, err := NextMessage(b)
		switch {
		case err != nil || msg == nil:
			if !bytes.Equal(rest, b) || len(msg) != 0 {
				t.Fatal("bytes were taken without a message")
			}
			if err == nil && len(b) >= maxMessageLen {
				t.Fatal("asks for more than a message can hold")
			}
		case !bytes.Equal(append(bytes.Clone(msg), rest...), b):
			t.Fatal("message and rest are not the buffer")
		case len(msg) < headerLen || int(binary.BigEndian.Uint16(msg[2:])) != len(msg):
			t.Fatalf("message of %d bytes", len(msg))
		}
	})
}
