package probe

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/testenv"
)

// TestOpen opens real canaries of both families; the kernel counts their exact bytes.
func TestOpen(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "nft")
	testenv.NeedTool(t, "ip")
	runtime.LockOSThread() // the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("ip", "link", "set", "lo", "up")
	if _, _, err := Open(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), "--address") {
		t.Errorf("without an address: %v", err)
	}
	run("ip", "addr", "add", "10.77.0.1/32", "dev", "lo")
	run("ip", "addr", "add", "fd77::1/128", "dev", "lo", "nodad")

	sent, _, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sent {
		if s.Kernel != nil || s.Denied || s.KernelWhy == "" {
			t.Errorf("%s %s where nothing is tracked: %+v", s.Kind, s.Family, s)
		}
	}
	run("nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter")
	run("sysctl", "-qw", "net.netfilter.nf_conntrack_acct=1")
	if sent, _, err = Open(t.Context(), Options{Payload: 500}); err != nil {
		t.Fatal(err)
	}
	want := map[string]canary.Numbers{ // of UDP every byte is known
		"udp v4": {Packets: 1, Bytes: 528, RevPackets: 1, RevBytes: 528}, "udp v6": {Packets: 1, Bytes: 548, RevPackets: 1, RevBytes: 548},
		"unanswered v4": {Packets: 1, Bytes: 528}, "unanswered v6": {Packets: 1, Bytes: 548},
	}
	if len(sent) != 8 {
		t.Fatalf("%d canaries, want 8", len(sent))
	}
	for _, s := range sent {
		name := fmt.Sprintf("%s %s", s.Kind, s.Family)
		switch n, ok := want[name]; {
		case s.Kind == canary.Refused:
			if s.Kernel != nil {
				t.Errorf("%s: the entry of a refused connection lives: %+v", name, s)
			}
		case s.Kernel == nil:
			t.Errorf("%s: %s", name, s.KernelWhy)
		case ok && *s.Kernel != n:
			t.Errorf("%s: %s, want %s", name, s.Kernel, n)
		case s.Kind == canary.TCP && (!s.Ended || s.Kernel.Bytes < 500+4*40 || s.Kernel.RevBytes < 500+3*40):
			t.Errorf("%s: %s", name, s.Kernel)
		}
	}
}
