// Package interop holds Weir's IPFIX against programs that others wrote: nfcapd,
// nfacctd and tshark read ours, softflowd and Open vSwitch feed ours. It has tests
// only; they need the programs of test/deps.sh and no root.
package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/testenv"
)

const records = 500

// record n of the test: a 5-tuple and counters that no other has.
func record(n int, v6 bool) flow.Record {
	var r flow.Record
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}))
	r.SetDstIP(netip.AddrFrom4([4]byte{10, 2, 0, 9}))
	if v6 {
		r.SetSrcIP(netip.AddrFrom16([16]byte{0xfd, 1, 14: byte(n >> 8), 15: byte(n)}))
		r.SetDstIP(netip.AddrFrom16([16]byte{0xfd, 2, 15: 9}))
	}
	now := time.Now().UnixMilli()
	r.SetStart(now - 5000)
	r.SetEnd(now - 1000)
	r.SetEndReason(flow.EndReasonEnd)
	r.SetSrcPort(uint16(20000 + n))
	r.SetDstPort(443)
	r.SetProto(6)
	r.SetPackets(uint64(10 + n))
	r.SetBytes(uint64(100_000 + n))
	r.SetPacketsDelta(uint64(10 + n))
	r.SetBytesDelta(uint64(100_000 + n))
	return r
}

// datagrams encodes the records, half of each family, into messages of an Ethernet.
func datagrams() [][]byte {
	set := ipfix.IANA()
	enc := ipfix.NewEncoder(42, ipfix.EncoderOptions{MaxMessage: 1400})
	var out [][]byte
	take := func() { out = append(out, bytes.Clone(enc.Take(uint32(time.Now().Unix())))) }
	for _, t := range set.Templates() {
		enc.AddTemplate(t)
	}
	take()
	for n := range records {
		r := record(n, n%2 == 1)
		if !enc.Append(set.For(&r), &r) {
			take()
			enc.Append(set.For(&r), &r)
		}
	}
	take()
	return out
}

func want() map[string]bool {
	m := map[string]bool{}
	for n := range records {
		r := record(n, n%2 == 1)
		m[line(r.SrcIP.String(), r.DstIP.String(), r.SrcPort, r.DstPort, r.PacketsDelta, r.BytesDelta)] = true
	}
	return m
}

func line(words ...any) string {
	return strings.TrimSuffix(fmt.Sprintln(words...), "\n")
}

