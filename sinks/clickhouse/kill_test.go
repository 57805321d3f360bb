package clickhouse_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
	"github.com/weirnet/weir/sinks/sinktest"
)

const childEnv = "WEIR_CLICKHOUSE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		total, err := strconv.Atoi(os.Getenv("WEIR_CLICKHOUSE_TOTAL"))
		if err == nil {
			err = child(dir, os.Getenv("WEIR_CLICKHOUSE_ADDR"), total)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	sinktest.Main(m, suite(nil))
}

// paceRate is how many records a second a paced child offers.
const paceRate = 20_000

// child offers records up to total, from where its spool ends, and leaves when the table
// has all. It says on its output how far it is, and its books at the end.
func child(dir, addr string, total int) error {
	paced := os.Getenv("WEIR_CLICKHOUSE_PACED") == "1"
	sink, err := clickhouse.New(config(addr), nil, nil)
	if err != nil {
		return err
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.MaxBytes, rc.BatchRecords, rc.RetryMin, rc.RetryMax = dir, 8<<30, 10_000, 50*time.Millisecond, 500*time.Millisecond
	book := ledger.NewBook()
	r, err := sinks.NewRunner(rc, sink, sinks.Deps{Stage: book.Stage("sink/clickhouse")})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	const step = 5000
	begin, first := time.Now(), int(r.Position())
	for i := first; i < total; i += step {
		if paced { // by the clock, so that a wait is made good
			time.Sleep(time.Until(begin.Add(time.Duration(i-first) * time.Second / paceRate)))
		}
		r.Offer(samples(i, min(step, total-i)))
		if err := r.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("at", i+step, r.Held().Records)
	}
	if err := r.Drain(ctx); err != nil {
		return err
	}
	stop()
	if err := <-done; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(book.Snapshot())
}

// runChild runs the child; at each of its lines until says whether it is to be killed.
func runChild(t *testing.T, dir, addr string, total int, until func(at, held int) bool) (books []ledger.Line) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, "WEIR_CLICKHOUSE_ADDR="+addr, fmt.Sprintf("WEIR_CLICKHOUSE_TOTAL=%d", total))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		var at, held int
		if strings.HasPrefix(sc.Text(), "at ") {
			if _, err := fmt.Sscanf(sc.Text(), "at %d %d", &at, &held); err != nil {
				t.Fatal(err)
			}
		} else if err := json.Unmarshal(sc.Bytes(), &books); err != nil {
			t.Fatal(err)
		}
		if until != nil && !killed && until(at, held) {
			killed = true
			if err := cmd.Process.Kill(); err != nil { // SIGKILL
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); (err != nil) != killed {
		t.Fatalf("child: %v (killed by us: %v)\n%s", err, killed, stderr.String())
	}
	return books
}

// TestKilled has SIGKILL for both: the server while rows go in and again while the sink
// catches up, the sink while it is down and while it catches up. In the end every record
// is there once, in the table and in the sums.
func TestKilled(t *testing.T) {
	total := 200_000
	if os.Getenv("WEIR_LONG") == "1" {
		total = 12_000_000 // ten minutes at 20,000 a second
	}
	srv := testenv.StartClickHouse(t)
	dir := t.TempDir()
	begin := time.Now()
	up := true
	runChild(t, dir, srv.Addr, total, func(at, held int) bool {
		if up && at >= total/5 {
			srv.Kill()
			up = false
		}
		return at >= 2*total/5
	})
	t.Logf("server killed, sink killed while it is down: %v", time.Since(begin).Round(time.Millisecond))
	srv.Start(t)
	hits := 0
	runChild(t, dir, srv.Addr, total, func(at, held int) bool {
		if at >= 3*total/5 && hits == 0 {
			hits++
			srv.Kill()
			srv.Start(t)
		}
		return at >= 4*total/5
	})
	t.Logf("server killed and started, sink killed while it catches up: %v", time.Since(begin).Round(time.Millisecond))
	books := runChild(t, dir, srv.Addr, total, nil)
	t.Logf("ended: %v", time.Since(begin).Round(time.Millisecond))
	conn := everythingOnce(t, srv, books, total)
	disk := number(t, conn, "SELECT toUInt64(sum(bytes_on_disk)) FROM system.parts WHERE database = 'weir' AND table = 'weir_flows' AND active")
	t.Logf("%d bytes a row on disk", disk/uint64(total))
}

// everythingOnce compares the table, the sums and the books with what was offered.
func everythingOnce(t *testing.T, srv *testenv.ClickHouse, books []ledger.Line, total int) driver.Conn {
	t.Helper()
	if len(books) != 1 {
		t.Fatalf("books of %d sinks", len(books))
	}
	if a, b, c := books[0].Diff(); a != 0 || b != 0 || c != 0 || len(books[0].Lost) != 0 || books[0].Held.Records != 0 {
		t.Errorf("books do not balance or something was lost: %+v", books[0])
	}
	conn := client(t, srv.Addr)
	for sql, want := range map[string]int{
		"SELECT count() FROM weir.weir_flows":                    total,
		"SELECT uniqExact(id) FROM weir.weir_flows":              total,
		"SELECT uniqExact(pos) FROM weir.weir_flows":             total,
		"SELECT toUInt64(max(pos)) + 1 FROM weir.weir_flows":     total,
		"SELECT count(DISTINCT spool) FROM weir.weir_flows":      1,
		"SELECT sum(connections) FROM weir.weir_flows_by_minute": total,
		"SELECT sum(records) FROM weir.weir_flows_by_pod":        total,
	} {
		if got := number(t, conn, sql); got != uint64(want) {
			t.Errorf("%s = %d, want %d", sql, got, want)
		}
	}
	return conn
}

// TestOutage has the server down for ten minutes, or for seconds where tests are to be
// short, while 20,000 records a second come, and SIGKILL for both sides: the server dies
// at the begin of the outage, the sink in the middle of it.
func TestOutage(t *testing.T) {
	outage := 8 * time.Second
	if os.Getenv("WEIR_LONG") == "1" {
		outage = 10 * time.Minute
	}
	lead := 3 * time.Second
	rows := func(d time.Duration) int { return int(d/time.Second) * paceRate }
	total := rows(lead + outage + lead)
	srv := testenv.StartClickHouse(t)
	dir := t.TempDir()
	t.Setenv("WEIR_CLICKHOUSE_PACED", "1")
	begin, most := time.Now(), 0
	up := true
	var down time.Time
	runChild(t, dir, srv.Addr, total, func(at, held int) bool {
		most = max(most, held)
		if up && at >= rows(lead) {
			srv.Kill()
			up, down = false, time.Now()
		}
		return at >= rows(lead+outage/2)
	})
	t.Logf("%v: the sink is killed, %d records wait", time.Since(begin).Round(time.Second), most)
	books := runChild(t, dir, srv.Addr, total, func(_, held int) bool {
		most = max(most, held)
		if !up && time.Since(down) >= outage {
			t.Logf("%v: the server is back after %v, %d records wait", time.Since(begin).Round(time.Second), time.Since(down).Round(time.Second), held)
			srv.Start(t)
			up = true
		}
		return false
	})
	t.Logf("%v: all %d records are there; at most %d waited", time.Since(begin).Round(time.Second), total, most)
	if most < rows(outage)*9/10 {
		t.Errorf("at most %d records waited, of %d that came in the outage: it was none", most, rows(outage))
	}
	everythingOnce(t, srv, books, total)
}
