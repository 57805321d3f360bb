package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// topPlay presses keys and notes screens.
type topPlay struct {
	t *testing.T
	m *topModel
	b strings.Builder
}

func (p *topPlay) show(what string) {
	fmt.Fprintf(&p.b, "=== %s\n%s\n", what, strings.Join(p.m.view(), "\n"))
	if got := len(p.m.view()); got != p.m.height {
		p.t.Errorf("%s: %d lines on a screen of %d", what, got, p.m.height)
	}
}

func (p *topPlay) typed(s string) (e effect) {
	for _, k := range keys([]byte(s)) {
		e = p.m.press(k)
	}
	return e
}

func (p *topPlay) wants(what string, got, want effect) {
	if got != want {
		p.t.Errorf("%s: effect %v, want %v", what, got, want)
	}
}

func look(at int, groups map[string][5]int64) *sample {
	s := &sample{until: fixedNow().Add(time.Duration(at) * time.Second), window: time.Minute, scanned: 1200, took: 8}
	for k, v := range groups {
		r := topRow{by: strings.Split(k, ","), values: map[string]*tally{}}
		for i, name := range []string{"conns", "bytes", "failed", "denied", "retransmits"} {
			r.values[name] = &tally{n: uint64(max(0, v[i])), known: v[i] >= 0}
		}
		s.rows = append(s.rows, r)
	}
	return s
}

// TestTopScreens: keys and looks in, screens out, as testdata/top.golden has them.
func TestTopScreens(t *testing.T) {
	m := &topModel{by: []string{"src.workload", "dst.workload"}, metric: "conns", window: time.Minute, width: 100, height: 12}
	first := map[string][5]int64{
		"Deployment/cart,Deployment/payments": {600, 36000, 590, 0, 0},
		"Deployment/web,Deployment/cart":      {1200, 72000000, 0, 0, 31},
		"Deployment/batch,-":                  {3, -1, 0, 3, -1},
	}
	second := map[string][5]int64{
		"Deployment/cart,Deployment/payments": {610, 36600, 600, 0, 0},
		"Deployment/web,Deployment/cart":      {1100, 66000000, 0, 0, 31},
		"Deployment/batch,-":                  {3, -1, 0, 3, -1},
		"DaemonSet/new,Deployment/cart":       {8, 4000, 0, 0, 2},
	}
	many := map[string][5]int64{}
	for i := range 30 {
		many[fmt.Sprintf("Deployment/w%02d,Deployment/cart", i)] = [5]int64{int64(1000 - i), 0, 0, 0, 0}
	}
	p := &topPlay{t: t, m: m}
	p.show("before the first answer")
	m.take(look(0, first))
	p.show("the first look")
	m.take(look(2, second))
	p.show("the second, with changes")
	p.typed("s")
	p.show("s: by bytes")
	p.typed("3o")
	p.show("3, o: by failed, smallest first")
	p.typed("o?")
	p.show("o, ?: largest first, help")
	p.typed("?p")
	m.take(look(4, first))
	p.show("?, p: paused, the next look is not shown")
	p.prompts()
	m.by = []string{"src.workload", "dst.workload"}
	m.metric = "conns"
	m.take(look(6, many))
	p.scrolls()
	const file = "testdata/top.golden"
	if *update {
		if err := os.WriteFile(file, []byte(p.b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), p.b.String()); d != "" {
		t.Errorf("the screens differ (-want +got):\n%s", d)
	}
}

func (p *topPlay) prompts() {
	p.wants("unpausing", p.typed("p"), ask)
	p.wants("f and a condition", p.typed("fshop outcome != ko\r"), nothing)
	p.show("f: a condition that is none")
	p.wants("f and a condition", p.typed("\x7f\x7fok\r"), ask)
	if p.m.cond != "shop outcome != ok" {
		p.t.Errorf("condition %q", p.m.cond)
	}
	p.show("f: a condition")
	p.wants("g and a wrong field", p.typed("g\x15dst.wrkload\r"), nothing)
	p.show("g: a field that is none")
	p.wants("Escape", p.typed("\x1b"), nothing)
	p.wants("g and fields", p.typed("g\x15src.node, dst.node\r"), ask)
	if strings.Join(p.m.by, "+") != "src.node+dst.node" || p.m.now != nil {
		p.t.Errorf("groups by %v", p.m.by)
	}
	p.wants("w", p.typed("w\x155s\r"), nothing)
	p.show("w: too short a window")
	p.wants("w", p.typed("\x155m\r"), ask)
}

func (p *topPlay) scrolls() {
	p.typed("\x1b[B\x1b[Bj")
	p.show("three down in a long list")
	p.m.width, p.m.height = 40, 8
	p.m.fault = "dial tcp: connection refused"
	p.show("a small screen, no answer")
	p.typed(strings.Repeat("j", 100))
	p.show("the end of the list")
	p.m.take(look(8, nil))
	p.show("no connections")
	p.wants("q", p.typed("q"), quit)
	p.wants("Ctrl-C in a prompt", p.typed("f\x03"), quit)
}

func TestKeys(t *testing.T) {
	for in, want := range map[string][]key{
		"q":             {'q'},
		"\x1b":          {keyEscape},
		"\x1b[A\x1b[Bx": {keyUp, keyDown, 'x'},
		"\x1bOA":        {keyUp},
		"\x1b[1;5C":     {keyOther},
		"\x1b[":         {keyOther},
		"\x1b[H":        {keyHome},
		"ä\xff":         {'ä', keyOther},
		"\r\n\x08\x7f":  {keyEnter, keyEnter, keyBackspace, keyBackspace},
		"\x03":          {keyCtrlC},
		"\x1b[200~a":    {keyOther, 'a'},
	} {
		if d := cmp.Diff(want, keys([]byte(in))); d != "" {
			t.Errorf("keys(%q): %s", in, d)
		}
	}
}

// TestTinyScreens: no size of terminal breaks the view.
func TestTinyScreens(t *testing.T) {
	m := &topModel{by: []string{"src.ns"}, metric: "conns", window: time.Minute}
	m.take(look(0, map[string][5]int64{"shop": {1, 1, 1, 1, 1}, "bank": {2, 2, 2, 2, 2}}))
	for w := range 30 {
		for h := 1; h < 12; h++ {
			m.width, m.height = w, h
			m.scroll = 5
			if got := len(m.view()); got != h {
				t.Fatalf("%dx%d: %d lines", w, h, got)
			}
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("fshop\r\x1b[Ag\x15dst.ns\rq"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		m := &topModel{by: []string{"src.ns"}, metric: "conns", window: time.Minute, width: 20, height: 6}
		m.take(look(0, map[string][5]int64{"shop": {1, 1, 1, 1, 1}}))
		for _, k := range keys(b) {
			m.press(k)
			m.view()
		}
	})
}
