package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weirnet/weir/internal/testenv"
)

// testAgent runs the binaries as on a node of this cluster: the agent with a
// kubeconfig of its own account beside a kernel's conntrack, and an aggregator.
func testAgent(t *testing.T, p *plane) {
	t.Helper()
	testenv.NeedRoot(t)
	bin := buildDaemons(t)
	checkConfigs(t, p, bin)
	node := newNode(t)
	ports := freePorts(t, 3)
	flows := filepath.Join(bin, "flows.jsonl")
	write(t, filepath.Join(bin, "aggregator.yaml"), fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: AggregatorConfig
dataDir: %s
collect: {tls: "", tcp: "127.0.0.1:%d"}
correlate: {halfTimeout: 1s, activeTimeout: 2s}
sinks: [{name: files, kind: jsonl, jsonl: {path: %s}}]
api: {listen: ""}
metrics: {listen: ""}
`, bin, ports[0], flows))
	daemon(t, filepath.Join(bin, "weir-aggregator"), "--config", filepath.Join(bin, "aggregator.yaml"))
	daemon(t, filepath.Join(bin, "weir-agent"), "--observe-only", "--node-name", "n1", "--netns", "/run/netns/"+node,
		"--kubeconfig", p.kubeconfig(fmt.Sprintf("127.0.0.1:%d", p.port), token(t, p)),
		"--aggregators", fmt.Sprintf("127.0.0.1:%d", ports[0]), "--transport", "tcp", "--poll-interval", "1s", "--metrics-listen", fmt.Sprintf("127.0.0.1:%d", ports[1]))

	insert(t, node, "10.244.1.9:40000", "10.96.3.3:80", "192.0.2.2:8080")
	var got map[string]any
	eventually(t, "the connection in the aggregator's file", func() bool {
		got = find(flows, "10.244.1.9")
		return got != nil
	})
	want := map[string]any{
		"src.pod": "front-7f-a", "src.ns": "shop", "src.node": "n1", "src.workload": "Deployment/front", "src.zone": "za",
		"dst.pod": "proxy-n2", "dst.node": "n2", "dst.kind": "host_pod", "dst.zone": "zb",
		"service": "shop/front:http", "service.ip": "10.96.3.3", "scope": "cross_zone", "seen_by": "src", "half": true,
	}
	have := map[string]any{}
	for k := range want {
		have[k] = got[k]
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("the record (-want +got):\n%s", d)
	}
}

// checkConfigs gives the ConfigMaps of the manifests to the binaries' own --check.
func checkConfigs(t *testing.T, p *plane, bin string) {
	t.Helper()
	for _, name := range []string{"agent", "aggregator"} {
		m, err := p.client().CoreV1().ConfigMaps("weir").Get(t.Context(), "weir-"+name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(bin, "deployed-"+name+".yaml")
		write(t, file, m.Data[name+".yaml"])
		if b, err := exec.CommandContext(t.Context(), filepath.Join(bin, "weir-"+name), "--config", file, "--check").CombinedOutput(); err != nil {
			t.Errorf("weir-%s --check of its ConfigMap: %v\n%s", name, err, b)
		}
	}
}

// buildDaemons builds agent and aggregator into a directory of the test.
func buildDaemons(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	goTool := testenv.NeedTool(t, "go")
	if b, err := exec.CommandContext(t.Context(), goTool, "build", "-o", bin, "../../cmd/weir-agent", "../../cmd/weir-aggregator").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, b)
	}
	return bin
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newNode makes a network namespace that stands for the node.
func newNode(t *testing.T) string {
	t.Helper()
	ip := testenv.NeedTool(t, "ip")
	name := fmt.Sprintf("weir-kube-%d", os.Getpid())
	if b, err := exec.CommandContext(t.Context(), ip, "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v %s", err, b)
	}
	t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", name).Run() })
	return name
}

// daemon runs a program until the end of the test; its lines are shown if that fails.
func daemon(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", filepath.Base(args[0]), err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(args[0]), out.String())
		}
	})
}

// insert puts a translated TCP connection into the node's conntrack.
func insert(t *testing.T, node, client, dialled, server string) {
	t.Helper()
	ns, err := netns.GetFromName(node)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	a, b, d := netip.MustParseAddrPort(client), netip.MustParseAddrPort(dialled), netip.MustParseAddrPort(server)
	nc, err := conntrack.Dial(&netlink.Config{NetNS: int(ns)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	f := conntrack.NewFlow(6, conntrack.StatusAssured|conntrack.StatusSeenReply|conntrack.StatusConfirmed, a.Addr(), b.Addr(), a.Port(), b.Port(), 432000, 0) // the kernel's own timeout: a packet was seen just now
	f.TupleReply.IP.SourceAddress, f.TupleReply.Proto.SourcePort = d.Addr(), d.Port()
	f.ProtoInfo.TCP = &conntrack.ProtoInfoTCP{State: 3}
	if err := nc.Create(f); err != nil {
		t.Fatal(err)
	}
}

// find gives the first record of a client in a file of JSON lines.
func find(file, src string) map[string]any {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var m map[string]any
		if json.Unmarshal(sc.Bytes(), &m) == nil && m["src.ip"] == src {
			return m
		}
	}
	return nil
}
