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
	"strconv"
	"strings"
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
	printLine("item\tours\tanchor's\tratio\tgoal\t")
	measured := map[string]map[string]result{} // by package and benchmark: items share them
	for _, it := range items() {
		if !strings.HasPrefix(it.name, only) || ((it.growth || it.each) && only == "") {
			continue
		}
		found = true
		key := it.dir + it.pkg + " " + it.bench
		if measured[key] == nil {
			results, err := measure(ctx, &it, count, benchtime)
			if err != nil {
				return false, fmt.Errorf("%s: %w", it.name, err)
			}
			measured[key] = results
		}
		if it.growth || it.each {
			lines, ok := it.series(measured[key])
			met = met && ok
			for _, line := range lines {
				printLine(line)
			}
			continue
		}
		line, ok := it.judge(measured[key])
		met = met && ok
		printLine(line)
	}
	if !found {
		return false, fmt.Errorf("no item %q: there are %s", only, strings.Join(names(), ", "))
	}
	return met, nil
}

// printLine prints the columns of a line as soon as they are known.
func printLine(line string) {
	c := append(strings.Split(line, "\t"), "", "", "", "", "", "")
	fmt.Println(strings.TrimRight(fmt.Sprintf("%-22s %-32s %-22s %-7s %-38s %s", c[0], c[1], c[2], c[3], c[4], c[5]), " "))
}

// measure runs the benchmark of an item.
func measure(ctx context.Context, it *item, count int, benchtime string) (map[string]result, error) {
	if it.times != "" {
		benchtime = it.times
	}
	if it.count > 0 {
		count = it.count
	}
	args := []string{"test", it.pkg, "-run", "^$", "-bench", it.bench, "-benchmem", "-count", strconv.Itoa(count), "-benchtime", benchtime, "-timeout", "2h"}
	if it.dir != "" {
		args = append([]string{"-C", it.dir, "test", "-mod=mod"}, args[1:]...)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, text.String())
	}
	return parse(&text)
}
