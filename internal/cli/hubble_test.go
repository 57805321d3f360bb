package cli

import (
	"strings"
	"testing"

	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/selector"
)

func observeCommandFlags() map[string]bool {
	all := map[string]bool{}
	for _, name := range flagNames(observeCommand(&Env{}, &client{})) {
		all[name] = true
	}
	return all
}

// TestHubbleCommands: what a person brings from hubble observe, and what it stands for.
func TestHubbleCommands(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--verdict DROPPED", `outcome = "denied"`},
		{"--verdict FORWARDED --to-pod shop/payments", `(dst.ns = shop dst.pod = payments*) not outcome = "denied"`},
		{"--from-pod shop/cart --to-port 443 --protocol tcp", `(src.ns = shop src.pod = cart*) (dst.port = 443 or service.port = 443) proto = tcp`},
		{"--to-fqdn *.example.com", "dst.name = *.example.com"},
		{"--to-fqdn a.example --to-fqdn b.example", "(dst.name = a.example or dst.name = b.example)"},
		{"--namespace shop --not --verdict DROPPED", `ns = shop not outcome = "denied"`},
		{"--to-service shop/payments -6", "service = shop/payments ip = ::/0"},
		{"--from-label app=cart --node-name node-1", "src.label.app = cart (observer = node-1 or node = node-1)"},
		{"--ip 10.0.0.0/8 --workload cart", ""},
	} {
		out := printQuery(t, strings.Fields(c.args))
		if c.want == "" && out == "" || c.want != "" && canonical(t, out) != canonical(t, c.want) {
			t.Errorf("%s is %q, want %q", c.args, out, c.want)
		}
	}
}

func canonical(t *testing.T, text string) string {
	t.Helper()
	e, err := query.ParseExpr(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return strings.NewReplacer("(", "", ")", "", `"`, "").Replace(query.FormatExpr(e))
}

func printQuery(t *testing.T, args []string) string {
	t.Helper()
	var out, errs strings.Builder
	env := Env{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Now: fixedNow}
	if code := Run(t.Context(), env, append([]string{"weirctl", "observe", "--print-query"}, args...)); code != ExitOK {
		t.Fatalf("%v: status %d: %s", args, code, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// TestSelectorsAreHubbles: the selectors that hubble observe has for both ends are flags.
func TestSelectorsAreHubbles(t *testing.T) {
	flags := observeCommandFlags()
	for _, what := range []string{"pod", "namespace", "label", "ip", "port", "workload", "fqdn", "identity"} {
		for _, name := range []string{what, "from-" + what, "to-" + what} {
			if !flags[name] {
				t.Errorf("there is no --%s", name)
			}
		}
	}
	for _, k := range selector.Keys {
		if !flags[k.Name] {
			t.Errorf("there is no --%s", k.Name)
		}
	}
}
