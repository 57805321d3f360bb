package ipfix

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// TestGolden holds the bytes of a message against RFC 7011, written out by hand.
func TestGolden(t *testing.T) {
	elems := []flow.Element{}
	for _, w := range []struct {
		pen     uint32
		id, len uint16
	}{{0, 8, 4}, {0, 7, 2}, {flow.PENReverse, 86, 8}, {0, 1, 5}, {flow.PENAntrea, 101, VarLen}, {0, 999, 3}, {flow.PENAntrea, 137, 1}} {
		e, _ := Lookup(w.pen, w.id)
		e.PEN, e.ID, e.Len = w.pen, w.id, w.len
		elems = append(elems, e)
	}
	tm, err := NewTemplate(256, elems)
	if err != nil {
		t.Fatal(err)
	}
	var r flow.Record
	r.SetSrcIP(netip.MustParseAddr("192.0.2.1"))
	r.SetSrcPort(0x1234)
	r.SetRevPackets(7)
	r.SetBytesDelta(0x0102030405)
	r.SetSrcPod("web-0")
	r.SetFlowType(flow.FlowTypeInterNode)
	long := r
	long.SetSrcPod(strings.Repeat("p", 255))
	enc := NewEncoder(0xabcdef01, EncoderOptions{Sequence: 41})
	enc.AddTemplate(tm)
	enc.Append(tm, &r)
	enc.Append(tm, &long)
	got := bytes.Clone(enc.Take(0x65000000))
	const record = "c0000201" + "1234" + "0000000000000007" + "0102030405"
	want := "000a017a" + "65000000" + "00000029" + "abcdef01" + // header, 378 bytes
		"00020030" + "01000007" + // template set, template 256 of 7
		"00080004" + "00070002" + "80560008" + "00007279" + "00010005" + "8065ffff" + "0000dcba" + "03e70003" + "80890001" + "0000dcba" +
		"0100013a" + // data set, 4+29+281 bytes
		record + "05" + hex.EncodeToString([]byte("web-0")) + "000000" + "02" +
		record + "ff00ff" + strings.Repeat("70", 255) + "000000" + "02"
	if hex.EncodeToString(got) != want {
		t.Fatalf("got  %x\nwant %s", got, want)
	}
	var c catcher
	s := NewSession(SessionOptions{})
	if err := s.Decode(0, got, &c); err != nil {
		t.Fatal(err)
	}
	for i, w := range []flow.Record{r, long} {
		if d := cmpRec(w, c.recs[i]); d != "" {
			t.Fatal(d)
		}
	}
	// the withdrawal of the template, and of all
	enc.Withdraw(256)
	enc.Withdraw(setTemplate)
	m := enc.Take(1)
	if w := "000a002000000001" + "0000002b" + "abcdef01" + "0002000801000000" + "0002000800020000"; hex.EncodeToString(m) != w {
		t.Fatalf("got  %x\nwant %s", m, w)
	}
	if err := s.Decode(0, m, &c); err != nil || s.Stats.Withdrawn != 1 || s.elems != 0 {
		t.Fatalf("%v, %+v, %d elements kept", err, s.Stats, s.elems)
	}
}

// TestDataBeforeTemplate checks that early data waits, within the bound, and that
// its numbers are no gap.
func TestDataBeforeTemplate(t *testing.T) {
	set := IANA()
	enc := NewEncoder(1, EncoderOptions{OneSet: true})
	r := sample(1, false)
	var msgs [][]byte
	for range 4 {
		for range 3 {
			enc.Append(set.V4, &r)
		}
		msgs = append(msgs, bytes.Clone(enc.Take(1)))
	}
	enc.AddTemplate(set.V4)
	tm := bytes.Clone(enc.Take(1))
	s := NewSession(SessionOptions{MaxHeldBytes: 2 * (len(msgs[0]) + heldOverhead)})
	var c catcher
	for _, m := range [][]byte{msgs[0], msgs[1], msgs[2], tm, msgs[3]} {
		if err := s.Decode(0, m, &c); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats; len(c.recs) != 9 || st.SetsHeld != 2 || st.SetsLost != 1 || st.BytesLost == 0 {
		t.Fatalf("%d records, %+v", len(c.recs), st)
	}
	if s.held != 0 {
		t.Fatalf("%d bytes are held still", s.held)
	}
}

// TestLateDatagram checks that what the network puts out of order is no loss, and
// that an exporter that starts over is not late for ever.
func TestLateDatagram(t *testing.T) {
	set := IANA()
	enc := NewEncoder(1, EncoderOptions{OneSet: true})
	enc.AddTemplate(set.V4)
	msgs := [][]byte{bytes.Clone(enc.Take(1))}
	r := sample(1, false)
	for range 40 {
		enc.Append(set.V4, &r)
		msgs = append(msgs, bytes.Clone(enc.Take(1)))
	}
	s := NewSession(SessionOptions{})
	var c catcher
	feed := func(list ...int) {
		for _, i := range list {
			if err := s.Decode(0, msgs[i], &c); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(0, 1, 3, 2, 4)
	if s.Stats.SequenceLost != 0 || s.Stats.SequenceLate != 1 {
		t.Fatalf("out of order: %+v", s.Stats)
	}
	feed(7) // 5 and 6 are gone
	if s.Stats.SequenceLost != 2 {
		t.Fatalf("two lost: %+v", s.Stats)
	}
	feed(0, 1, 2, 3, 4, 6)
	if s.Stats.SequenceLost != 3 || s.Stats.SequenceReset != 1 {
		t.Fatalf("started over, one lost: %+v", s.Stats)
	}
}

// TestTemplateExpires checks that a template which is not refreshed is forgotten.
func TestTemplateExpires(t *testing.T) {
	set := IANA()
	enc := NewEncoder(1, EncoderOptions{OneSet: true})
	enc.AddTemplate(set.V4)
	tm := bytes.Clone(enc.Take(1))
	r := sample(1, false)
	enc.Append(set.V4, &r)
	data := bytes.Clone(enc.Take(1))
	s := NewSession(SessionOptions{TemplateTTL: 1000})
	var c catcher
	for _, at := range []struct {
		ms  int64
		msg []byte
	}{{0, tm}, {900, data}, {950, tm}, {1900, data}, {3000, data}} {
		if err := s.Decode(at.ms, at.msg, &c); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.recs) != 2 || s.Stats.Expired != 1 || s.Stats.SetsHeld != 1 {
		t.Fatalf("%d records, %+v", len(c.recs), s.Stats)
	}
	if s.Close(); s.Stats.SetsLost != 1 {
		t.Fatalf("%+v", s.Stats)
	}
}

// TestSteadyStateAllocatesNothing holds decoding and encoding to no allocation.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	tm, recs := benchTemplate(), benchInput()
	template, data := benchMessages(tm, recs)
	s := NewSession(SessionOptions{})
	var c counter
	feed := func() {
		for _, m := range data {
			if err := s.Decode(0, m, &c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Decode(0, template, &c); err != nil {
		t.Fatal(err)
	}
	feed()
	if n := testing.AllocsPerRun(5, feed); n != 0 {
		t.Errorf("decoding %d records allocates %v times", len(recs), n)
	}
	enc := NewEncoder(1, EncoderOptions{})
	encode := func() {
		for i := range recs {
			if !enc.Append(tm, &recs[i]) {
				enc.Take(1)
				enc.Append(tm, &recs[i])
			}
		}
		enc.Take(1)
	}
	encode()
	if n := testing.AllocsPerRun(5, encode); n != 0 {
		t.Errorf("encoding %d records allocates %v times", len(recs), n)
	}
}
