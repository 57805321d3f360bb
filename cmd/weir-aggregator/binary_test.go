package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
)

// startBinary starts the aggregator with a configuration, whose head it makes, and kills it
// with the test.
func startBinary(t testing.TB, config string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("apiVersion: weir.dev/v1alpha1\nkind: AggregatorConfig\ndataDir: %s/data\napi: {listen: \"\"}\n%s", dir, config)
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("log of the aggregator:\n%s", b[max(0, len(b)-8000):])
		}
	})
	return cmd
}

// readBooks gives the books of an aggregator by stage, from its metrics server.
func readBooks(t testing.TB, c *http.Client, url string) map[string]ledger.Line {
	t.Helper()
	resp, err := c.Get(url + "/debug/state")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var state struct{ Ledger []ledger.Line }
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	books := map[string]ledger.Line{}
	for _, line := range state.Ledger {
		books[line.Stage] = line
	}
	return books
}

// external makes record n of the feed of a sample: a connection out of the cluster that has
// ended, with a tuple that does not come again for 57 million records.
func external(r *flow.Record, n uint64, now time.Time) {
	r.SetID(flowtest.SampleID(n))
	r.SetConnID((n + 1) * 0x9E3779B97F4A7C15)
	r.SetDstIP(netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}))
	r.SetDstPort(443)
	r.SetDstKind(flow.EndExternal)
	r.SetScope(flow.ScopeExternal)
	r.SetFlowType(flow.FlowTypeToExternal)
	r.SetObserver("node-1")
	r.SetStart(now.UnixMilli() - 1000)
	r.SetEnd(now.UnixMilli())
	r.SetFinal(true)
	r.SetEndReason(flow.EndReasonEnd)
}
