package interop

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/testenv"
)

type feed struct {
	conn    *net.UDPConn
	s       *ipfix.Session
	recs    []flow.Record
	forgive uint64 // gaps of the peer's own making
}

// Record keeps what was seen on the way in: OVS reports the way out as well.
func (f *feed) Record(r *flow.Record) {
	if !r.Has.Has(flow.FDirection) || r.Direction == 0 {
		f.recs = append(f.recs, *r)
	}
}

func (f *feed) Ledger(*ipfix.LedgerRow) {}
func (f *feed) port() int               { return f.conn.LocalAddr().(*net.UDPAddr).Port }

func newFeed(t *testing.T) *feed {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &feed{conn: conn, s: ipfix.NewSession(ipfix.SessionOptions{})}
}

// until decodes datagrams until done says so or the time is over.
func (f *feed) until(t *testing.T, d time.Duration, done func() bool) {
	t.Helper()
	buf := make([]byte, 65536)
	for deadline := time.Now().Add(d); !done() && time.Now().Before(deadline); {
		_ = f.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := f.conn.Read(buf)
		if err != nil {
			continue
		}
		if err := f.s.Decode(time.Now().UnixMilli(), buf[:n], f); err != nil {
			t.Errorf("%v in %s", err, hex.EncodeToString(buf[:n]))
		}
	}
	f.s.Stats.SequenceLost -= min(f.s.Stats.SequenceLost, f.forgive)
	if st := f.s.Stats; st.SequenceLost+st.SequenceReset+st.SequenceLate+st.Malformed()+st.TemplatesRefused != 0 {
		t.Errorf("the session counted %+v", st)
	}
}

const (
	peerPackets = 7
	peerPayload = 100
)

// peerFrames are packets of three UDP flows.
func peerFrames() [][]byte {
	var out [][]byte
	for range peerPackets {
		for f := range uint16(3) {
			out = append(out, ipv4Frame(17, netip.MustParseAddr("10.3.0.1"), netip.MustParseAddr("10.3.0.2"), l4(1000+f, 53, 17, make([]byte, peerPayload))))
		}
	}
	return out
}

// checkPeer adds up what was read of the three flows.
func (f *feed) checkPeer(t *testing.T) {
	t.Helper()
	type sum struct{ packets, bytes uint64 }
	got := map[uint16]sum{}
	for _, r := range f.recs {
		if r.Proto != 17 || r.DstPort != 53 || r.SrcIP != netip.MustParseAddr("10.3.0.1") || r.DstIP != netip.MustParseAddr("10.3.0.2") {
			continue
		}
		s := got[r.SrcPort]
		got[r.SrcPort] = sum{s.packets + r.PacketsDelta, s.bytes + r.BytesDelta}
	}
	for p := range uint16(3) {
		if want := (sum{peerPackets, peerPackets * (20 + 8 + peerPayload)}); got[1000+p] != want {
			t.Errorf("port %d: %+v, want %+v", 1000+p, got[1000+p], want)
		}
	}
}

func (f *feed) seen(n uint64) func() bool {
	return func() bool {
		var p uint64
		for _, r := range f.recs {
			if r.DstPort == 53 {
				p += r.PacketsDelta
			}
		}
		return p >= n
	}
}

func TestSoftflowdFeedsOurs(t *testing.T) {
	softflowd := testenv.NeedTool(t, "softflowd")
	f := newFeed(t)
	file := filepath.Join(t.TempDir(), "in.pcap")
	writePcap(t, file, peerFrames())
	start(t, softflowd, "-r", file, "-n", fmt.Sprintf("127.0.0.1:%d", f.port()), "-v", "10", "-A", "milli", "-d")
	f.until(t, 30*time.Second, f.seen(3*peerPackets))
	f.checkPeer(t)
	for _, r := range f.recs {
		if !r.Has.Has(flow.FStart) || r.Start < time.Now().Add(-time.Hour).UnixMilli() {
			t.Errorf("a record begins at %d", r.Start)
		}
	}
}

// TestOVSFeedsOurs runs a vswitchd of its own on the dummy datapath, whose bridge
// exports IPFIX by Open vSwitch's own code.
func TestOVSFeedsOurs(t *testing.T) {
	vswitchd, server := testenv.NeedTool(t, "ovs-vswitchd"), testenv.NeedTool(t, "ovsdb-server")
	vsctl, appctl, tool := testenv.NeedTool(t, "ovs-vsctl"), testenv.NeedTool(t, "ovs-appctl"), testenv.NeedTool(t, "ovsdb-tool")
	ofctl := testenv.NeedTool(t, "ovs-ofctl")
	f := newFeed(t)
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
	run(t, vsctl, "--db="+sock, "--timeout=20", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=dummy", "fail-mode=standalone",
		"--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy",
		"--", "add-port", "br0", "p2", "--", "set", "interface", "p2", "type=dummy",
		"--", "set", "bridge", "br0", "ipfix=@i",
		"--", "--id=@i", "create", "IPFIX", fmt.Sprintf("targets=\"127.0.0.1:%d\"", f.port()), "sampling=1", "obs_domain_id=7", "cache_active_timeout=1", "cache_max_flows=100")
	// the userspace datapath reports the ports of the packet that made the megaflow:
	// matching on the port gives each flow its own
	for p := range 3 {
		run(t, ofctl, "add-flow", "br0", fmt.Sprintf("priority=9,udp,tp_src=%d,actions=normal", 1000+p))
	}
	for _, frame := range peerFrames() {
		run(t, appctl, "-t", ctl, "netdev-dummy/receive", "p1", hex.EncodeToString(frame))
	}
	// OVS counts over all its domains: the options record of domain 0 takes a number of
	// domain 7's, against RFC 7011 section 3.1
	f.forgive = 1
	f.until(t, 30*time.Second, f.seen(3*peerPackets))
	f.checkPeer(t)
	if f.s.Domain() != 7 {
		t.Errorf("observation domain %d, want 7", f.s.Domain())
	}
}

func retry(t *testing.T, name string, args ...string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err = exec.CommandContext(ctx, name, args...).Run()
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s %v: %v", name, args, err)
}
