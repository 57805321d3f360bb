package aggregator

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"

	"github.com/weirnet/weir/internal/testenv"
)

// benchGoflow2 runs the peer's own pipeline: decode, produce, marshal to its
// binary protobuf (its cheapest format), to a null sink. It joins nothing.
func benchGoflow2(b *testing.B, template []byte, data [][]byte, records int) {
	b.Helper()
	cfg, err := (&protoproducer.ProducerConfig{}).Compile()
	if err != nil {
		b.Fatal(err)
	}
	prod, err := protoproducer.CreateProtoProducer(cfg, protoproducer.CreateSamplingSystem)
	if err != nil {
		b.Fatal(err)
	}
	templates := netflow.CreateTemplateSystem()
	args := &producer.ProduceArgs{
		Src: netip.MustParseAddrPort("192.0.2.1:4739"), Dst: netip.MustParseAddrPort("192.0.2.2:4739"),
		SamplerAddress: netip.MustParseAddr("192.0.2.1"), TimeReceived: time.UnixMilli(1_700_000_000_000),
	}
	pipe := func(m []byte) (n int) {
		var v9 netflow.NFv9Packet
		var p netflow.IPFIXPacket
		if err := netflow.DecodeMessageVersion(bytes.NewBuffer(m), templates, &v9, &p); err != nil {
			b.Fatal(err)
		}
		set, err := prod.Produce(&p, args)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range set {
			if _, err := f.(interface{ MarshalBinary() ([]byte, error) }).MarshalBinary(); err != nil {
				b.Fatal(err)
			}
		}
		prod.Commit(set)
		return len(set)
	}
	pipe(template)
	before := cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, m := range data {
			n += pipe(m)
		}
		if n != records {
			b.Fatalf("%d of %d records", n, records)
		}
	}
	n := float64(b.N) * float64(records)
	used := cpu(b) - before
	b.ReportMetric(n/used.Seconds(), "records/s")
	b.ReportMetric(float64(used.Nanoseconds())/n, "cpu-ns/record")
}

// nfacctdPasses is how often the peer reads the messages: what may wait between
// its two processes (plugin_pipe_size) holds them all, so that nothing is dropped.
const nfacctdPasses = 8

// nfacctdKey is what the peer keeps its connections apart by. It is the tuple alone:
// its custom primitives (aggregate_primitives) leave Antrea's names, which are
// enterprise elements of variable length, empty.
const nfacctdKey = "src_host, dst_host, src_port, dst_port, proto"

// benchNfacctd lets the peer read passes of messages as UDP packets of a capture
// file, and adds them up by tuple in its print plugin, whose output is looked at
// after the clock has stopped. The CPU is that of both its processes from the
// moment when they rest after their start until they rest again: neither its start
// nor its exit counts, as neither counts of ours. want is the number of lines that
// it must tell: it kept the connections apart.
func benchNfacctd(b *testing.B, pass func(int) [][]byte, records, want int) {
	b.Helper()
	bin := testenv.NeedTool(b, "nfacctd")
	dir := b.TempDir()
	pcap := filepath.Join(dir, "data.pcap")
	writePcap(b, pcap, pass, nfacctdPasses)
	measured := false
	for b.Loop() {
		if measured {
			continue // a run takes five seconds, most of it asleep: once is enough
		}
		measured = true
		used, lines, packets := runNfacctd(b, bin, dir, pcap)
		if n := records * nfacctdPasses; packets != n*10 || lines != want { // every record tells ten
			b.Fatalf("nfacctd counted %d packets of %d in %d lines of %d", packets, n*10, lines, want)
		}
		n := float64(records * nfacctdPasses)
		b.ReportMetric(n/used.Seconds(), "records/s")
		b.ReportMetric(float64(used.Nanoseconds())/n, "cpu-ns/record")
	}
}

