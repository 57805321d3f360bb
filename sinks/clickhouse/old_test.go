package clickhouse

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
)

// oldServer is Debian's clickhouse-server of 2018, a second implementation of the wire.
type oldServer struct {
	dir, addr, program string
	cmd                *exec.Cmd
}

func (s *oldServer) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(s.program, "--config-file="+filepath.Join(s.dir, "config.xml"))
	s.cmd.Dir = s.dir
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			t.Fatalf("clickhouse-server does not start: %v\n%s", err, b[max(0, len(b)-2000):])
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *oldServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func startOld(t *testing.T) *oldServer {
	t.Helper()
	s := &oldServer{dir: t.TempDir(), program: testenv.NeedTool(t, "clickhouse-server")}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(s.addr)
	for name, text := range map[string]string{
		"config.xml": fmt.Sprintf(`<yandex><logger><console>1</console><level>warning</level></logger><tcp_port>%s</tcp_port><listen_host>127.0.0.1</listen_host><path>%[2]s/data/</path><tmp_path>%[2]s/tmp/</tmp_path><users_config>%[2]s/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>5242880</mark_cache_size></yandex>`, port, s.dir),
		"users.xml":  `<yandex><profiles><default></default></profiles><users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users><quotas><default></default></quotas></yandex>`,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(t)
	t.Cleanup(s.kill)
	return s
}

// TestOldServer: over the wire of a real server of another make and age, connections of
// the sink's shake hands, compressed columns arrive, and are there after kill -9; the sink
// itself refuses so old a server and says why. Batches are clickhouse-go's: ch-go, by which
// the sink inserts, does not speak the protocol of 2018 any more.
func TestOldServer(t *testing.T) {
	srv := startOld(t)
	cfg := DefaultConfig()
	cfg.Hosts, cfg.Database = []string{srv.addr}, "default"
	sink, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	err = sink.WriteAt(t.Context(), 0, []flow.Record{flowtest.Sample(1)})
	if err == nil || !strings.Contains(err.Error(), "ClickHouse 18.16") || !strings.Contains(err.Error(), "must be 22.2 or newer") {
		t.Fatalf("the sink says %v", err)
	}
	count := func() (n uint64) {
		t.Helper()
		conn, err := cfg.open(1)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM flows").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	conn, err := cfg.open(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Exec(t.Context(), "CREATE TABLE flows (conn_id UInt64, src_ns String, dst_port UInt16) ENGINE = MergeTree ORDER BY conn_id"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	const rows = 50_000
	for i := range uint64(3) {
		if err := insertOld(t.Context(), &cfg, i*rows, rows); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != (i+1)*rows {
			t.Fatalf("%d rows, want %d", n, (i+1)*rows)
		}
	}
	srv.kill()
	if err := insertOld(t.Context(), &cfg, 3*rows, rows); err == nil {
		t.Error("a server that was killed takes rows")
	}
	srv.start(t)
	if n := count(); n != 3*rows {
		t.Errorf("%d rows after kill -9, want %d", n, 3*rows)
	}
	if err := insertOld(t.Context(), &cfg, 3*rows, rows); err != nil {
		t.Error(err)
	}
	if n := count(); n != 4*rows {
		t.Errorf("%d rows, want %d", n, 4*rows)
	}
}

// insertOld writes rows as one compressed block.
func insertOld(ctx context.Context, cfg *Config, from uint64, rows int) error {
	conn, err := cfg.open(1)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	b, err := conn.PrepareBatch(ctx, "INSERT INTO flows (conn_id, src_ns, dst_port)")
	if err != nil {
		return err
	}
	for i := range rows {
		r := flowtest.Sample(from + uint64(i))
		if err := b.Append(r.ConnID, r.SrcNS, r.DstPort); err != nil {
			return err
		}
	}
	return b.Send()
}
