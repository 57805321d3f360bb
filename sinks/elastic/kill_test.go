package elastic_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic"
	"github.com/weirnet/weir/sinks/sinktest"
)

const childEnv = "WEIR_ELASTIC_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		total, err := strconv.Atoi(os.Getenv("WEIR_ELASTIC_TOTAL"))
		if err == nil {
			err = child(dir, os.Getenv("WEIR_ELASTIC_URL"), total)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	sinktest.Main(m, kind(nil, ""))
}

// child offers records up to total to a sink of documents and one of sums, from where
// their spools end, and leaves when both have all. It says on its output how far it is,
// and its books at the end.
func child(dir, url string, total int) error {
	book := ledger.NewBook()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var runners []*sinks.Runner
	done := make(chan error, 2)
	for _, format := range []string{elastic.FormatFlows, elastic.FormatMinutes} {
		cfg := config(url, "killed-"+format)
		cfg.Format, cfg.Dir, cfg.RequestTimeout = format, filepath.Join(dir, "sinks", format), 5*time.Second
		cfg.Minutes.By, cfg.Minutes.Every = []string{"src.ns"}, time.Second
		sink, err := elastic.New(cfg, nil, nil)
		if err != nil {
			return err
		}
		rc := sinks.DefaultRunnerConfig()
		rc.Dir, rc.MaxBytes, rc.BatchRecords, rc.RetryMin, rc.RetryMax = filepath.Join(dir, "spool", format), 8<<30, 2000, 50*time.Millisecond, 500*time.Millisecond
		r, err := sinks.NewRunner(rc, sink, sinks.Deps{Stage: book.Stage("sink/" + format)})
		if err != nil {
			return err
		}
		runners = append(runners, r)
		go func() { done <- r.Run(ctx) }()
	}
	const step = 1000
	for i := min(int(runners[0].Position()), int(runners[1].Position())); i < total; i += step {
		recs := killedSamples(i, min(step, total-i))
		for _, r := range runners {
			// The spools may have ended at different records.
			if at := int(r.Position()); at < i+len(recs) {
				r.Offer(recs[max(0, at-i):])
			}
			if err := r.Flush(ctx); err != nil {
				return err
			}
		}
		fmt.Println("at", i+step)
	}
	for _, r := range runners {
		if err := r.Drain(ctx); err != nil {
			return err
		}
	}
	stop()
	for range runners {
		if err := <-done; err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(book.Snapshot())
}

// killedSamples gives records of now, some of which are no connection's first.
func killedSamples(from, n int) []flow.Record {
	recs := samples(from, n)
	for i := range recs {
		recs[i].SetEnd(killedAt + int64(from+i)*10)
		recs[i].SetFirst((from+i)%3 == 0)
	}
	return recs
}

const killedAt = 1_790_000_000_000

// runChild runs the child; at each of its lines until says whether it is to be killed.
func runChild(t *testing.T, dir, url string, total int, until func(at int) bool) (books []ledger.Line) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, "WEIR_ELASTIC_URL="+url, fmt.Sprintf("WEIR_ELASTIC_TOTAL=%d", total))
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
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		at := 0
		if rest, ok := strings.CutPrefix(lines.Text(), "at "); ok {
			if at, err = strconv.Atoi(rest); err != nil {
				t.Fatal(err)
			}
		} else if err := json.Unmarshal(lines.Bytes(), &books); err != nil {
			t.Fatal(err)
		}
		if until != nil && !killed && until(at) {
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

// TestKilled has SIGKILL for both, server and sinks, and a rollover between: every record
// is there once, as a document and in the sums.
func TestKilled(t *testing.T) {
	const total = 30_000
	srv := testenv.StartSearch(t, testenv.Elasticsearch)
	dir := t.TempDir()
	up := true
	runChild(t, dir, srv.URL, total, func(at int) bool {
		if up && at >= total/5 {
			srv.Kill()
			up = false
		}
		return at >= 2*total/5
	})
	srv.Start(t)
	runChild(t, dir, srv.URL, total, func(at int) bool { return at >= 3*total/5 })
	for _, format := range []string{elastic.FormatFlows, elastic.FormatMinutes} {
		// Neither may have come so far.
		if status, _ := ask(t, "HEAD", srv.URL+"/killed-"+format, ""); status == 200 {
			must(t, "POST", srv.URL+"/killed-"+format+"/_rollover", "", nil)
		}
	}
	runChild(t, dir, srv.URL, total, func(at int) bool { return at >= 4*total/5 })
	books := runChild(t, dir, srv.URL, total, nil)
	if len(books) != 2 {
		t.Fatalf("books of %d sinks", len(books))
	}
	for _, l := range books {
		if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
			t.Errorf("books do not balance or something was lost: %+v", l)
		}
	}
	if n := count(t, srv.URL, "killed-flows"); n != total {
		t.Errorf("%d documents, want %d", n, total)
	}
	if d := cmp.Diff(sumsOf(killedSamples(0, total)), sumsIn(t, srv.URL, "killed-minutes")); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
}