func runNfacctd(b *testing.B, bin, dir, pcap string) (used time.Duration, count, packets int) {
	b.Helper()
	out, conf := filepath.Join(dir, "out.csv"), filepath.Join(dir, "nfacctd.conf")
	text := fmt.Sprintf(`daemonize: false
pcap_savefile: %s
nfacctd_disable_checks: true
plugins: print[p]
aggregate[p]: %s
print_output[p]: csv
print_output_file[p]: %s
print_refresh_time[p]: 3600
print_cache_entries[p]: 65537
plugin_buffer_size: 1048576
plugin_pipe_size: 104857600
`, pcap, nfacctdKey, out)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("timeout", "-s", "INT", "120", bin, "-f", conf)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	start := rest(b, cmd.Process.Pid, 0)
	end := rest(b, cmd.Process.Pid, start+20*time.Millisecond)
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		b.Fatalf("%v: %s", err, log.String())
	}
	txt, err := os.ReadFile(out)
	if err != nil {
		b.Fatalf("nfacctd told nothing: %v\n%s", err, log.String())
	}
	lines := strings.Split(strings.TrimSpace(string(txt)), "\n")
	col := slices.Index(strings.Split(lines[0], ","), "PACKETS")
	if col < 0 {
		b.Fatalf("nfacctd's columns are %s\n%s", lines[0], log.String())
	}
	for _, l := range lines[1:] {
		n, err := strconv.Atoi(strings.Split(l, ",")[col])
		if err != nil {
			b.Fatal(err)
		}
		packets += n
	}
	return end - start, len(lines) - 1, packets
}

// rest waits until pid and the processes below it have used more than least and
// then nothing for a while, and gives the CPU time they have used in all. It
// reads the scheduler's own count, which is exact (proc_pid_schedstat).
func rest(b *testing.B, pid int, least time.Duration) time.Duration {
	b.Helper()
	const still = 8 // times 50 ms
	last, since := time.Duration(-1), 0
	for range 600 {
		used, procs := cpuBelow(pid)
		switch {
		case procs < 3: // timeout, its core and its plugin
		case used <= least || used-last > 100*time.Microsecond:
			last, since = used, 0
		default:
			if since++; since == still {
				return used
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("nfacctd never came to rest")
	return 0
}

// cpuBelow gives the CPU time of a process and all its descendants alive.
func cpuBelow(pid int) (used time.Duration, procs int) {
	txt, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, 0
	}
	ns, err := strconv.ParseInt(strings.Fields(string(txt))[0], 10, 64)
	if err != nil {
		return 0, 0
	}
	used, procs = time.Duration(ns), 1
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for c := range strings.FieldsSeq(string(children)) {
		if child, err := strconv.Atoi(c); err == nil {
			u, n := cpuBelow(child)
			used, procs = used+u, procs+n
		}
	}
	return used, procs
}

// writePcap writes n passes of messages as Ethernet, IPv4, UDP packets.
func writePcap(b *testing.B, path string, pass func(int) [][]byte, n int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	var w bytes.Buffer
	hdr := []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1}
	for _, v := range hdr {
		w.Write(binary.LittleEndian.AppendUint32(nil, v))
	}
	seq := 0
	for i := range n {
		for _, m := range pass(i) {
			var p []byte
			p = append(p, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
			ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
			binary.BigEndian.PutUint16(ip[2:], uint16(28+len(m)))
			var sum uint32
			for i := 0; i < 20; i += 2 {
				sum += uint32(binary.BigEndian.Uint16(ip[i:]))
			}
			binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
			p = append(p, ip...)
			p = binary.BigEndian.AppendUint16(p, 40000)
			p = binary.BigEndian.AppendUint16(p, 4739)
			p = binary.BigEndian.AppendUint16(p, uint16(8+len(m)))
			p = append(append(p, 0, 0), m...)
			for _, v := range []uint32{uint32(1_700_000_000 + seq/1000), uint32(seq % 1000 * 1000), uint32(len(p)), uint32(len(p))} {
				w.Write(binary.LittleEndian.AppendUint32(nil, v))
			}
			w.Write(p)
			seq++
		}
		if _, err := w.WriteTo(f); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
