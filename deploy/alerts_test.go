package deploy

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/weirnet/weir/internal/testenv"
)

// TestAlertsNameMetrics: every metric of the alert rules is in docs/metrics.md, every
// rule says what to do, and promtool takes the file and finds that the rules fire when
// they should.
func TestAlertsNameMetrics(t *testing.T) {
	const file = "alerts/weir.yaml"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	rules := 0
	metric := regexp.MustCompile(`weir_[a-z0-9_]+`)
	for _, g := range list.Groups {
		for _, r := range g.Rules {
			rules++
			names := metric.FindAllString(r.Expr, -1)
			if r.Alert == "" || r.For == "" || r.Labels["severity"] == "" || !strings.Contains(r.Annotations["description"], "weirctl") || len(names) == 0 {
				t.Errorf("%s %s: a rule has a name, a time, a severity, a metric and says which command shows more", g.Name, r.Alert)
			}
			for _, n := range names {
				if !strings.Contains(string(docs), "`"+n+"`") {
					t.Errorf("%s: docs/metrics.md does not have %s", r.Alert, n)
				}
			}
		}
	}
	if rules == 0 {
		t.Error("no rule was found: this test looks at nothing")
	}
	promtool := testenv.NeedTool(t, "promtool")
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
	if out, err := exec.Command(promtool, "test", "rules", "testdata/alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("promtool test rules: %v\n%s", err, out)
	}
}
