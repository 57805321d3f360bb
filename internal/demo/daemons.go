package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Where the demo's daemons listen.
const (
	collectAddr = hostV4 + ":4740" // IPFIX over mutual TLS
	apiAddr     = "127.0.0.1:8443" // what weirctl asks by default
	metricsPort = "9641"           // of each agent, on its node's address
	aggMetrics  = "127.0.0.1:9642" // of the aggregator
	flowsFile   = runDir + "/flows.jsonl"
)

func certFile(name string) string { return filepath.Join(runDir, "certs", name) }

// binary finds a program of Weir's beside weirctl, else on PATH.
func binary(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if beside := filepath.Join(filepath.Dir(self), name); isFile(beside) {
		return beside, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside %s nor on PATH: run `make build`", name, self)
	}
	return path, nil
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

// writeConfig writes a daemon's configuration and gives its path.
func writeConfig(name string, v map[string]any) (string, error) {
	raw, err := yaml.Marshal(v)
	if err != nil {
		return "", err
	}
	path := filepath.Join(runDir, name+".yaml")
	return path, os.WriteFile(path, raw, 0o644)
}

// aggregatorConfig has timeouts short enough for a person who waits.
func aggregatorConfig() map[string]any {
	return map[string]any{
		"apiVersion": "weir.dev/v1alpha1", "kind": "AggregatorConfig",
		"dataDir": runDir + "/data",
		"collect": map[string]any{
			"tls": collectAddr, "certFile": certFile("aggregator.crt"), "keyFile": certFile("aggregator.key"), "clientCAFile": certFile("ca.crt"),
		},
		"correlate": map[string]any{"activeTimeout": "5s", "inactiveTimeout": "30s", "halfTimeout": "8s"},
		"sinks": []any{map[string]any{
			"name": "file", "kind": "jsonl",
			"spool": map[string]any{"maxBytes": 64 << 20, "batchAge": "200ms"},
			"jsonl": map[string]any{"path": flowsFile, "maxBytes": 64 << 20, "keep": 1},
		}},
		"cluster": map[string]any{"source": "manifests", "manifests": runDir + "/manifests"},
		"api":     map[string]any{"listen": apiAddr, "auth": "none"},
		"metrics": map[string]any{"listen": aggMetrics},
	}
}

func agentConfig(w *world, n *node) map[string]any {
	// The pods of both nodes are namespaces of this one machine: an agent reads its own.
	spaces := []string{filepath.Join(netnsDir, prefix+n.name)}
	for i := range w.pods {
		if w.pods[i].node == n.name && !w.pods[i].host {
			spaces = append(spaces, filepath.Join(netnsDir, prefix+w.pods[i].name))
		}
	}
	if n.name == w.pod(oldPayments).node { // the rollout stays on its node
		spaces = append(spaces, filepath.Join(netnsDir, prefix+newPayments))
	}
	return map[string]any{
		"apiVersion": "weir.dev/v1alpha1", "kind": "AgentConfig",
		"nodeName": n.name, "observeOnly": true,
		"conntrack": map[string]any{"pollInterval": "2s"},
		"dns":       map[string]any{"enabled": true},
		"icmp":      map[string]any{"enabled": true},
		"resets":    map[string]any{"enabled": true},
		"sockets":   map[string]any{"enabled": true, "interval": "1s", "netns": spaces},
		"nflog":     map[string]any{"enabled": true, "prefixes": []any{map[string]any{"group": logGroup, "prefix": logPrefix}}},
		"names":     map[string]any{"source": "manifests", "manifests": runDir + "/manifests", "cidrs": runDir + "/names.txt"},
		"send": map[string]any{
			"aggregators": []string{collectAddr}, "transport": "tls", "serverName": "weir-aggregator",
			"caFile": certFile("ca.crt"), "certFile": certFile(n.name + ".crt"), "keyFile": certFile(n.name + ".key"),
		},
		"metrics": map[string]any{"listen": net.JoinHostPort(n.addrs[0].String(), metricsPort)},
	}
}

// startDaemons starts the aggregator here and one agent a node, and waits until
// each answers.
func startDaemons(ctx context.Context, w *world, e engine) error {
	agg, err := binary("weir-aggregator")
	if err != nil {
		return err
	}
	agent, err := binary("weir-agent")
	if err != nil {
		return err
	}
	// Another program on these ports would answer in the aggregator's place.
	for _, addr := range []string{apiAddr, aggMetrics} {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return fmt.Errorf("something listens on %s already: stop it and run the demo again", addr)
		}
	}
	if err := os.WriteFile(runDir+"/names.txt", []byte("203.0.113.0/24 payments.example\n2001:db8:f00::/64 payments.example\n"), 0o644); err != nil {
		return err
	}
	cfg := aggregatorConfig()
	if sink, err := e.start(ctx); err != nil {
		return err
	} else if sink != nil {
		cfg["sinks"] = append(cfg["sinks"].([]any), sink)
	}
	config, err := writeConfig("aggregator", cfg)
	if err != nil {
		return err
	}
	if err := start(process{name: "aggregator", path: agg, args: []string{"--config", config}}); err != nil {
		return err
	}
	if err := answers(ctx, "aggregator", collectAddr, apiAddr); err != nil {
		return err
	}
	for i := range w.nodes {
		n := &w.nodes[i]
		config, err := writeConfig(n.name, agentConfig(w, n))
		if err != nil {
			return err
		}
		if err := start(process{name: "agent-" + n.name, space: prefix + n.name, path: agent, args: []string{"--observe-only", "--config", config}}); err != nil {
			return err
		}
	}
	for i := range w.nodes {
		n := &w.nodes[i]
		if err := answers(ctx, "agent-"+n.name, net.JoinHostPort(n.addrs[0].String(), metricsPort)); err != nil {
			return err
		}
	}
	return nil
}

// answers waits until every address accepts connections, or shows the log.
func answers(ctx context.Context, name string, addrs ...string) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, addr := range addrs {
		for {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				c.Close()
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not answer on %s: %w\n%s", name, addr, err, logTail(name))
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

// logTail is the end of a process's log.
func logTail(name string) string {
	raw, err := os.ReadFile(filepath.Join(runDir, "log", name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// stopProcesses ends the demo's processes whose command line has the word, in
// good order, and kills them after wait.
func stopProcesses(word string, wait time.Duration) error {
	pids, err := processes()
	if err != nil {
		return err
	}
	var some []int
	var errs []error
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		if strings.Contains(strings.ReplaceAll(string(raw), "\x00", " "), word) {
			some = append(some, pid)
		}
	}
	end(some, wait)
	return errors.Join(errs...)
}
