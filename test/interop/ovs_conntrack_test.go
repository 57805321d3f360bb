package interop

import (
	"encoding/hex"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/testenv"
)

// TestOVSUserspaceConntrack commits connections in a zone of a real vswitchd and reads
// them through its control socket.
func TestOVSUserspaceConntrack(t *testing.T) {
	vswitchd, server := testenv.NeedTool(t, "ovs-vswitchd"), testenv.NeedTool(t, "ovsdb-server")
	vsctl, appctl, tool := testenv.NeedTool(t, "ovs-vsctl"), testenv.NeedTool(t, "ovs-appctl"), testenv.NeedTool(t, "ovsdb-tool")
	ofctl := testenv.NeedTool(t, "ovs-ofctl")
	dir := t.TempDir()
	t.Setenv("OVS_RUNDIR", dir)
	t.Setenv("OVS_LOGDIR", dir)
	t.Setenv("OVS_DBDIR", dir)
	db, sock := filepath.Join(dir, "conf.db"), "unix:"+filepath.Join(dir, "db.sock")
	run(t, tool, "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	start(t, server, db, "--remote=p"+sock, "--unixctl="+filepath.Join(dir, "s.ctl"), "--no-chdir")
	retry(t, vsctl, "--db="+sock, "--no-wait", "init")
	ctl := filepath.Join(dir, "v.ctl")
	start(t, vswitchd, sock, "--enable-dummy=override", "--disable-system", "--disable-system-route", "--unixctl="+ctl, "--no-chdir")
	retry(t, appctl, "-t", ctl, "version")
	run(t, vsctl, "--db="+sock, "--timeout=20", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=secure",
		"--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy",
		"--", "add-port", "br0", "p2", "--", "set", "interface", "p2", "type=dummy")
	run(t, ofctl, "add-flow", "br0", "priority=9,ip,actions=ct(commit,zone=65520,exec(set_field:0x5->ct_mark,set_field:0x700000003->ct_label)),normal")
	run(t, ofctl, "add-flow", "br0", "priority=9,ipv6,actions=ct(commit,zone=65510,nat(dst=[2001:db8::9]:8080)),normal")
	a, b := netip.MustParseAddr("10.3.0.1"), netip.MustParseAddr("10.3.0.2")
	for _, frame := range [][]byte{
		ipv4Frame(17, a, b, l4(1000, 53, 17, make([]byte, 20))),
		ipv4Frame(1, a, b, []byte{8, 0, 0xf7, 0xf7, 0, 7, 0, 1}), // echo request, id 7
	} {
		run(t, appctl, "-t", ctl, "netdev-dummy/receive", "p1", hex.EncodeToString(frame))
	}
	o, err := conntrack.NewOVS(ctl, conntrack.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint8]track.Conn{}
	for deadline := time.Now().Add(10 * time.Second); len(got) < 2 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		st, err := o.Dump(t.Context(), func(c *track.Conn) { got[c.Orig.Proto] = *c })
		if err != nil || st.Malformed != 0 {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	udp, icmp := got[17], got[1]
	want := flow.Tuple{Src: flow.Addr16(a), Dst: flow.Addr16(b), SrcPort: 1000, DstPort: 53, Proto: 17}
	if udp.Orig != want || udp.Reply != want.Reverse() || udp.Zone != 65520 || udp.Mark != 5 || udp.Labels[0] != 3 || udp.Labels[4] != 7 || !udp.HasTimeout || udp.HasCounters || !udp.NoStatus {
		t.Errorf("udp: %+v", udp)
	}
	if icmp.Orig.SrcPort != 7 || icmp.Orig.DstPort != 8<<8 || icmp.Orig.Dst != want.Dst {
		t.Errorf("icmp: %+v", icmp)
	}
	if st, err := mustOVS(t, ctl, conntrack.Filter{Zones: []uint16{1}}).Dump(t.Context(), func(c *track.Conn) { t.Errorf("not asked for: %+v", c) }); err != nil || st.Outside != 2 {
		t.Errorf("filter: %+v, %v", st, err)
	}
	if _, err := conntrack.NewOVS(filepath.Join(dir, "nowhere.ctl"), conntrack.Filter{}); err == nil {
		t.Error("a socket that is not there was accepted")
	}
}

func mustOVS(t *testing.T, path string, f conntrack.Filter) *conntrack.OVS {
	t.Helper()
	o, err := conntrack.NewOVS(path, f)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
