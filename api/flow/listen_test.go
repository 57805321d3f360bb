package flow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListens(t *testing.T) {
	many := []ListenPort{{53, 17}}
	for p := range uint16(10) {
		many = append(many, ListenPort{8000 + p, 6})
	}
	for _, c := range []struct {
		list []ListenPort
		text string
		more int
	}{
		{nil, "", 0},
		{[]ListenPort{{8080, 6}}, "8080", 0},
		{[]ListenPort{{8080, 6}, {9090, 17}}, "8080, 9090/udp", 0},
		{many, "8000, 8001, 8002, 8003, 8004, 8005, 8006, 8007, +2, 53/udp", 2},
	} {
		if got := FormatListens(6, c.list); got != c.text {
			t.Errorf("%q, want %q", got, c.text)
		}
		list, more, err := ParseListens(6, c.text)
		if err != nil || more != c.more || len(list)+more != len(c.list) {
			t.Errorf("%q read as %v and %d more: %v", c.text, list, more, err)
		}
		if len(list) > 0 && FormatListens(6, list) != strings.Replace(c.text, ", +2", "", 1) {
			t.Errorf("%q read as %v", c.text, list)
		}
	}
	for _, bad := range []string{",", "x", "70000", "80/sctp", "+x", "80,81"} {
		if list, _, err := ParseListens(6, bad); err == nil {
			t.Errorf("%q was taken as %v", bad, list)
		}
	}
}

func TestListenText(t *testing.T) {
	got := map[Listen]string{}
	for l := range Listen(len(ListenWords)) {
		var r Record
		r.SetDstListen(l)
		if l == ListenNone || l == ListenLoopback {
			r.SetDstListens("8080")
		}
		if l == ListenFull {
			r.SetDstBacklog(129)
			r.SetDstBacklogMax(128)
		}
		got[l] = r.ListenText()
	}
	want := map[Listen]string{
		ListenUnknown: "", ListenOpen: "", ListenNone: "nobody listens (listens: 8080)", ListenLoopback: "listens on loopback only (listens: 8080)",
		ListenOther: "listens on another address only", ListenFull: "backlog full (129 wait, 128 may)",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := new(Record).ListenText(); s != "" {
		t.Errorf("%q without a look", s)
	}
}
