package sinktest

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

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
)

const (
	envDir     = "WEIR_SINKTEST_DIR"
	envAddress = "WEIR_SINKTEST_ADDRESS"
	envTotal   = "WEIR_SINKTEST_TOTAL"
)

// Main runs the tests, or, in the process that is to be killed, the sink.
func Main(m *testing.M, k Kind) {
	dir := os.Getenv(envDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	total, err := strconv.Atoi(os.Getenv(envTotal))
	if err == nil {
		err = child(k, os.Getenv(envAddress), dir, total)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// child offers records up to total, from where its spool ends, and leaves when the
// destination has all. It says on its output how far it is, and its books at the end.
func child(k Kind, address, dir string, total int) error {
	if k.Batch == 0 {
		k.Batch = 500
	}
	sink, err := k.Make(address, dir)
	if err != nil {
		return err
	}
	book := ledger.NewBook()
	r, err := sinks.NewRunner(k.config(dir), sink, sinks.Deps{Stage: book.Stage("sink")})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	const step = 1000
	for i := int(r.Position()); i < total; i += step {
		r.Offer(Samples(i, min(step, total-i)))
		if err := r.Flush(ctx); err != nil {
			return err
		}
		fmt.Println("at", i+step, r.Held().Records)
	}
	for ctx.Err() == nil && r.Held().Records > 0 {
		wait, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		err := r.Drain(wait)
		cancel()
		fmt.Println("at", total, r.Held().Records)
		if err == nil {
			break
		}
	}
	stop()
	if err := <-done; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(book.Snapshot())
}

// Child runs the sink in a process of its own over a target, with total records. At each
// of its steps until is told how many it has offered and how many of them are held, and
// says whether it is to be killed. It gives the books if it was not.
func Child(t *testing.T, g Target, total int, until func(at, held int) bool) (books []ledger.Line) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envDir+"="+g.Dir, envAddress+"="+g.Address, fmt.Sprintf("%s=%d", envTotal, total))
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
			t.Fatalf("%q: %v", sc.Text(), err)
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

// kill: the process is killed while it writes, and once more while it catches up. Every
// record arrives; where the destination can tell, none twice.
func (k *Kind) kill(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes: not part of -short")
	}
	g := k.New(t)
	const total = 60_000
	Child(t, g, total, func(at, held int) bool { return at >= total/3 && held < at })
	Child(t, g, total, func(at, held int) bool { return at >= 2*total/3 })
	books := Child(t, g, total, nil)
	again := 0
	if k.AgainAfterKill {
		again = 2 * 2 * k.Batch // a batch has at most twice its size
	}
	g.has(t, all, total, again)
	if len(books) != 1 {
		t.Fatalf("books of %d sinks", len(books))
	}
	l := &books[0]
	if a, b, c := l.Diff(); a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
		t.Errorf("books do not balance or something was lost: %+v", l)
	}
}

func predicate(t *testing.T, text string) func(*flow.Record) bool {
	t.Helper()
	e, err := query.ParseExpr(text)
	if err != nil {
		t.Fatal(err)
	}
	match, err := query.Predicate(e)
	if err != nil {
		t.Fatal(err)
	}
	return match
}