func compare(t *testing.T, peer string, got []string) {
	t.Helper()
	w := want()
	for _, g := range got {
		if !w[g] {
			t.Errorf("%s read %q, which was not sent", peer, g)
		}
		delete(w, g)
	}
	for l := range w {
		t.Errorf("%s did not read %q", peer, l)
		break
	}
	if len(got) != records {
		t.Errorf("%s read %d records, %d were sent", peer, len(got), records)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// start runs a program until the test ends and gives a function that ends it in order.
func start(t *testing.T, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // a signal is how it ends
		timer.Stop()
		if t.Failed() {
			t.Logf("%s says:\n%s", name, out.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// listening waits until someone has the UDP port.
func listening(t *testing.T, port int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		c, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return
		}
		c.Close()
	}
	t.Fatalf("nobody listens on UDP port %d", port)
}

func send(t *testing.T, port int) {
	t.Helper()
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, d := range datagrams() {
		if _, err := c.Write(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNfcapdReadsOurs(t *testing.T) {
	nfcapd, nfdump := testenv.NeedTool(t, "nfcapd"), testenv.NeedTool(t, "nfdump")
	dir, port := t.TempDir(), freePort(t)
	stop := start(t, nfcapd, "-w", dir, "-b", "127.0.0.1", "-p", fmt.Sprint(port), "-t", "3600")
	listening(t, port)
	send(t, port)
	time.Sleep(300 * time.Millisecond)
	stop()
	files, _ := filepath.Glob(filepath.Join(dir, "nfcapd.2*"))
	if len(files) == 0 {
		t.Fatal("nfcapd left no file")
	}
	if info := run(t, nfdump, "-r", files[0], "-I"); !strings.Contains(info, "Sequence failures: 0") {
		t.Errorf("nfcapd says:\n%s", info)
	}
	out := run(t, nfdump, "-6", "-q", "-N", "-r", files[0], "-o", "fmt:%sa,%da,%sp,%dp,%pkt,%byt")
	var got []string
	for l := range strings.Lines(out) {
		f := strings.Split(strings.ReplaceAll(l, " ", ""), ",")
		if len(f) == 6 {
			got = append(got, line(f[0], f[1], f[2], f[3], f[4], strings.TrimSpace(f[5])))
		}
	}
	compare(t, "nfcapd", got)
}

func TestNfacctdReadsOurs(t *testing.T) {
	nfacctd := testenv.NeedTool(t, "nfacctd")
	dir, port := t.TempDir(), freePort(t)
	conf, out, logs := filepath.Join(dir, "c"), filepath.Join(dir, "out.csv"), filepath.Join(dir, "log")
	text := fmt.Sprintf("nfacctd_ip: 127.0.0.1\nnfacctd_port: %d\nplugins: print\naggregate: src_host,dst_host,src_port,dst_port,proto\nprint_refresh_time: 2\nprint_history: 1h\nprint_output: csv\nprint_output_file: %s\nprint_output_file_append: true\nlogfile: %s\nnfacctd_disable_checks: false\n", port, out, logs)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := start(t, nfacctd, "-f", conf)
	// Its core takes messages before its plugin waits for any, and then wakes it never:
	// the first purge, of nothing, says that the plugin does.
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if b, _ := os.ReadFile(logs); bytes.Contains(b, []byte("Purging cache - END")) { // not there yet
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nfacctd's plugin does not start")
		}
	}
	send(t, port)
	var got []string
	for deadline := time.Now().Add(30 * time.Second); len(got) < records && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		b, _ := os.ReadFile(out) // not there yet
		got = got[:0]
		for l := range strings.Lines(string(b)) {
			f := strings.Split(strings.TrimSpace(l), ",")
			if len(f) >= 7 && net.ParseIP(f[0]) != nil {
				got = append(got, line(f[0], f[1], f[2], f[3], f[len(f)-2], f[len(f)-1]))
			}
		}
	}
	stop()
	compare(t, "nfacctd", got)
	if b, _ := os.ReadFile(logs); bytes.Contains(bytes.ToLower(b), []byte("expecting flow")) || bytes.Contains(b, []byte("discarded")) {
		t.Errorf("nfacctd's log:\n%s", b)
	}
}

func TestTsharkReadsOurs(t *testing.T) {
	tshark := testenv.NeedTool(t, "tshark")
	file := filepath.Join(t.TempDir(), "ours.pcap")
	var frames [][]byte
	for _, d := range datagrams() {
		frames = append(frames, udpFrame(40000, 4739, d))
	}
	writePcap(t, file, frames)
	if bad := run(t, tshark, "-n", "-r", file, "-Y", "_ws.malformed or cflow.sequence_analysis.expected_sn", "-T", "fields", "-e", "frame.number"); bad != "" {
		t.Errorf("tshark finds fault with frames %s", bad)
	}
	fields := []string{"-n", "-r", file, "-T", "fields", "-E", "aggregator=,", "-E", "occurrence=a"}
	for _, f := range []string{"cflow.srcaddr", "cflow.srcaddrv6", "cflow.dstaddr", "cflow.dstaddrv6", "cflow.srcport", "cflow.dstport", "cflow.packets", "cflow.octets"} {
		fields = append(fields, "-e", f)
	}
	got := 0
	w := map[string]bool{}
	for n := range records {
		r := record(n, n%2 == 1)
		w[fmt.Sprint(r.SrcPort, " ", r.PacketsDelta, " ", r.BytesDelta)] = true
		w[r.SrcIP.String()] = true
	}
	for l := range strings.Lines(run(t, tshark, fields...)) {
		c := strings.Split(strings.Trim(l, "\n"), "\t")
		if len(c) < 8 || c[4] == "" {
			continue
		}
		for _, a := range append(strings.Split(c[0], ","), strings.Split(c[1], ",")...) {
			if a != "" && !w[a] {
				t.Errorf("tshark reads source %q", a)
			}
		}
		ports, packets, octets := strings.Split(c[4], ","), strings.Split(c[6], ","), strings.Split(c[7], ",")
		if len(packets) != 2*len(ports) || len(octets) != len(packets) {
			t.Fatalf("tshark reads %d packet counts and %d byte counts of %d records", len(packets), len(octets), len(ports))
		}
		for i := range ports {
			// a record's reverse counters (RFC 5103) carry the same field name behind the forward ones
			if p, o := packets[2*i], octets[2*i]; !w[ports[i]+" "+p+" "+o] || packets[2*i+1] != "0" {
				t.Errorf("tshark reads port %s, %s packets, %s bytes", ports[i], p, o)
			}
			got++
		}
	}
	if got != records {
		t.Errorf("tshark read %d records, %d were sent", got, records)
	}
}

// udpFrame wraps a payload into UDP, IPv4 and Ethernet.
func udpFrame(sport, dport uint16, payload []byte) []byte {
	return ipv4Frame(17, netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2"), l4(sport, dport, 17, payload))
}

func l4(sport, dport uint16, proto byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	if proto == 17 {
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
		b = append(b, 0, 0)
	} else {
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 255, 255, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

func ipv4Frame(proto byte, src, dst netip.Addr, body []byte) []byte {
	b := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(body)))
	b = append(b, 0, 1, 0, 0, 64, proto, 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[24:], ^uint16(sum&0xffff+sum>>16))
	return append(b, body...)
}

func writePcap(t *testing.T, file string, frames [][]byte) {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, 65535)
	b = binary.LittleEndian.AppendUint32(b, 1)
	now := uint32(time.Now().Unix() - 10)
	for i, f := range frames {
		b = binary.LittleEndian.AppendUint32(b, now)
		b = binary.LittleEndian.AppendUint32(b, uint32(i))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
