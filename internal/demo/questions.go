package demo

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// answerWithin is how long after the incident each command has to show it.
const answerWithin = 15 * time.Second

// question is what a person asks, the one command that answers, and what the answer
// must have: each of want, as regular expressions.
type question struct {
	text    string
	command string // for a shell
	want    []string
}

// breakages are what the incident breaks.
func breakages(tool string) []question {
	return []question{
		{
			"payments was rolled out on a wrong port: it listens on 8080, its Service still targets 8443",
			tool + ` observe 'dst.workload = "Deployment/payments" outcome != ok'`,
			[]string{`checkout.*` + newPayments + `.*8443.*REFUSED`},
		},
		{
			"the policy data/cache-access was tightened, and the cart forgotten",
			// The policies say so at once, the rule's log 12 s later: until then the node waits
			// whether conntrack knows of the connection.
			tool + ` query 'dst.workload = "StatefulSet/cache" policy.eval = denied | stats conns by src.workload, port, policy.eval, outcome, ingress.rule'`,
			[]string{`Deployment/cart\s+6379\s+denied`},
		},
		{
			fmt.Sprintf("the link of %s to the other nodes loses %d %%", lossyNode, lossyPercent),
			tool + ` query 'node = ` + lossyNode + ` (loss.packets > 0 or loss.reverse.packets > 0) | limit 20 | fields start, src.workload, dst.workload, dst.node, loss.packets, loss.reverse.packets'`,
			[]string{`Deployment/frontend\s.*` + lossyNode},
		},
	}
}

// questions are those of a person who comes after the incident.
func questions(tool string, staged time.Time) []question {
	next := staged.Truncate(time.Minute).Add(time.Minute)
	return []question{
		{
			"why is checkout refused?",
			tool + ` why shop/checkout shop/payments:443`,
			[]string{`nobody listens on port 8443 of shop/payments: it listens on 8080`, `Deployment/payments rolled out`, `next: set targetPort of Service shop/payments`},
		},
		{
			"who talks outside?",
			tool + ` query 'dst.scope = external | stats conns, sum(bytes) by src.workload, dst.name | top 20'`,
			[]string{`Deployment/frontend\s+payments\.example`, `Deployment/cart\s+api\.example\.com`},
		},
		{
			"which edge lost packets?",
			tool + ` query 'loss.packets > 0 or loss.reverse.packets > 0 | stats conns, sum(loss.packets), sum(loss.reverse.packets) by src.node, dst.node'`,
			[]string{`node-a\s+` + lossyNode},
		},
		{
			"what changed before " + next.Format("15:04") + "?",
			tool + ` get changes --until ` + next.UTC().Format(time.RFC3339),
			[]string{`Deployment/payments.*rolled out.*port 8080`, `NetworkPolicy/cache-access.*changed`},
		},
		{
			"what would this policy break?",
			tool + ` simulate -f ` + proposedFile + ` --since 5m`,
			[]string{`denied\s+\d+\s+\S*Deployment/frontend\s+\S*Deployment/api:8080`},
		},
	}
}

// asked is how a question fared.
type asked struct {
	question
	took time.Duration // 0: not answered in time
	last string        // what the command said last
}

// ask runs every command again and again until its answer has what it must, or the
// time since the incident is over.
func ask(ctx context.Context, list []question, since time.Time) []asked {
	out := make([]asked, len(list))
	for i := range list {
		out[i].question = list[i]
	}
	for left := len(list); left > 0 && ctx.Err() == nil && time.Since(since) < answerWithin; {
		for i := range out {
			if out[i].took != 0 {
				continue
			}
			if out[i].last = shell(ctx, out[i].command); out[i].answered() {
				if out[i].took = time.Since(since); out[i].took <= answerWithin {
					left--
				} else {
					out[i].took = 0
				}
			}
		}
		pause(ctx, 500*time.Millisecond)
	}
	return out
}

func shell(ctx context.Context, command string) string {
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	text, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s(%v)", text, err)
	}
	return string(text)
}

func (a *asked) answered() bool {
	for _, w := range a.want {
		if !regexp.MustCompile(w).MatchString(a.last) {
			return false
		}
	}
	return true
}

// printAsked prints how long each took and gives the number of those without an answer.
func printAsked(out io.Writer, list []asked) (faults int) {
	fmt.Fprintln(out)
	for i := range list {
		a := &list[i]
		if a.took != 0 {
			fmt.Fprintf(out, "answered %4.1f s after the incident: %s\n", a.took.Seconds(), a.text)
			continue
		}
		faults++
		fmt.Fprintf(out, "%s  <-- no answer within %s: want %q of\n  %s\n  it said: %s\n", a.text, answerWithin, a.want, a.command, strings.TrimSpace(a.last))
	}
	return faults
}
