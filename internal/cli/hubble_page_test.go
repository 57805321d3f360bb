package cli

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const hubblePage = "../../docs/hubble.md"

// pageRow is a line of a table of docs/hubble.md: what a person types there, what
// does the same here, and the condition that it asks.
type pageRow struct{ hubble, weirctl, asks string }

var tableRow = regexp.MustCompile("^\\| `(hubble [^`]*)` \\| (.*?) \\| (.*?) \\|$")

// argsOf parts a command as a shell does.
func argsOf(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-fc", `printf '%s\n' `+command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

func runHere(t *testing.T, args []string) (status int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	env := Env{Out: &o, Err: &e, Getenv: func(string) string { return "" }, Now: fixedNow}
	status = Run(t.Context(), env, append([]string{"weirctl"}, args...))
	return status, strings.TrimSpace(o.String()), strings.TrimSpace(e.String())
}

func cell(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

// observed is what the page has to say of a line of hubble observe.
func observed(t *testing.T, line string) (r pageRow) {
	t.Helper()
	r = pageRow{line, "the same", ""}
	status, out, errs := runHere(t, append(argsOf(t, strings.TrimPrefix(line, "hubble ")), "--print-query"))
	if status != ExitOK {
		_, instead, ok := strings.Cut(strings.Split(errs, "\n")[0], ": write ")
		if status != ExitUsage || !ok {
			t.Fatalf("%s: status %d, and not what to write instead: %s", line, status, errs)
		}
		r.weirctl = cell("weirctl observe " + instead)
		if !strings.HasPrefix(instead, "-") && !strings.HasPrefix(instead, "'") {
			r.weirctl = cell(instead)
		}
		command := strings.ReplaceAll(strings.Trim(r.weirctl, "`"), `\|`, "|")
		args := argsOf(t, strings.TrimPrefix(command, "weirctl "))
		if args[0] == "observe" {
			args = append(args, "--print-query")
		} else {
			args = append(args, "--help")
		}
		if status, out, errs = runHere(t, args); status != ExitOK {
			t.Errorf("%s is refused with %s, which fails: %s", line, command, errs)
		}
		if args[0] != "observe" {
			return r
		}
	}
	if out != "" {
		r.asks = cell(out)
	}
	return r
}

// TestHubblePage plays each line of docs/hubble.md: what it says is the same is taken,
// what it says is written otherwise is refused with that, and both ask what it says.
func TestHubblePage(t *testing.T) {
	b, err := os.ReadFile(hubblePage)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]int{}
	lines := strings.Split(string(b), "\n")
	rows := 0
	for i, line := range lines {
		m := tableRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rows++
		row := strings.ReplaceAll(m[1], `\|`, "|")
		args := argsOf(t, row)
		for _, a := range args {
			if name, ok := strings.CutPrefix(a, "--"); ok {
				flags[name]++
			}
		}
		if args[1] != "observe" {
			command := argsOf(t, strings.TrimPrefix(strings.Trim(m[2], "`"), "weirctl "))
			if status, out, errs := runHere(t, append(command, "--help")); status != ExitOK || !strings.Contains(out, "weirctl "+command[0]) {
				t.Errorf("line %d: %s: status %d: %s%s", i+1, m[2], status, out, errs)
			}
			continue
		}
		r := observed(t, row)
		want := fmt.Sprintf("| %s | %s | %s |", cell(row), r.weirctl, r.asks)
		if want == line {
			continue
		}
		if lines[i] = want; !*update {
			t.Errorf("line %d (-update writes it)\nis   %s\nwant %s", i+1, line, want)
		}
	}
	if rows < 60 {
		t.Errorf("only %d lines are commands of hubble", rows)
	}
	hubbleFlagsOnPage(t, flags)
	if *update {
		if err := os.WriteFile(hubblePage, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// hubbleFlagsOnPage: each selector of hubble observe, and each flag that is here for its
// sake, stands in a line.
func hubbleFlagsOnPage(t *testing.T, flags map[string]int) {
	t.Helper()
	want := []string{"last", "first", "since", "until", "follow", "not", "protocol", "node-name", "service", "output", "numeric", "color", "input-file"}
	for _, what := range []string{"pod", "namespace", "label", "ip", "port", "workload", "fqdn"} {
		want = append(want, what, "from-"+what, "to-"+what)
	}
	for _, h := range hubbleFlags {
		want = append(want, h.name)
	}
	for _, name := range want {
		if flags[name] == 0 {
			t.Errorf("docs/hubble.md has no line with --%s", name)
		}
	}
}

// TestHubbleShorthands: the letters that hubble has for its flags mean the same here.
func TestHubbleShorthands(t *testing.T) {
	shorts := map[string]string{}
	observeCommand(&Env{}, &client{}).Flags().VisitAll(func(f *pflag.Flag) { shorts[f.Shorthand] = f.Name })
	for short, name := range map[string]string{"f": "follow", "o": "output", "n": "namespace", "l": "label", "t": "type", "4": "ipv4", "6": "ipv6"} {
		if shorts[short] != name {
			t.Errorf("-%s is --%s, want --%s", short, shorts[short], name)
		}
	}
}

// TestDocsNameCommands: docs/cli.md names every command that there is.
func TestDocsNameCommands(t *testing.T) {
	b, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range newRoot(&Env{}, &client{}, "weirctl").Commands() {
		if c.Name() != "help" && !c.Hidden {
			names = append(names, c.Name())
		}
	}
	for _, name := range names {
		if !strings.Contains(string(b), "`weirctl "+name) {
			t.Errorf("docs/cli.md does not name weirctl %s", name)
		}
	}
}
