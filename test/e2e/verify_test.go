package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/testenv"
)

// verify runs weirctl verify in the lab and gives its verdict and all that it said.
func (l *lab) verify(wait string) (canary.Verdict, string) {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(built, "weirctl"), "verify", "-o", "json", "--wait", wait, "--netns", "/run/netns/"+l.name,
		"--agent", fmt.Sprintf("127.0.0.1:%d", l.agentMetrics), "--server", fmt.Sprintf("127.0.0.1:%d", l.apiPort))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	var v canary.Verdict
	if e := json.Unmarshal(out, &v); e != nil {
		l.t.Fatalf("weirctl verify: %v, %v\n%s%s", err, e, out, errs.String())
	}
	if (err != nil) != (v.Broken != "") {
		l.t.Errorf("broken at %q, and the exit status says %v", v.Broken, err)
	}
	return v, string(out) + errs.String()
}

// names wants the hop named within ten seconds, with the reason. A loaded machine may not
// bring the canaries to a late hop in time, so it is tried again.
func (l *lab) names(hop, why string) {
	l.t.Helper()
	var v canary.Verdict
	var out string
	for range 3 {
		began := time.Now()
		v, out = l.verify("6s")
		took := time.Since(began)
		l.t.Logf("%s (%s)", v.String(), took.Round(100*time.Millisecond))
		if v.Broken == hop && strings.Contains(v.Why, why) && took < 10*time.Second {
			if v.Remedy == "" {
				l.t.Errorf("broken at %s without a remedy", hop)
			}
			return
		}
	}
	l.t.Errorf("broken at %q (%s), want %s with %q within 10 s\n%s", v.Broken, v.Why, hop, why, out)
}

// well wants every hop to have booked every canary.
func (l *lab) well() canary.Verdict {
	l.t.Helper()
	began := time.Now()
	v, out := l.verify("90s")
	l.t.Logf("%s (%s)", v.String(), time.Since(began).Round(100*time.Millisecond))
	if v.Broken != "" {
		l.t.Fatalf("%s\n%s", v.String(), out)
	}
	return v
}

// marked wants the canaries in the sink's file, and marked as what they are.
func (l *lab) marked(v canary.Verdict) {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.dir, "flows.jsonl"))
	if err != nil {
		l.t.Fatal(err)
	}
	found := map[string]bool{}
	for line := range bytes.Lines(b) {
		var r flow.Record
		if err := flow.ParseJSON(bytes.TrimSpace(line), &r); err != nil {
			l.t.Fatal(err)
		}
		if r.Canary != canary.IsRecord(&r) {
			l.t.Errorf("canary is %v in %s", r.Canary, line)
		}
		found[canary.Key(r.Proto, netip.AddrPortFrom(r.SrcIP, r.SrcPort), netip.AddrPortFrom(r.DstIP, r.DstPort))] = true
	}
	for _, s := range v.Canaries {
		if !found[s.Key] {
			l.t.Errorf("%s is not in the sink's file", s.Key)
		}
	}
}

func (l *lab) sysctl(name string, value int) {
	l.exec("", "sysctl", "-qw", fmt.Sprintf("net.netfilter.%s=%d", name, value))
}

// restart starts the agent again with a change of its configuration.
func (l *lab) restart(from, to string) {
	l.t.Helper()
	l.agent.stop()
	l.agent.configure(from, to)
	l.agent.start()
}

