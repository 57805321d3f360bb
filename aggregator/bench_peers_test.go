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

// benchNfacctd lets the peer read the same messages as UDP packets of a capture
// file, so that nothing is dropped, and adds them up by the 5-tuple in its print
// plugin, which writes to /dev/null. Its start is measured apart, with the
// template alone. The CPU is that of its processes.
func benchNfacctd(b *testing.B, template []byte, data [][]byte, records int) {
	b.Helper()
	bin := testenv.NeedTool(b, "nfacctd")
	dir := b.TempDir()
	const passes = 8
	small, big := filepath.Join(dir, "template.pcap"), filepath.Join(dir, "data.pcap")
	writePcap(b, small, [][]byte{template}, 1)
	writePcap(b, big, append([][]byte{template}, data...), passes)
	measured := false
	for b.Loop() {
		if measured {
			continue // a run takes ten seconds, most of it asleep: once is enough
		}
		measured = true
		start, _ := runNfacctd(b, bin, dir, small)
		used, packets := runNfacctd(b, bin, dir, big)
		if packets != records*passes*10 { // every record tells ten
			b.Fatalf("nfacctd counted %d packets of %d", packets, records*passes*10)
		}
		n := float64(records * passes)
		b.ReportMetric(n/(used-start).Seconds(), "records/s")
		b.ReportMetric(float64((used-start).Nanoseconds())/n, "cpu-ns/record")
	}
}

func runNfacctd(b *testing.B, bin, dir, pcap string) (used time.Duration, packets int) {
	b.Helper()
	out := filepath.Join(dir, "out.csv")
	conf := filepath.Join(dir, "nfacctd.conf")
	text := fmt.Sprintf(`daemonize: false
pcap_savefile: %s
nfacctd_disable_checks: true
plugins: print[p]
aggregate[p]: src_host, dst_host, src_port, dst_port, proto
print_output[p]: csv
print_output_file[p]: %s
print_refresh_time[p]: 3600
print_cache_entries[p]: 65537
plugin_buffer_size: 1048576
plugin_pipe_size: 104857600
`, pcap, out)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("timeout", "-s", "INT", "60", bin, "-f", conf)
	log, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		b.Fatalf("%v: %s", err, log)
	}
	used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	txt, err := os.ReadFile(out)
	if err != nil {
		return used, 0 // nothing to tell, or not run: the caller knows what to expect
	}
	lines := strings.Split(strings.TrimSpace(string(txt)), "\n")
	col := slices.Index(strings.Split(lines[0], ","), "PACKETS")
	if col < 0 {
		b.Fatalf("nfacctd's columns are %s\n%s", lines[0], log)
	}
	for _, l := range lines[1:] {
		n, err := strconv.Atoi(strings.Split(l, ",")[col])
		if err != nil {
			b.Fatal(err)
		}
		packets += n
	}
	return used, packets
}

// writePcap writes messages as Ethernet, IPv4, UDP packets, n times over.
func writePcap(b *testing.B, path string, msgs [][]byte, n int) {
	b.Helper()
	var w bytes.Buffer
	hdr := []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 65535, 1}
	for _, v := range hdr {
		w.Write(binary.LittleEndian.AppendUint32(nil, v))
	}
	seq := 0
	for range n {
		for _, m := range msgs {
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
	}
	if err := os.WriteFile(path, w.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
}
