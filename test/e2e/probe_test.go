package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/canary"
)

// get reads a page of a daemon.
func get(url string) (string, error) {
	res, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	return string(b), err
}

var failedHop = regexp.MustCompile(`(?m)^weir_verify_failed_hop\{hop="([^"]*)",node="node-1"\} 1$`)

// probed waits until the metric names that hop, or none, and gives the node's runs.
func (l *lab) probed(hop string) (n canary.NodeRuns) {
	l.t.Helper()
	began := time.Now()
	eventually(l.t, fmt.Sprintf("the metric names %q", hop), 90*time.Second, func() error {
		page, err := get(fmt.Sprintf("http://127.0.0.1:%d/metrics", l.metrics))
		if err != nil {
			return err
		}
		named := ""
		if m := failedHop.FindStringSubmatch(page); m != nil {
			named = m[1]
		}
		if named != hop || !strings.Contains(page, `weir_verify_interval_seconds{node="node-1"} 5`) {
			return fmt.Errorf("it names %q", named)
		}
		if hop == "" && !strings.Contains(page, `weir_verify_last_success_timestamp_seconds{node="node-1"} 1.`) {
			return fmt.Errorf("no run was right yet")
		}
		page, err = get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/verify", l.apiPort))
		if err != nil {
			return err
		}
		var list []canary.NodeRuns
		if err := json.Unmarshal([]byte(page), &list); err != nil || len(list) != 1 {
			return fmt.Errorf("%d nodes: %w: %s", len(list), err, page)
		}
		if n = list[0]; n.Node != "node-1" || n.Verdict == nil || n.Verdict.Broken != hop { // it was judged anew in between
			return fmt.Errorf("the API says %s", page)
		}
		return nil
	})
	l.t.Logf("%q after %s: %s", hop, time.Since(began).Round(100*time.Millisecond), n.Verdict.String())
	return n
}

// TestProbeRunsByItself: the agent's canaries, opened every few seconds, are judged by
// the aggregator; a hop that is broken is named, and no more when it is mended.
func TestProbeRunsByItself(t *testing.T) {
	l := newLab(t, options{agent: "probe: {interval: 5s, wait: 5s}\n"})
	l.startAll()
	n := l.probed("")
	if n.Runs.OK == 0 || len(n.Verdict.Canaries) != 4 || len(n.Verdict.Hops) < 13 {
		t.Errorf("%+v has %d canaries at %d hops", n.Runs, len(n.Verdict.Canaries), len(n.Verdict.Hops))
	}
	for _, s := range n.Verdict.Canaries {
		if s.Kind != canary.Refused && s.Kernel == nil {
			t.Errorf("the agent could not look at %s: %s", s.Key, s.KernelWhy)
		}
	}
	l.sysctl("nf_conntrack_events", 0)
	if n = l.probed(canary.StageConntrack); n.Runs.Failed == 0 || n.LastOKMs == 0 {
		t.Errorf("%+v, last right at %d", n.Runs, n.LastOKMs)
	}
	l.sysctl("nf_conntrack_events", 2)
	l.probed("")
}
