// Command bench runs the benchmarks that the issue of record sets bars for and
// prints one line an item: ours, the anchor's, the ratio, the goal, met or missed.
//
// In: the table in items.go and the output of `go test -bench` in the packages it
// names. Out: lines on stdout; exit 1 where a bar is missed or a benchmark is gone.
// It measures nothing itself: the benchmarks stand beside the code.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"text/tabwriter"
)

func main() {
	only := flag.String("item", "", "run only the item of this name (or all whose name begins with it)")
	count := flag.Int("count", 3, "runs of each benchmark; the best counts")
	benchtime := flag.String("benchtime", "1s", "as of go test")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, *only, *count, *benchtime)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run measures the items and prints their lines as they come.
func run(ctx context.Context, only string, count int, benchtime string) (bool, error) {
	met, found := true, false
	out := tabwriter.NewWriter(os.Stdout, 26, 0, 2, ' ', 0)
	fmt.Fprintln(out, "item\tours\tanchor's\tratio\tgoal\t")
	for _, it := range items() {
		if !strings.HasPrefix(it.name, only) {
			continue
		}
		found = true
		args := []string{"test", it.pkg, "-run", "^$", "-bench", it.bench, "-benchmem", "-count", fmt.Sprint(count), "-benchtime", benchtime, "-timeout", "30m"}
		cmd := exec.CommandContext(ctx, "go", args...)
		var text bytes.Buffer
		cmd.Stdout, cmd.Stderr = &text, &text
		if err := cmd.Run(); err != nil {
			return false, fmt.Errorf("%s: go %s: %w\n%s", it.name, strings.Join(args, " "), err, text.String())
		}
		results, err := parse(&text)
		if err != nil {
			return false, fmt.Errorf("%s: %w", it.name, err)
		}
		line, ok := it.judge(results)
		met = met && ok
		fmt.Fprintln(out, line)
		if err := out.Flush(); err != nil {
			return false, err
		}
	}
	if !found {
		return false, fmt.Errorf("no item %q: there are %s", only, strings.Join(names(), ", "))
	}
	return met, nil
}
