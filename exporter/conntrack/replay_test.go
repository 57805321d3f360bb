package conntrack

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirnet/weir/exporter/track"
)

func recording(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("../../internal/demo/recorded/node-a.ct.gz")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReplay runs the recorded node at its own pace, on a simulated clock: dumps grow
// and shrink, every recorded end arrives once, and nothing that ended is dumped again.
func TestReplay(t *testing.T) {
	_, items, err := ReadRecording(bytes.NewReader(recording(t)))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[byte]int{}
	families, protos := map[bool]int{}, map[uint8]int{}
	for i := range items {
		kinds[items[i].kind]++
		if c := &items[i].conn; items[i].kind == itemEntry {
			families[c.Orig.Is4()]++
			protos[c.Orig.Proto]++
		}
	}
	if kinds[itemDestroy] < 20 || kinds[itemDump] < 10 || families[true] == 0 || families[false] == 0 || protos[1] == 0 || protos[6] == 0 || protos[17] == 0 || protos[58] == 0 {
		t.Fatalf("a poor recording: kinds %v, IPv4 %v, protocols %v", kinds, families, protos)
	}
	synctest.Test(t, func(t *testing.T) {
		p, err := NewReplay(bytes.NewReader(recording(t)))
		if err != nil {
			t.Fatal(err)
		}
		ended := map[liveKey]bool{}
		n := 0
		for b := range p.Events() {
			for _, c := range b.Conns {
				if !c.Destroyed {
					t.Error("an event that is no end")
				}
				n++
				ended[liveKey{c.ID, c.Zone}] = true
			}
			if _, err := p.Dump(t.Context(), func(c *track.Conn) {
				if k := (liveKey{c.ID, c.Zone}); p.endedNow(k) {
					t.Errorf("entry %d is dumped after its end", c.ID)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		if n != kinds[itemDestroy] {
			t.Errorf("%d of %d ends", n, kinds[itemDestroy])
		}
	})
}

func (p *Replay) endedNow(k liveKey) bool {
	_, ok := p.ended[k] // Dump holds the lock
	return ok
}

func TestReplayStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := NewReplay(bytes.NewReader(recording(t)))
		if err != nil {
			t.Fatal(err)
		}
		p.Stop()
		p.Stop()
		for range p.Events() { // ends, or the bubble deadlocks
		}
	})
}

func TestBadRecordings(t *testing.T) {
	good := recording(t)
	z, err := gzip.NewReader(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(b []byte) []byte {
		var w bytes.Buffer
		z := gzip.NewWriter(&w)
		if _, err := z.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return w.Bytes()
	}
	bad := bytes.Clone(raw)
	bad[16] = 77
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "want a file that Record wrote"},
		{"text", []byte("hello, I am no recording"), "want a file that Record wrote"},
		{"other gzip", pack([]byte("hello, I am no recording")), "does not begin like one"},
		{"cut file", good[:len(good)/2], "the file is cut"},
		{"cut inside", pack(raw[:len(raw)-20]), "the file is cut"},
		{"unknown kind", pack(bad), "item 0: kind 77"},
	} {
		if _, _, err := ReadRecording(bytes.NewReader(c.b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v: want %q in it", c.name, err, c.want)
		}
	}
}
