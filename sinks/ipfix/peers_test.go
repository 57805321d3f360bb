package ipfix

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	goipfix "github.com/vmware/go-ipfix/pkg/collector"
	"github.com/vmware/go-ipfix/pkg/entities"
	"github.com/vmware/go-ipfix/pkg/registry"

	"github.com/weirnet/weir/internal/testenv"
)

// TestGoIPFIXReadsUs has Antrea's own library collect what this sink sends.
func TestGoIPFIXReadsUs(t *testing.T) {
	registry.LoadRegistry()
	for _, proto := range []string{"tcp", "udp"} {
		for _, tmpl := range []string{"antrea-aggregator", "antrea-proxy", "iana"} {
			t.Run(proto+"/"+tmpl, func(t *testing.T) { goIPFIX(t, proto, tmpl) })
		}
	}
}

func goIPFIX(t *testing.T, proto, tmpl string) {
	t.Helper()
	cp, err := goipfix.InitCollectingProcess(goipfix.CollectorInput{
		Address: "127.0.0.1:0", Protocol: proto, MaxBufferSize: 65535, DecodingMode: goipfix.DecodingModeLenientKeepUnknown,
	})
	if err != nil {
		t.Fatal(err)
	}
	go cp.Start()
	got := make(chan entities.Record, 1000)
	go func() {
		for m := range cp.GetMsgChan() {
			if set := m.GetSet(); set.GetSetType() == entities.Data {
				for _, r := range set.GetRecords() {
					got <- r
				}
			}
		}
	}()
	defer cp.Stop()
	waitFor(t, "the collector", func() bool { return cp.GetAddress() != nil && !strings.HasSuffix(cp.GetAddress().String(), ":0") })
	cfg := DefaultConfig()
	cfg.Address, cfg.Protocol, cfg.Template = cp.GetAddress().String(), proto, tmpl
	s := newSink(t, cfg)
	// A batch is read before the next is written: over UDP the collector's socket has
	// the kernel's small default buffer, and what does not fit there is gone.
	const n, batch = 300, 25
	for i := 0; i < n; i += batch {
		if err := s.Write(t.Context(), samples(uint64(i), uint64(i+batch))); err != nil {
			t.Fatal(err)
		}
		for j := range batch {
			select {
			case r := <-got:
				checkGoIPFIX(t, r, i+j, tmpl)
			case <-time.After(10 * time.Second):
				t.Fatalf("%d of %d records", i+j, n)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkGoIPFIX(t *testing.T, r entities.Record, i int, tmpl string) {
	t.Helper()
	want := samples(uint64(i), uint64(i)+1)[0]
	value := func(name string) entities.InfoElementWithValue {
		e, _, ok := r.GetInfoElementWithValue(name)
		if !ok {
			t.Fatalf("record %d has no %s", i, name)
		}
		return e
	}
	if got := value("sourceIPv4Address").GetIPAddressValue().String(); got != want.SrcIP.String() {
		t.Errorf("record %d: source %s, want %s", i, got, want.SrcIP)
	}
	if got := value("octetTotalCount").GetUnsigned64Value(); got != want.Bytes {
		t.Errorf("record %d: %d bytes, want %d", i, got, want.Bytes)
	}
	if got := value("reverseOctetDeltaCount").GetUnsigned64Value(); got != want.RevBytesDelta {
		t.Errorf("record %d: %d bytes back, want %d", i, got, want.RevBytesDelta)
	}
	if tmpl == "iana" {
		return
	}
	if got := value("sourcePodName").GetStringValue(); got != want.SrcPod {
		t.Errorf("record %d: pod %s, want %s", i, got, want.SrcPod)
	}
	if tmpl == "antrea-proxy" {
		if got := value("flowDirection").GetUnsigned8Value(); got != 255 {
			t.Errorf("record %d: direction %d", i, got)
		}
		return
	}
	if got := value("sourcePodLabels").GetStringValue(); got != want.SrcLabels {
		t.Errorf("record %d: labels %s, want %s", i, got, want.SrcLabels)
	}
}

// TestNfcapdReadsUs has nfcapd collect over UDP and nfdump read its file.
func TestNfcapdReadsUs(t *testing.T) {
	nfcapd, nfdump := testenv.NeedTool(t, "nfcapd"), testenv.NeedTool(t, "nfdump")
	for _, tmpl := range []string{"iana", "antrea-aggregator"} {
		t.Run(tmpl, func(t *testing.T) {
			dir := t.TempDir()
			port := freeUDPPort(t)
			var out bytes.Buffer
			cmd := exec.Command(nfcapd, "-w", dir, "-b", "127.0.0.1", "-p", fmt.Sprint(port), "-t", "3600")
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			waitFor(t, "nfcapd", func() bool { return udpBound(t, port) })
			cfg := DefaultConfig()
			cfg.Address, cfg.Protocol, cfg.Template = fmt.Sprintf("127.0.0.1:%d", port), "udp", tmpl
			s := newSink(t, cfg)
			const n = 500
			for i := uint64(0); i < n; i += 50 {
				if err := s.Write(t.Context(), samples(i, i+50)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Millisecond) // over UDP nobody waits for a collector
			}
			time.Sleep(300 * time.Millisecond)
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("nfcapd: %v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), "Sequence Errors: 0") && !strings.Contains(out.String(), "Sequence failures: 0") {
				t.Errorf("nfcapd does not say that it saw no sequence error:\n%s", out.String())
			}
			checkNfdump(t, nfdump, dir, n)
		})
	}
}

func checkNfdump(t *testing.T, nfdump, dir string, n int) {
	t.Helper()
	text, err := exec.Command(nfdump, "-R", dir, "-q", "-o", "fmt:%sa %da %sp %dp %pr %pkt %byt").Output()
	if err != nil {
		t.Fatalf("nfdump: %v", err)
	}
	have := map[string]int{}
	for line := range strings.Lines(string(text)) {
		have[strings.Join(strings.Fields(line), " ")]++
	}
	missing := 0
	for _, r := range samples(0, uint64(n)) {
		key := fmt.Sprintf("%s %s %d %d TCP %d %d", r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Packets, r.Bytes)
		if have[key] == 0 {
			if missing == 0 {
				t.Logf("nfdump lacks %s; it has\n%.600s", key, text)
			}
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("nfdump lacks %d of %d flows", missing, n)
	}
}

func freeUDPPort(t *testing.T) int {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().(*net.UDPAddr).Port
}

func udpBound(t *testing.T, port int) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), fmt.Sprintf("0100007F:%04X", port))
}

// TestMutualTLS sends over TLS with a client certificate, and is refused without.
func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	pair, pool := certificate(t, dir)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := listen(t, ln)
	cfg := DefaultConfig()
	cfg.Address, cfg.Protocol, cfg.Template = ln.Addr().String(), "tls", "weir"
	cfg.CAFile, cfg.ServerName = filepath.Join(dir, "cert.pem"), "collector.test"
	if err := newSink(t, cfg).Write(t.Context(), samples(0, 1)); err == nil {
		t.Error("was taken without a client certificate")
	}
	cfg.CertFile, cfg.KeyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := newSink(t, cfg).Write(t.Context(), samples(0, 1000)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "1,000 records", func() bool { return len(c.got()) == 1000 })
	cfg.ServerName = "other.test"
	if err := newSink(t, cfg).Write(t.Context(), samples(0, 1)); err == nil || !strings.Contains(err.Error(), "other.test") {
		t.Errorf("a collector of another name: %v", err)
	}
}

// certificate makes one self-signed certificate for both ends and puts it into dir.
func certificate(t *testing.T, dir string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector.test"}, DNSNames: []string{"collector.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{"cert.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pair, pool
}
