package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// result is one benchmark's best run: values by unit, such as ns/op.
type result map[string]float64

var cpus = regexp.MustCompile(`-\d+$`)

// parse reads the output of go test -bench. Of several runs the lowest value of
// each unit counts, or the highest where the unit is a rate: noise only slows.
func parse(r io.Reader) (map[string]result, error) {
	all := map[string]result{}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := cpus.ReplaceAllString(strings.TrimPrefix(f[0], "Benchmark"), "")
		if all[name] == nil {
			all[name] = result{}
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", sc.Text(), err)
			}
			old, seen := all[name][f[i+1]]
			if !seen || (v > old) == rate(f[i+1]) {
				all[name][f[i+1]] = v
			}
		}
	}
	return all, sc.Err()
}

// rate reports whether more of a unit is better.
func rate(unit string) bool { return strings.HasSuffix(unit, "/s") }
