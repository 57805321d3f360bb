package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/sinks/ipfix"
)

const childEnv = "WEIR_AGGREGATOR_CONFIG"

// TestMain is the binary itself in the process that a test starts.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Args = []string{"weir-aggregator", "--config", path}
		main()
		return
	}
	os.Exit(m.Run())
}

// countConnections listens, counts connections and swallows what comes.
func countConnections(t *testing.T) (addr string, conns, got *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	conns, got = &atomic.Int64{}, &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					got.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), conns, got
}

func port(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// scraped is the value of a series at an address; empty if there is none.
func scraped(addr, series string) string {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestBinaryReloads: the binary takes up a changed file on SIGHUP and by itself; a sink that
// is as it was keeps its connection; a wrong file is refused with its place, and all that
// ran goes on.
func TestBinaryReloads(t *testing.T) {
	dir := t.TempDir()
	listen, metrics := port(t), port(t)
	kept, conns, got := countConnections(t)
	path := filepath.Join(dir, "config.yaml")
	write := func(sinks string) {
		t.Helper()
		text := fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %s/data
collect: {tls: "", tcp: %q}
correlate: {activeTimeout: 1s, inactiveTimeout: 2s, halfTimeout: 1s}
history: {enabled: false}
api: {listen: ""}
metrics: {listen: %q}
sinks:
- {name: kept, kind: ipfix, ipfix: {address: %q, transport: tcp, template: weir}, spool: {batchAge: 50ms}}
%s`, dir, listen, metrics, kept, sinks)
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	jsonl := func(name, filter string) string {
		return fmt.Sprintf("- {name: file, kind: jsonl, filter: %q, jsonl: {path: %s/%s.jsonl}, spool: {batchAge: 50ms}}\n", filter, dir, name)
	}
	write(jsonl("first", ""))

	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	metric := func(name string) string { return scraped(metrics, name) }
	eventually(t, "the binary answers", func() bool { return metric("weir_config_refused") == "0" })

	feed := newFeed(t, listen)
	has := func(name string, n int) func() bool {
		return func() bool {
			b, err := os.ReadFile(filepath.Join(dir, name+".jsonl"))
			return err == nil && bytes.Count(b, []byte("\n")) >= n
		}
	}
	feed(100)
	eventually(t, "100 records in the first file", has("first", 100))

	write(jsonl("second", "dst.port = 443"))
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change is taken up", func() bool { return metric("weir_config_reloads_done_total") == "1" })
	feed(100)
	eventually(t, "100 records in the second file", has("second", 100))

	before := got.Load()
	write(strings.Replace(jsonl("third", ""), "jsonl, filter", "jsnl, filter", 1)) // and nobody says so
	eventually(t, "the wrong file is refused", func() bool { return metric("weir_config_refused") == "1" })
	feed(100)
	eventually(t, "what ran goes on", has("second", 200))
	eventually(t, "the kept sink goes on", func() bool { return got.Load() > before })

	write("") // mended: the file sink goes
	eventually(t, "the mended file is taken up by itself", func() bool { return metric("weir_config_refused") == "0" })
	if v := metric(`weir_sink_info{sink="file"}`); v != "" {
		t.Errorf("the sink that went still has metrics: %q", v)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("the sink that was as it was has connected %d times", n)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if !has("first", 100)() || has("first", 101)() || has("second", 201)() {
		t.Error("records went to a file that was no longer theirs")
	}
	for _, part := range []string{`configuration taken up`, `"changed":"file"`, `"removed":"file"`, `config.yaml:11: sinks[1].kind: \"jsnl\" is unknown`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %s:\n%s", part, log.String())
		}
	}
}

// newFeed sends records of new connections out of the cluster, as an agent does.
func newFeed(t *testing.T, addr string) func(n int) {
	t.Helper()
	c := ipfix.DefaultConfig()
	c.Name, c.Address, c.Protocol, c.Template = "agent", addr, "tcp", "weir"
	s, err := ipfix.New(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	next := uint64(0)
	return func(n int) {
		t.Helper()
		recs := make([]flow.Record, n)
		for i := range recs {
			r := flowtest.Sample(next)
			external(&r, next, time.Now())
			recs[i] = r
			next++
		}
		if err := s.Write(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
	}
}