// configure changes the configuration of a daemon that is to be started.
func (l *proc) configure(from, to string) {
	l.t.Helper()
	file := l.args[1]
	b, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	changed := strings.Replace(string(b), from, to, 1)
	if from != to && changed == string(b) {
		l.t.Fatalf("%s is not in the configuration:\n%s", from, b)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// TestVerify breaks each hop on purpose; weirctl verify names it, and says that all is
// well before and after.
func TestVerify(t *testing.T) {
	small := t.TempDir()
	l := newLab(t, options{sinks: fmt.Sprintf(`- name: small
  kind: jsonl
  spool: {batchAge: 100ms, fsyncEvery: 50ms, retryMin: 100ms, retryMax: 500ms}
  jsonl: {path: %s/disk/flows.jsonl, maxBytes: 1000000000}
`, small)})
	disk := filepath.Join(small, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	l.must("mount", "-t", "tmpfs", "-o", "size=256k", "weir-e2e", disk)
	t.Cleanup(func() { l.must("umount", "-l", disk) })
	l.startAll()
	v := l.well()
	if len(v.Canaries) != 4 || len(v.Hops) < 14 { // two sinks here, and what the aggregator has of its own
		t.Errorf("%d canaries at %d hops, want 4 at 14 or more", len(v.Canaries), len(v.Hops))
	}

	l.marked(v)
	l.breakKernel()
	l.breakReading()
	l.breakSending()
	l.breakAgent()
	l.breakAfter(disk)
}

// breakKernel: what the kernel does not count or track, no hop can book.
func (l *lab) breakKernel() {
	l.sysctl("nf_conntrack_acct", 0)
	l.names(canary.HopKernel, "counts no bytes")
	l.sysctl("nf_conntrack_acct", 1)
	l.exec("", "nft", "delete", "table", "inet", "weir_e2e")
	l.names(canary.HopKernel, "does not track it")
	l.exec(rules, "nft", "-f", "-")
}

// breakReading: the kernel tells no ends, so what dies between two reads is not seen;
// the agent is stalled; it reads another zone.
func (l *lab) breakReading() {
	l.sysctl("nf_conntrack_events", 0)
	l.names(canary.StageConntrack, "the agent did not see it")
	l.sysctl("nf_conntrack_events", 2)
	l.well()
	_ = l.agent.cmd.Process.Signal(syscall.SIGSTOP) // if it did not stop, the hop is not named
	l.names(canary.HopAgent, "it is stopped, or stalled")
	_ = l.agent.cmd.Process.Signal(syscall.SIGCONT)
	l.restart("conntrack: {", "conntrack: {zones: [77], ")
	l.waitReady(l.agentMetrics)
	l.names(canary.StageConntrack, "the agent did not see it")
	l.restart("zones: [77], ", "")
	l.waitReady(l.agentMetrics)
}

// breakSending: nobody listens where the agent sends; then the aggregator does not any
// more where it should.
func (l *lab) breakSending() {
	right := fmt.Sprintf("\"127.0.0.1:%d\"", l.collect)
	other := fmt.Sprintf("\"127.0.0.1:%d\"", freePort(l.t))
	l.restart(right, other)
	l.names(canary.HopWire, "no session with an aggregator")
	l.agent.kill() // it would wait for the aggregator
	l.agent.configure(other, right)
	l.agent.start()
	l.waitReady(l.agentMetrics)
	l.agg.stop()
	l.agg.configure("tcp: "+right, "tcp: "+other)
	l.agg.start()
	l.waitReady(l.metrics)
	l.names(canary.HopWire, "no session with an aggregator")
	l.agg.stop()
	l.agg.configure("tcp: "+other, "tcp: "+right)
	l.agg.start()
	l.waitReady(l.metrics)
	l.well()
}

// breakAgent: without CAP_NET_ADMIN the agent ends; then its clock is wrong.
func (l *lab) breakAgent() {
	l.t.Helper()
	l.agent.stop()
	path, args := l.agent.path, l.agent.args
	l.agent.path, l.agent.args = testenv.NeedTool(l.t, "setpriv"), append([]string{"--bounding-set", "-net_admin", "--inh-caps", "-net_admin", path}, args...)
	l.agent.start()
	if err := <-l.agent.done; err == nil || !strings.Contains(tail(l.agent.log), "CAP_NET_ADMIN") {
		l.t.Errorf("the agent ran without CAP_NET_ADMIN: %v\n%s", err, tail(l.agent.log))
	}
	l.names(canary.HopAgent, "connection refused")
	l.agent.path, l.agent.args = wrongClock(l.t, "weir-agent", "return start.UnixMilli() +", "return 3600_000 + start.UnixMilli() +", "exporter/exporter.go"), args
	l.agent.start()
	l.waitReady(l.agentMetrics)
	l.names(canary.HopAgentClock, "+3600")
	l.agent.stop()
	l.agent.path = path
	l.agent.start()
	l.waitReady(l.agentMetrics)
	l.well()
}

// breakAfter: a sink's disk is full; the aggregator is down; its clock is wrong.
func (l *lab) breakAfter(disk string) {
	l.t.Helper()
	fill := filepath.Join(disk, "fill")
	if err := os.WriteFile(fill, make([]byte, 1<<20), 0o600); err == nil {
		l.t.Fatal("the disk is not small")
	}
	l.names(canary.SinkPrefix+"small", "no space left on device")
	if err := os.Remove(fill); err != nil {
		l.t.Fatal(err)
	}
	l.well()
	l.agg.kill()
	l.names(canary.HopAgg, "connection refused")
	path := l.agg.path
	l.agg.path = wrongClock(l.t, "weir-aggregator", "time.Now()", "time.Now().Add(time.Hour)", "cmd/weir-aggregator/*.go", "aggregator/*.go")
	l.agg.start()
	l.waitReady(l.metrics)
	l.names(canary.HopAggClock, "+3600")
	l.agg.kill() // with the hour that it has gone ahead
	l.agg.path = path
	l.agg.start()
	l.waitReady(l.metrics)
	l.well()
}

// wrongClock builds a daemon with a clock that is an hour ahead: where its own files read
// the clock they do otherwise. (The one of the standard library would mean to build all of it.)
func wrongClock(t testing.TB, name, from, to string, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, pattern := range files {
		list, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range list {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src := strings.ReplaceAll(string(b), from, to)
			if src == string(b) {
				continue
			}
			if file, err = filepath.Abs(file); err != nil {
				t.Fatal(err)
			}
			replace[file] = filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
			if err := os.WriteFile(replace[file], []byte(src), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(replace) == 0 {
		t.Fatalf("nothing of %q has %s", files, from)
	}
	overlay, out := filepath.Join(dir, "overlay.json"), filepath.Join(dir, name)
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", out, "./cmd/"+name)
	cmd.Dir = "../.."
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a %s with a wrong clock: %v\n%s", name, err, msg)
	}
	return out
}
