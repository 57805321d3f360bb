package query

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSix are the queries that every page of the docs begins with.
func TestSix(t *testing.T) {
	for _, text := range []string{
		"",
		"checkout outcome != ok",
		"dst.workload = payments | stats conns, p95(rtt) by outcome every 1m",
		"dst.scope = external",
		"scope = external not dst.ip in (100.64.0.0/10) | stats sum(bytes) by src.workload, dst.name | top 20",
		`verdict = denied policy =~ "pci-.*" | stats conns by src.workload, dst.workload, port | sort conns desc`,
		"outcome = unanswered seen_by = src | stats conns by src.node, dst.node | top 10",
		"outcome != ok or dst.scope = external or bytes > 100MiB",
		"a (b c) or not (d or e) (f or g h)",
		`"and" "x*" x* pod = "" namespace in (a, "b c", c*)`,
		"| sort bytes desc | limit 5 | fields src.pod, port, src.label.x",
	} {
		q, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		again, err := Parse(Format(q))
		if err != nil {
			t.Errorf("%q -> %q: %v", text, Format(q), err)
			continue
		}
		if d := cmp.Diff(q, again); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
}

// TestShellWord: whatever a query holds, a shell takes it as one word and runs none of it.
func TestShellWord(t *testing.T) {
	for _, q := range []string{"", "a = b", `name = "x'; exit 3 #"`, "'", "''", "a'b'c", "$(exit 3) `exit 3` \\ \n $HOME !! *"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+ShellWord(q)).Output()
		if err != nil || string(out) != q {
			t.Errorf("%q comes to %q, %v", q, out, err)
		}
	}
}
