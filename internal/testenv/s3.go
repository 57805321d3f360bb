package testenv

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// S3 is a real S3 endpoint, which checks signatures, in a process of its own: SeaweedFS,
// or Versity's gateway.
type S3 struct {
	process
	URL    string
	CA     *CA // nil without TLS
	Dir    string
	Key    string
	Secret string

	ports   []int
	gateway string // Versity's program; "" for SeaweedFS
}

// S3Option changes how an endpoint is started.
type S3Option func(testing.TB, *S3)

// S3OverTLS makes the endpoint speak TLS, with a certificate of CA.
func S3OverTLS(t testing.TB, s *S3) {
	t.Helper()
	s.CA = NewCA(t)
	s.Certificate(t, time.Now().Add(24*time.Hour))
}

// S3ByGateway makes the endpoint Versity's gateway, which keeps objects as files.
func S3ByGateway(t testing.TB, s *S3) {
	t.Helper()
	Cache(t, "S3", "s3")
	s.gateway = buildModule(t, "s3", "github.com/versity/versitygw/cmd/versitygw", "versitygw")
	s.name = "versitygw"
}

// S3On makes the endpoint keep its data in a directory, say of a small file system.
func S3On(dir string) S3Option { return func(_ testing.TB, s *S3) { s.Dir = dir } }

// StartS3 starts one over an empty directory and ends it with the test.
func StartS3(t testing.TB, options ...S3Option) *S3 {
	t.Helper()
	s := &S3{process: process{name: "SeaweedFS"}, Dir: t.TempDir(), Key: "WEIRTESTKEY00000001", Secret: "weir-test-secret-0123456789"}
	s.ports = FreePorts(t, 9)
	for _, o := range options {
		o(t, s)
	}
	scheme := "http"
	if s.CA != nil {
		scheme = "https"
	}
	s.URL = fmt.Sprintf("%s://127.0.0.1:%d", scheme, s.ports[0])
	s.Users(t, map[string]string{s.Key: s.Secret})
	s.Start(t)
	t.Cleanup(s.Kill)
	return s
}

// Users sets access keys and their secrets, from the next start on. Without the file
// SeaweedFS lets everybody in.
func (s *S3) Users(t testing.TB, keys map[string]string) {
	t.Helper()
	type credential struct {
		AccessKey string `json:"accessKey"`
		SecretKey string `json:"secretKey"`
	}
	type identity struct {
		Name        string       `json:"name"`
		Credentials []credential `json:"credentials"`
		Actions     []string     `json:"actions"`
	}
	var all struct {
		Identities []identity `json:"identities"`
	}
	for k, v := range keys {
		all.Identities = append(all.Identities, identity{k, []credential{{k, v}}, []string{"Admin", "Read", "List", "Tagging", "Write"}})
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.Dir, "s3.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Certificate gives the endpoint another certificate, from its next start on.
func (s *S3) Certificate(t testing.TB, until time.Time) {
	t.Helper()
	s.CA.Issue(t, s.Dir, "s3", until)
}

// Start starts the endpoint over the data that it had, at the address that it had.
func (s *S3) Start(t testing.TB) {
	t.Helper()
	data, iam, meta := filepath.Join(s.Dir, "data"), filepath.Join(s.Dir, "iam"), filepath.Join(s.Dir, "meta")
	for _, d := range []string{data, iam, meta} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var cmd *exec.Cmd
	if s.gateway != "" {
		args := []string{"--port", fmt.Sprint("127.0.0.1:", s.ports[0]), "--access", s.Key, "--secret", s.Secret, "--region", "us-east-1", "--quiet", "--keep-alive", "--iam-dir", iam}
		if s.CA != nil {
			args = append(args, "--cert", filepath.Join(s.Dir, "s3.crt"), "--key", filepath.Join(s.Dir, "s3.key"))
		}
		cmd = exec.Command(s.gateway, append(args, "posix", "--sidecar", meta, data)...)
	} else {
		cmd = s.weed(t, data)
	}
	cmd.Dir = s.Dir
	s.start(t, cmd, s.ready)
}

func (s *S3) weed(t testing.TB, data string) *exec.Cmd {
	t.Helper()
	bin := Cache(t, "SeaweedFS", "s3", "weed")
	port := func(i int) string { return strconv.Itoa(s.ports[i]) }
	// All ports are named, as it would take others from them.
	args := []string{
		"-logtostderr=true", "server", "-dir", data, "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1",
		"-master.port", port(1), "-master.port.grpc", port(2), "-master.volumeSizeLimitMB", "64", "-master.telemetry=false",
		"-master.electionTimeout", "1s", "-master.heartbeatInterval", "100ms",
		"-volume.port", port(3), "-volume.port.grpc", port(4), "-volume.max", "0", "-volume.preStopSeconds", "0",
		"-filer", "-filer.port", port(5), "-filer.port.grpc", port(6),
		"-s3", "-s3.port", port(0), "-s3.config", filepath.Join(s.Dir, "s3.json"), "-s3.port.grpc", port(7), "-s3.port.iceberg", "0", "-s3.port.lance", "0",
	}
	if s.CA != nil {
		args = append(args, "-s3.cert.file", filepath.Join(s.Dir, "s3.crt"), "-s3.key.file", filepath.Join(s.Dir, "s3.key"))
	}
	return exec.Command(bin, args...)
}

// ready: an unsigned request is refused, which the endpoint does when it is up.
func (s *S3) ready() bool {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it may have expired, which is the test's
	defer tr.CloseIdleConnections()
	c := http.Client{Timeout: 2 * time.Second, Transport: tr}
	resp, err := c.Get(s.URL)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusForbidden
}
