package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestErrors reads testdata/errors.txtar: files NAME.agent or NAME.aggregator, and
// the problems that they must yield in NAME.want; a "# flags:" line gives flags.
func TestErrors(t *testing.T) {
	name := "testdata/errors.txtar"
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*txtar.File{}
	for i, f := range ar.Files {
		if base, ok := strings.CutSuffix(f.Name, ".want"); ok {
			want[base] = &ar.Files[i]
		}
	}
	for _, f := range ar.Files {
		ext := filepath.Ext(f.Name)
		if ext == ".want" {
			continue
		}
		got := problems(f.Name, f.Data, ext)
		w := want[strings.TrimSuffix(f.Name, ext)]
		if w == nil {
			t.Errorf("%s: no .want in %s; got:\n%s", f.Name, name, got)
			continue
		}
		if *update {
			w.Data = []byte(got)
		} else if d := cmp.Diff(string(w.Data), got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", f.Name, d)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func problems(name string, data []byte, ext string) string {
	var cfg any = DefaultAgent()
	kind := AgentKind
	if ext == ".aggregator" {
		cfg, kind = DefaultAggregator(), AggregatorKind
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := Bind(fs, cfg)
	first, _, _ := strings.Cut(string(data), "\n")
	if args, ok := strings.CutPrefix(first, "# flags: "); ok {
		if err := fs.Parse(strings.Fields(args)); err != nil {
			return err.Error() + "\n"
		}
	}
	if err := Load(name, data, kind, cfg, flags); err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

func TestFlagsBeatTheFile(t *testing.T) {
	cfg := DefaultAgent()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags := Bind(fs, cfg)
	if err := fs.Parse([]string{"--observe-only", "--poll-interval=2s", "--zones=1,2", "--zones", "7", "--aggregators=a:1,b:2", "--transport=tcp"}); err != nil {
		t.Fatal(err)
	}
	file := "apiVersion: weir.dev/v1alpha1\nkind: AgentConfig\nnodeName: n1\nconntrack:\n  pollInterval: 9s\n  zones: [4]\n"
	if err := Load("f", []byte(file), AgentKind, cfg, flags); err != nil {
		t.Fatal(err)
	}
	if cfg.NodeName != "n1" || !cfg.ObserveOnly || cfg.Conntrack.PollInterval != 2*time.Second {
		t.Errorf("%+v", cfg)
	}
	if d := cmp.Diff([]uint16{1, 2, 7}, cfg.Conntrack.Zones); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a:1", "b:2"}, cfg.Send.Aggregators); d != "" {
		t.Error(d)
	}
}

// TestDumpReadsBack dumps a configuration, reads it and finds nothing changed.
func TestDumpReadsBack(t *testing.T) {
	for _, c := range []struct {
		kind     string
		cfg, got any
	}{
		{AgentKind, func() any {
			a := DefaultAgent()
			a.ObserveOnly, a.Send.Aggregators, a.Send.Transport = true, []string{"x:1"}, "udp"
			a.NodeName = "0x12: true"
			return a
		}(), DefaultAgent()},
		{AggregatorKind, func() any {
			a := DefaultAggregator()
			a.Collect.TLS, a.Collect.TCP, a.API.Auth = "", "127.0.0.1:1", "none"
			s := Sink{Name: "a", Kind: "jsonl"}
			s.SetDefaults()
			s.JSONL.Path, s.Filter.Namespaces = "-", []string{"shop", "1"}
			a.Sinks = []Sink{s}
			return a
		}(), DefaultAggregator()},
	} {
		b, err := Dump(c.kind, c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := Load("dump", b, c.kind, c.got, nil); err != nil {
			t.Fatalf("%v in\n%s", err, b)
		}
		again, err := Dump(c.kind, c.got)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(b), string(again)); d != "" {
			t.Error(d)
		}
	}
}

// TestEveryKeyIsDescribed and the docs hold what the structs say.
func TestEveryKeyIsDescribed(t *testing.T) {
	for _, cfg := range []any{DefaultAgent(), DefaultAggregator()} {
		for _, k := range Keys(cfg) {
			if k.Doc == "" {
				t.Errorf("%T: %s has no doc tag", cfg, k.Path)
			}
		}
	}
	const path = "../../docs/config.md"
	if *update {
		if err := os.WriteFile(path, []byte(Docs()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Docs() {
		t.Errorf("%s is not current: run `make generate`", path)
	}
}

// TestFilterShorthand: a filter is a mapping, or its query alone.
func TestFilterShorthand(t *testing.T) {
	load := func(filter string) (*Aggregator, error) {
		cfg := DefaultAggregator()
		cfg.Collect.TLS, cfg.Collect.TCP, cfg.API.Auth = "", "127.0.0.1:1", "none"
		text := "apiVersion: weir.dev/v1alpha1\nkind: AggregatorConfig\ncollect: {tls: '', tcp: '127.0.0.1:1'}\napi: {auth: none}\nsinks:\n- name: a\n  kind: jsonl\n  jsonl: {path: /tmp/x}\n  filter: " + filter + "\n"
		return cfg, Load("f", []byte(text), AggregatorKind, cfg, nil)
	}
	for _, text := range []string{`"outcome != ok or dst.scope = external"`, `{query: "outcome != ok or dst.scope = external"}`} {
		cfg, err := load(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Sinks[0].Filter.Query; got != "outcome != ok or dst.scope = external" {
			t.Errorf("%s: %q", text, got)
		}
	}
	if _, err := load(`"outcom != ok"`); err == nil || !strings.Contains(err.Error(), `filter.query: column 1: "outcom" is no field: did you mean outcome?`) {
		t.Errorf("a wrong filter: %v", err)
	}
	if _, err := load(`"shop | stats conns"`); err == nil || !strings.Contains(err.Error(), "has no stages") {
		t.Errorf("a filter with stages: %v", err)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"aggregators", "transport", "caFile", "queue"}
	for in, want := range map[string]string{"agregators": "aggregators", "transprot": "transport", "cafile": "caFile", "que": "queue", "zzzzzz": ""} {
		if got := Nearest(in, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("apiVersion: weir.dev/v1alpha1\nkind: AggregatorConfig\nsinks: [{name: a, kind: jsonl}]\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<12 {
			t.Skip()
		}
		_ = Load("fuzz", data, AggregatorKind, DefaultAggregator(), nil)
	})
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("apiVersion: weir.dev/v1alpha1\nkind: AgentConfig\nobserveOnly: true\nsend: {transport: udp, aggregators: [a:1]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		run    bool
		status int
		want   string
	}{
		{"--config " + good, true, 0, ""},
		{"--config " + good + " --check", false, 0, "the configuration is good"},
		{"--config " + good + " --dump", false, 0, "observeOnly: true"},
		{"--config " + good + " --observe-only=false", false, 1, "this version has no datapath of its own: set observeOnly: true or --observe-only"},
		{"--config " + empty, false, 1, "the file is empty"},
		{"--config " + dir + "/absent", false, 1, "no such file"},
		{"--pol-interval 5s", false, 2, "did you mean --poll-interval?"},
		{"run", false, 2, `unexpected argument "run"`},
		{"--version", false, 0, "v1.2.3"},
		{"--help", false, 0, "--enable-accounting"},
	} {
		var out strings.Builder
		cmd := Command{Name: "weir-agent", Kind: AgentKind, Config: DefaultAgent(), Out: &out, Err: &out}
		cmd.Version.Version = "v1.2.3"
		run, status := cmd.Parse(strings.Fields(c.args))
		if run != c.run || status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: run=%v status=%d %s", c.args, run, status, out.String())
		}
	}
}
