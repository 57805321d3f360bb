package eval_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// traced says a trace as text, a line a step; '*' decides, '~' is nearest.
func traced(steps []eval.Step) string {
	words := map[eval.Result]string{eval.NotSelected: "not selected", eval.NoMatch: "no match", eval.Allow: "allow", eval.Deny: "deny", eval.Undefined: "undefined"}
	var b strings.Builder
	for _, s := range steps {
		mark := " "
		switch {
		case s.Decides:
			mark = "*"
		case s.Nearest:
			mark = "~"
		}
		rule := ""
		if s.Rule.Policy != "" {
			rule = " " + s.Rule.String()
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s %s%s %s: %s", mark, s.Direction, rule, words[s.Result], strings.Join(append(s.Missing, s.Why), "; ")), " ;:") + "\n")
	}
	return b.String()
}

func TestTrace(t *testing.T) {
	archive, err := txtar.ParseFile(filepath.Join("testdata", "trace", "steps.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	c := read(t, archive.Files[0].Data)
	for _, f := range archive.Files[1:] {
		q := strings.Fields(f.Name)
		p := &eval.Packet{Src: c.side(t, q[0]), Dst: c.side(t, q[2]), Proto: cluster.ProtoTCP, Port: 6379}
		if d := cmp.Diff(strings.Split(string(f.Data), "\n"), strings.Split(traced(eval.Trace(c.policies[p.Src.Namespace], c.policies[p.Dst.Namespace], p)), "\n")); d != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, d)
		}
	}
}

// agree holds the deciding steps of a trace against the decision.
func agree(d *eval.Decision, steps []eval.Step) error {
	for _, f := range []*eval.Finding{&d.Egress, &d.Ingress} {
		var deciding, nearest []eval.Step
		for _, s := range steps {
			if s.Direction != f.Direction {
				continue
			}
			if s.Decides {
				deciding = append(deciding, s)
			}
			if s.Nearest {
				nearest = append(nearest, s)
			}
			if s.Result == eval.Allow && s.Rule.Rule >= 0 && f.Verdict != flow.PolicyEvalAllowed {
				return fmt.Errorf("%s: %s allows, and the decision is %s", f.Direction, s.Rule, word(f.Verdict))
			}
		}
		want := map[flow.PolicyEval]eval.Result{
			flow.PolicyEvalUnprotected: eval.Allow, flow.PolicyEvalAllowed: eval.Allow, flow.PolicyEvalDenied: eval.Deny, flow.PolicyEvalUndefined: eval.Undefined,
		}[f.Verdict]
		none := f.Verdict == flow.PolicyEvalUnprotected && len(deciding) == 0 // an end that policies leave alone
		if !none && (len(deciding) != 1 || deciding[0].Result != want) {
			return fmt.Errorf("%s is %s, and these decide: %+v", f.Direction, word(f.Verdict), deciding)
		}
		if (f.Near != nil) != (len(nearest) == 1) || len(nearest) == 1 && nearest[0].Rule != f.Near.Rule {
			return fmt.Errorf("%s: nearest %+v, of the decision %+v", f.Direction, nearest, f.Near)
		}
	}
	return nil
}
