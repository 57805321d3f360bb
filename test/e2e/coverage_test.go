package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/exporter/coverage"
)

// TestCoverageTravels: what the agent finds out about its namespace is what weirctl
// finds there itself, and stands at the foot of a total.
func TestCoverageTravels(t *testing.T) {
	l := newLab(t, options{})
	l.startAll()
	server := fmt.Sprintf("127.0.0.1:%d", l.apiPort)
	ctl := func(args ...string) (string, error) {
		out, err := exec.Command(filepath.Join(built, "weirctl"), args...).CombinedOutput()
		return string(out), err
	}
	rows := func(args ...string) ([]coverage.Row, error) {
		out, err := ctl(append([]string{"check", "node", "-o", "json"}, args...)...)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
		var list []coverage.Table
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
			return nil, fmt.Errorf("%d tables: %w", len(list), err)
		}
		if list[0].Pressure == nil || list[0].Pressure.Max == 0 {
			return nil, fmt.Errorf("no pressure: %s", out)
		}
		return list[0].Rows, nil
	}
	here, err := rows("--netns", "/run/netns/"+l.name)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]coverage.Seen{"host/v4": coverage.SeenYes, "cross-node/v4": coverage.SeenYes, "host/v6": coverage.SeenAbsent}
	for _, r := range here {
		if w, ok := want[r.Class+"/"+r.Family]; ok && r.Seen != w {
			t.Errorf("%s/%s is %s (%s), want %s", r.Class, r.Family, r.Seen, r.Why, w)
		}
	}
	eventually(t, "the agent's table at the aggregator", 60*time.Second, func() error {
		there, err := rows("node-1", "--server", server)
		if err != nil {
			return err
		}
		if fmt.Sprint(there) != fmt.Sprint(here) {
			return fmt.Errorf("the aggregator has\n%v\nand here is\n%v", there, here)
		}
		out, err := ctl("ledger", "--server", server)
		if err != nil || !strings.Contains(out, "\ncoverage: 1 of 1 nodes\n") {
			return fmt.Errorf("the foot of the ledger: %w: %s", err, out)
		}
		return nil
	})
}
