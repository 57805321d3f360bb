package sinks_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/jsonl"
)

const childEnv = "WEIR_SINKS_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		total, err := strconv.ParseUint(os.Getenv("WEIR_SINKS_TOTAL"), 10, 64)
		if err == nil {
			err = child(dir, total)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

// idSink writes the number of each record to a file: a destination that cannot store
// positions but can deduplicate by Record.ID when it is read.
type idSink struct{ f *os.File }

func (s *idSink) Name() string { return "ids" }

func (s *idSink) Write(_ context.Context, recs []flow.Record) error {
	b := make([]byte, 0, 8*len(recs))
	for i := range recs {
		b = binary.BigEndian.AppendUint64(b, flowtest.SampleNumber(recs[i].ID))
	}
	_, err := s.f.Write(b)
	return err
}

// gate fails every call until a file exists.
type gate struct {
	sinks.Sink
	path string
}

func (g gate) open() error {
	_, err := os.Stat(g.path)
	return err
}

func (g gate) Write(ctx context.Context, recs []flow.Record) error {
	if err := g.open(); err != nil {
		return err
	}
	return g.Sink.Write(ctx, recs)
}

type gatedResumer struct {
	sinks.Resumer
	gate gate
}

func (g gatedResumer) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	if err := g.gate.open(); err != nil {
		return err
	}
	return g.Resumer.WriteAt(ctx, pos, recs)
}

