package clickhouse_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/clickhouse"
)

// filler gives what takes all room of a file system that is left: what the server gives
// back of parts that did not fit, too.
func filler(t *testing.T, dir string) func() {
	t.Helper()
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ballast.Close() })
	return func() {
		t.Helper()
		for b := make([]byte, 1<<16); len(b) > 0; {
			if n, err := ballast.Write(b); errors.Is(err, unix.ENOSPC) {
				b = b[:len(b)/2]
			} else if err != nil {
				t.Fatal(n, err)
			}
		}
	}
}

// TestFullDisk fills the server's disk: the error says so, records wait, and all are there
// once, when there is room again.
func TestFullDisk(t *testing.T) {
	testenv.NeedRoot(t)
	dir := t.TempDir()
	mount := func(flags uintptr, size string) {
		t.Helper()
		if err := unix.Mount("weir-test", dir, "tmpfs", flags, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
	mount(0, "80m")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	srv := testenv.StartClickHouse(t, "-path", dir)
	cfg := config(srv.Addr)
	s := newSink(t, cfg, "a")
	const step = 50_000
	pos := 0
	var full error
	for ; pos < 60*step && full == nil; pos += step {
		full = s.WriteAt(t.Context(), uint64(pos), samples(pos, step))
		if pos == 0 { // the tables are there
			// Merges give room back while the test needs none; and one that the disk stops
			// may leave a part that this server cannot read.
			if err := client(t, srv.Addr).Exec(t.Context(), "SYSTEM STOP MERGES"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if full == nil || pos == step {
		t.Fatalf("the disk was never full, or always: %v", full)
	}
	wantError(t, full, "the server's disk is full")
	t.Logf("after %d records: %v", pos-step, strings.SplitN(full.Error(), "\n", 2)[0])

	// Another sink waits, in small batches.
	sink, err := clickhouse.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	rc := sinks.DefaultRunnerConfig()
	rc.Dir, rc.RetryMin, rc.RetryMax = t.TempDir(), 20*time.Millisecond, 200*time.Millisecond
	book := ledger.NewBook()
	r, err := sinks.NewRunner(rc, sink, sinks.Deps{Stage: book.Stage("sink/clickhouse")})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(t.Context()) }()
	fill := filler(t, dir)
	for i := pos; i < pos+step; i += 5000 {
		fill()
		r.Offer(samples(i, 5000))
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 { // a few tries fail
		fill()
		time.Sleep(100 * time.Millisecond)
	}
	if r.Held().Records == 0 {
		t.Error("nothing waits: the disk has room")
	}
	mount(unix.MS_REMOUNT, "512m")
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteAt(t.Context(), uint64(pos-step), samples(pos-step, step)); err != nil {
		t.Fatal(err)
	}
	if l := book.Snapshot()[0]; len(l.Lost) != 0 || l.Out.Records != step {
		t.Errorf("books: %+v", l)
	}
	conn := client(t, srv.Addr)
	for _, sql := range []string{"SELECT count() FROM weir.weir_flows", "SELECT uniqExact(id) FROM weir.weir_flows", "SELECT sum(records) FROM weir.weir_flows_by_minute"} {
		if n := number(t, conn, sql); n != uint64(pos+step) {
			t.Errorf("%s = %d, want %d", sql, n, pos+step)
		}
	}
}
