package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgentAndAggregatorKilledTogether: while connections are made, both are killed at
// once. Every entry is still in the kernel's table when their successors begin, and none is
// counted twice: the agent's memory says what was told.
func TestAgentAndAggregatorKilledTogether(t *testing.T) {
	l := newLab(t, options{})
	l.exec("", "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout_stream=120", "net.netfilter.nf_conntrack_udp_timeout=120", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=120")
	l.agent.configure("\ntrack: {", fmt.Sprintf("\ntrack: {toldFile: %s, ", filepath.Join(l.dir, "told")))
	l.startAll()
	traffic := l.background()
	traffic.wait(300)
	l.polls(3)
	var unwatched window // what the agent may not have read, or not told, when it is killed
	unwatched.from = traffic.port.Load()
	l.polls(3)
	l.agent.kill()
	l.agg.kill()
	traffic.wait(50)
	l.agg.start()
	l.agent.start()
	l.waitReady(l.metrics)
	l.waitReady(l.agentMetrics)
	unwatched.to = traffic.port.Load()
	traffic.wait(200)
	traffic.stop()
	b := l.drain()
	truth := l.truth()
	got, _, ids := l.arrived()
	_, losses := differences(b)
	missing, short, over, example := compare(truth, got)
	t.Logf("%d connections made; %d missing, %d short, %d over (%s); told losses:\n%s", len(truth), missing, short, over, example, strings.Join(losses, "\n"))
	balance(t, truth, got, lost(b), unwatched)
	for id, n := range ids {
		if n > 1 {
			t.Errorf("record %x stands in the file %d times", id, n)
		}
	}
}
