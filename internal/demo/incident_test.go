package demo

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/cluster"
)

// TestQuestionsAreQueries: what the demo prints can be typed. That it answers, the demo
// itself checks.
func TestQuestionsAreQueries(t *testing.T) {
	text := regexp.MustCompile(`^weirctl (?:query|observe) '([^']+)'$`)
	list := append(breakages("weirctl"), questions("weirctl", time.Unix(1_800_000_030, 0))...)
	if len(list) != 8 {
		t.Errorf("%d commands, want 3 and 5", len(list))
	}
	for _, q := range list {
		if m := text.FindStringSubmatch(q.command); m != nil {
			if _, err := query.Parse(m[1]); err != nil {
				t.Errorf("%s: %s: %v", q.text, q.command, err)
			}
		} else if !regexp.MustCompile("^weirctl (why|get changes|simulate) ").MatchString(q.command) {
			t.Errorf("%s: %s is no command that this test knows", q.text, q.command)
		}
		if len(q.want) == 0 {
			t.Errorf("%s: nothing is wanted of the answer", q.text)
		}
	}
}

func TestAnswered(t *testing.T) {
	a := asked{question: question{want: []string{"a+", "b"}}}
	for last, want := range map[string]bool{"": false, "aa": false, "b\naa": true} {
		if a.last = last; a.answered() != want {
			t.Errorf("%q answers: %v", last, !want)
		}
	}
	var out bytes.Buffer
	a.text, a.command, a.last = "why?", "weirctl query", "nothing"
	if n := printAsked(&out, []asked{a, {took: time.Second}}); n != 1 || !strings.Contains(out.String(), "why?  <-- no answer") {
		t.Errorf("%d faults:\n%s", n, out.String())
	}
}

// TestIncidentIsChecked takes one fact of a good incident away at a time.
func TestIncidentIsChecked(t *testing.T) {
	rollout := cluster.Change{Kind: cluster.ChangeRollout, Object: "Deployment/payments", What: "rolled out"}
	edit := cluster.Change{Kind: cluster.ChangePolicy, Object: "NetworkPolicy/cache-access", What: "changed"}
	lost := seenConn{shape: "tcp-short", outcome: "ok", seenBy: flow.SeenByBoth, after: true, link: linkOf(lossyNode, "node-a"), packets: 100, lost: 3}
	early, lossy, single := lost, lost, lost
	early.after, lossy.shape, single.seenBy = false, "tcp-lossy", flow.SeenBySource
	for _, c := range []struct {
		name    string
		conn    seenConn
		changes []cluster.Change
		faults  int
		says    string
	}{
		{"good", lost, []cluster.Change{rollout, edit}, 0, "node-a - node-b        0 of 0, then 3 of 100"},
		{"lost before it", early, []cluster.Change{rollout, edit}, 1, "nothing is lost"},
		{"lost by the lossy shape", lossy, []cluster.Change{rollout, edit}, 1, "nothing is lost"},
		{"seen at one end", single, []cluster.Change{rollout, edit}, 1, "nothing is lost"},
		{"no rollout", lost, []cluster.Change{edit}, 1, "rollout Deployment/payments  <-- booked 0 times"},
		{"policy twice", lost, []cluster.Change{rollout, edit, edit}, 1, "<-- booked 2 times"},
	} {
		tl := newTally()
		tl.conns["1"] = c.conn
		var out bytes.Buffer
		if n := tl.printIncident(&out, &api.Changes{Changes: c.changes}); n != c.faults || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %d faults, want %d with %q:\n%s", c.name, n, c.faults, c.says, out.String())
		}
	}
}

// TestPoliciesAreEnforced: what the rules let in follows the manifests.
func TestPoliciesAreEnforced(t *testing.T) {
	for staged, want := range map[bool]string{
		false: "ip saddr { 10.77.13.13, 10.77.11.10, 10.77.11.11, 10.77.12.10, 10.77.13.10, 10.77.11.12 } tcp dport 6379 accept",
		true:  "ip saddr { 10.77.11.10 } tcp dport 6379 accept",
	} {
		w, err := readWorld(staged)
		if err != nil {
			t.Fatal(err)
		}
		rules := nodeRules(w, &w.nodes[2])
		for _, line := range []string{want, `ip daddr { 10.77.13.12 } log group 5 prefix "DENY:data/cache-access" drop`} {
			if !strings.Contains(rules, line) {
				t.Errorf("staged %v: no %q in\n%s", staged, line, rules)
			}
		}
		if strings.Contains(nodeRules(w, &w.nodes[0]), "6379") {
			t.Error("a node enforces what is another's")
		}
	}
}