// child offers total records to two sinks, each from where its spool ends, and leaves when
// both have all. It says on its output how far it is.
func child(dir string, total uint64) error {
	ids, err := os.OpenFile(filepath.Join(dir, "ids"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	jc := jsonl.DefaultConfig()
	jc.Path, jc.RotateBytes, jc.Gzip = filepath.Join(dir, "out", "flows.jsonl"), 64<<20, true
	js, err := jsonl.New(jc, nil, nil)
	if err != nil {
		return err
	}
	up := filepath.Join(dir, "up")
	book := ledger.NewBook()
	var runners []*sinks.Runner
	for _, s := range []sinks.Sink{gate{&idSink{ids}, up}, gatedResumer{js, gate{path: up}}} {
		cfg := sinks.DefaultRunnerConfig()
		cfg.Dir, cfg.MaxBytes = filepath.Join(dir, "spool-"+s.Name()), 8<<30
		cfg.RetryMin, cfg.RetryMax = 50*time.Millisecond, 500*time.Millisecond
		r, err := sinks.NewRunner(cfg, s, sinks.Deps{Stage: book.Stage("sink/" + s.Name())})
		if err != nil {
			return err
		}
		runners = append(runners, r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, len(runners))
	for _, r := range runners {
		go func() { ended <- r.Run(ctx) }()
	}
	if err := produce(ctx, runners, total); err != nil {
		return err
	}
	for _, r := range runners {
		if err := r.Drain(ctx); err != nil {
			return err
		}
	}
	cancel()
	for range runners {
		if err := <-ended; err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(book.Snapshot())
}

func produce(ctx context.Context, runners []*sinks.Runner, total uint64) error {
	from := make([]uint64, len(runners))
	for i, r := range runners {
		from[i] = r.Position()
	}
	const step = 5000
	recs := make([]flow.Record, 0, step)
	for i := slices.Min(from); i < total; i += uint64(len(recs)) {
		recs = recs[:0]
		for n := i; n < min(i+step, total); n++ {
			recs = append(recs, flowtest.Sample(n))
		}
		for k, r := range runners {
			if skip := max(from[k], i) - i; skip < uint64(len(recs)) {
				r.Offer(recs[skip:])
			}
		}
		for _, r := range runners {
			if err := r.Flush(ctx); err != nil {
				return err
			}
		}
		fmt.Println("at", i+uint64(len(recs)))
	}
	return nil
}

// run starts the child; until says after which line of output it is killed. It gives the
// last position that the child said was on the disk, and its peak memory.
func runChild(t *testing.T, dir string, total uint64, until func(at uint64) bool) (at uint64, peakMiB int, books []ledger.Line) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("WEIR_SINKS_TOTAL=%d", total), "GOMEMLIMIT=off")
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
		if rest, ok := strings.CutPrefix(sc.Text(), "at "); ok {
			if at, err = strconv.ParseUint(rest, 10, 64); err != nil {
				t.Fatal(err)
			}
		} else if err := json.Unmarshal(sc.Bytes(), &books); err != nil {
			t.Fatal(err)
		}
		peakMiB = max(peakMiB, peakOf(cmd.Process.Pid))
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
	return at, peakMiB, books
}

func peakOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(kb)
	if err != nil {
		return 0
	}
	return n >> 10
}

func dirBytes(t *testing.T, pattern string) (n int64) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range names {
		if st, err := os.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return n
}

// TestKilledTwiceAndDown is the outage of section 7: both sinks down while records come as at
// 20,000 a second for ten minutes (one minute's worth unless WEIR_LONG=1), the
// process killed by SIGKILL twice, once while the sinks are down and once while
// they catch up. Both must end with every record exactly once.
func TestKilledTwiceAndDown(t *testing.T) {
	if testing.Short() {
		t.Skip("writes gigabytes: not part of -short")
	}
	total := uint64(1_200_000)
	if os.Getenv("WEIR_LONG") == "1" {
		total = 12_000_000
	}
	dir := t.TempDir()
	begin := time.Now()
	acked, peak1, _ := runChild(t, dir, total, func(at uint64) bool { return at >= total/3 })
	spooled := dirBytes(t, dir+"/spool-*/*.seg")
	t.Logf("killed at %d of %d records, %d MiB in two spools, peak memory %d MiB, %v", acked, total, spooled>>20, peak1, time.Since(begin).Round(time.Second))

	at2, peak2, _ := runChild(t, dir, total, func(at uint64) bool {
		if at < 2*total/3 {
			return false
		}
		spooled = max(spooled, dirBytes(t, dir+"/spool-*/*.seg"))
		if err := os.WriteFile(filepath.Join(dir, "up"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return at > total-total/10 || dirBytes(t, dir+"/out/flows*") > 10<<20 // it is catching up
	})
	if at2 < acked {
		t.Errorf("the second process began before %d, what the first had on the disk", acked)
	}
	t.Logf("killed at %d, most in two spools %d MiB, peak memory %d MiB, %v", at2, spooled>>20, peak2, time.Since(begin).Round(time.Second))

	_, peak3, books := runChild(t, dir, total, nil)
	t.Logf("ended, peak memory %d MiB, %v", peak3, time.Since(begin).Round(time.Second))
	for _, l := range books {
		a, b, c := l.Diff()
		if a != 0 || b != 0 || c != 0 || len(l.Lost) != 0 || l.Held.Records != 0 {
			t.Errorf("books of %s do not balance or something was lost: %+v", l.Stage, l)
		}
	}
	if len(books) != 2 {
		t.Errorf("books of %d sinks", len(books))
	}
	checkJSONL(t, dir, total)
	again := checkIDs(t, dir, total)
	t.Logf("the at-least-once sink got %d records twice", again)
	if left := dirBytes(t, dir+"/spool-*/*.seg"); left > 64<<20 {
		t.Errorf("%d MiB are left in the spools", left>>20)
	}
	if most := max(peak1, peak2, peak3); most > 400 {
		t.Errorf("peak memory %d MiB, bar 400", most)
	}
	if per := spooled / 2 / int64(total); per > 400 {
		t.Errorf("spool takes %d bytes a record", per)
	}
}

// checkJSONL reads every file in order: the records must be 0..total-1, once, in order.
func checkJSONL(t *testing.T, dir string, total uint64) {
	t.Helper()
	names, err := filepath.Glob(dir + "/out/flows-*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var next uint64
	for _, n := range append(names, dir+"/out/flows.jsonl") {
		f, err := os.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(n, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			_, id, ok := bytes.Cut(sc.Bytes(), []byte(`,"id":"`))
			if !ok {
				t.Fatalf("%s: no id: %.200s", n, sc.Bytes())
			}
			u, err := flow.ParseUUID(string(id[:36]))
			if err != nil || flowtest.SampleNumber(u) != next {
				t.Fatalf("%s: record %d where %d is due: %v", n, flowtest.SampleNumber(u), next, err)
			}
			next++
		}
		if sc.Err() != nil {
			t.Fatal(sc.Err())
		}
		f.Close()
	}
	if next != total {
		t.Fatalf("jsonl has %d records, want %d", next, total)
	}
}

// checkIDs wants each number at least once and counts those that came again.
func checkIDs(t *testing.T, dir string, total uint64) (again int) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "ids"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	seen := make([]bool, total)
	var b [8]byte
	for {
		if _, err := io.ReadFull(r, b[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n := binary.BigEndian.Uint64(b[:])
		if seen[n] {
			again++
		}
		seen[n] = true
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Fatalf("ids lacks record %d", i)
	}
	return again
}
