package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/api/query"
)

// worstEnv has the directory of a history for a process that asks it the worst.
const worstEnv = "WEIR_ENGINE_WORST"

// worstMemory is history.memory of that process: half of the default, so that nothing fits.
const worstMemory = 256 << 20

// worstQueries are those that would hold the most: a group or a value for each connection,
// sketches for each pair, and every connection in order. No number of groups stops them, only
// the memory.
var worstQueries = []string{
	"| stats active, sum(bytes) by conn_id",
	"| stats active, max(bytes) by src.ip, src.port, dst.ip, dst.port",
	"| stats uniq(conn_id), uniq(src.port), uniq(src.pod), uniq(dst.pod)",
	"| stats p50(bytes), p95(bytes), p99(rtt) by src.pod, dst.pod",
	"| stats active, p95(rtt) by src.pod every 1m",
	"bytes > 0 | sort bytes | fields src.pod, dst.pod, bytes | limit 10000",
}

// vm reads a line of /proc/self/status, in bytes.
func vm(name string) int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), name+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// worst asks the worst, one by one and all at once, and prints what the process took of memory.
func worst(dir string) error {
	cfg := store.DefaultConfig()
	cfg.Dir, cfg.Memory = dir, worstMemory
	s, err := store.New(cfg, store.Deps{})
	if err != nil {
		return err
	}
	fmt.Println("begin", vm("VmHWM"))
	answered, refused := 0, 0
	var mu sync.Mutex
	ask := func(text string, norollups bool) error {
		q, err := query.Parse(text)
		if err != nil {
			return err
		}
		req := &Request{Query: q, Since: flowtest.HistoryStart, Until: flowtest.HistoryStart + 7_200_000, NoRollups: norollups, MaxGroups: 1 << 24}
		if q.Stats() == nil {
			_, _, err = List(context.Background(), s, req, 10_000, func(*flow.Record) error { return nil })
		} else {
			_, _, err = Stats(context.Background(), s, req)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			answered++
		case errors.Is(err, store.ErrMemory), errors.Is(err, ErrConns), errors.Is(err, query.ErrGroups):
			refused++
		default:
			return fmt.Errorf("%s: %w", text, err)
		}
		fmt.Println("asked", text, vm("VmHWM")>>20, err)
		return nil
	}
	for _, text := range worstQueries {
		if err := ask(text, true); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, len(worstQueries))
	for i, text := range worstQueries {
		wg.Go(func() { errs[i] = ask(text, false) })
	}
	wg.Wait()
	fmt.Println("end", vm("VmHWM"), answered, refused)
	return errors.Join(errs...)
}

// BenchmarkWorst is the peak of a process' memory (RSS) that answers the worst from a
// history of 10 M rows: x-flag is the peak beyond what it has at rest, over history.memory.
func BenchmarkWorst(b *testing.B) {
	s := big(b)
	for b.Loop() {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), worstEnv+"="+bigDir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("%v\n%s%s", err, out, stderr.String())
		}
		var begin, peak, answered, refused int64
		for line := range strings.Lines(string(out)) {
			_, _ = fmt.Sscanf(line, "begin %d", &begin)
			_, _ = fmt.Sscanf(line, "end %d %d %d", &peak, &answered, &refused)
			if strings.HasPrefix(line, "asked") {
				b.Log(strings.TrimSpace(line))
			}
		}
		if peak == 0 || answered+refused != int64(2*len(worstQueries)) || answered == 0 {
			b.Fatalf("%d answered, %d refused: %s", answered, refused, out)
		}
		b.Logf("%d rows: %d MiB at rest, %d MiB at most, history.memory %d MiB; %d answered, %d refused", s.Size().Rows, begin>>20, peak>>20, worstMemory>>20, answered, refused)
		b.ReportMetric(float64(peak-begin)/worstMemory, "x-flag")
		b.ReportMetric(float64(peak>>20), "MiB-rss")
	}
}
