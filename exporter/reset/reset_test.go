package reset

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/weirnet/weir/exporter/packet"
)

// v4 answers a SYN, v6 breaks an established connection off.
const (
	v4 = "4500002800004000400626c00a0200020a010002" + "0050c350" + "00000000" + "3ade68b2" + "50140000" + "00000000"
	v6 = "6000000000140640" + "fd020000000000000000000000000002" + "fd010000000000000000000000000002" + "0050c350" + "3ade68b1" + "00000000" + "50040000" + "00000000"
)

func raw(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in    string
		ok, refusal bool
		id          uint64
		err         error
	}{
		{"v4", v4, true, true, 0x3ade68b2, nil},
		{"v6", v6, true, false, 0x3ade68b1 << 32, nil},
		{"a SYN", v4[:66] + "02" + v4[68:], false, false, 0, nil},
		{"UDP", v4[:18] + "11" + v4[20:], false, false, 0, nil},
		{"a later fragment", v4[:12] + "0010" + v4[16:], false, false, 0, nil},
		{"cut in the TCP header", v4[:60], false, false, 0, packet.ErrMalformed},
		{"nothing", "", false, false, 0, packet.ErrMalformed},
	} {
		var r Reset
		id, ok, err := Parse(raw(t, c.in), &r)
		if ok != c.ok || !errors.Is(err, c.err) || id != c.id || r.Refusal != c.refusal || ok && (r.Tuple.SrcPort != 80 || r.Tuple.DstPort != 50000) {
			t.Errorf("%s: %x, %v, %v, %+v", c.name, id, ok, err, r)
		}
	}
	var r Reset
	in := raw(t, v6)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = Parse(in, &r) }); n != 0 {
		t.Errorf("%v allocations a RST, want 0", n)
	}
}

// TestSeen has one RST on its way through a node that translates, and others that look
// like it.
func TestSeen(t *testing.T) {
	var w recent
	var a, b Reset
	_, _, _ = Parse(raw(t, v4), &a)
	_, _, _ = Parse(raw(t, v6), &b) // stands for the translated one
	for _, c := range []struct {
		name            string
		id              uint64
		r               *Reset
		at              int64
		out, news, made bool
	}{
		{"comes in", 1, &a, 1000, false, true, false},
		{"goes out translated", 1, &b, 1001, true, true, false},
		{"again", 1, &b, 1002, true, false, false},
		{"made here", 2, &a, 1003, true, true, true},
		{"made here, the other tuple", 2, &b, 1003, true, true, true},
		{"the same numbers much later", 1, &a, 1100, true, true, true},
	} {
		c.r.TimeMs = c.at
		if news, made := w.see(c.id, c.r, c.out); news != c.news || made != c.made {
			t.Errorf("%s: new %t, made here %t", c.name, news, made)
		}
	}
	for i := range uint64(3 * recentSize) {
		if news, _ := w.see(1000+i, &a, false); !news {
			t.Fatalf("RST %d is not new", i)
		}
	}
}

func TestStatus(t *testing.T) {
	if e := Status(false, nil); e.On || e.Remedy == "" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, errors.New("no right")); e.On || e.Why != "no right" || e.Remedy == "" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, nil); !e.On {
		t.Errorf("%+v", e)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(raw(f, v4))
	f.Add(raw(f, v6))
	f.Fuzz(func(t *testing.T, in []byte) {
		var r Reset
		if _, ok, err := Parse(in, &r); ok && (err != nil || r.Tuple.Proto != packet.TCP) {
			t.Errorf("%v, %+v", err, r)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	in := raw(b, v4)
	var w recent
	b.ReportAllocs()
	for b.Loop() {
		var r Reset
		id, ok, _ := Parse(in, &r)
		if !ok {
			b.Fatal("no RST")
		}
		w.see(id, &r, false)
	}
}
