package main

import (
	"strings"
	"testing"
)

const sample = `goos: linux
BenchmarkDecode/weir-2         	  300000	       400.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecode/weir-2         	  300000	       380.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkDecode/go-ipfix-2     	   30000	      3800 ns/op	    2000 B/op	      90 allocs/op
BenchmarkAll/weir-2            	      10	  100000 ns/op	 1200000 records/s
BenchmarkAll/weir-2            	      10	  110000 ns/op	 1100000 records/s
PASS
`

func TestSeries(t *testing.T) {
	all, err := parse(strings.NewReader(`BenchmarkGrow/n=1000-2 10 5 ns/op 7 B/conn
BenchmarkGrow/n=20-2 10 4 ns/op 9 B/conn
BenchmarkGrow/short-2 10 1 ns/op 1 B/conn
BenchmarkOther/n=3-2 10 1 ns/op
`))
	if err != nil {
		t.Fatal(err)
	}
	it := item{name: "g", ours: "Grow", unit: "B/conn"}
	lines, ok := it.series(all)
	if got, want := strings.Join(lines, "\n"), "g\t9.00 B/conn\tn=20\ng\t7.00 B/conn\tn=1000"; !ok || got != want {
		t.Errorf("got %v %q, want %q", ok, got, want)
	}
	it.each = true
	if lines, ok := it.series(all); !ok || lines[0] != "g\t1.00 B/conn\tshort" || len(lines) != 3 {
		t.Errorf("got %v %q", ok, lines)
	}
	it.ours = "Gone"
	if lines, ok := it.series(all); ok || len(lines) != 1 || !strings.Contains(lines[0], "no B/conn from BenchmarkGone") {
		t.Errorf("got %v %q", ok, lines)
	}
}

func TestJudge(t *testing.T) {
	all, err := parse(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		it   item
		ok   bool
		word string
	}{
		{item{name: "a", ours: "Decode/weir", anchor: "Decode/go-ipfix", unit: "ns/op", min: 7, allocs: true}, true, "10.00x"},
		{item{name: "b", ours: "Decode/weir", anchor: "Decode/go-ipfix", unit: "ns/op", min: 11}, false, "missed"},
		{item{name: "c", ours: "All/weir", unit: "records/s", limit: 1e6}, true, "1.20M records/s"},
		{item{name: "d", ours: "All/weir", unit: "records/s", limit: 2e6}, false, "at least 2.00M"},
		{item{name: "e", ours: "Decode/weir", unit: "ns/op", limit: 390}, true, "380 ns/op"},
		{item{name: "f", ours: "Decode/weir", unit: "ns/op", limit: 200}, false, "missed"},
		{item{name: "g", ours: "Gone/weir", unit: "ns/op", limit: 200}, false, "no ns/op from BenchmarkGone/weir"},
		{item{name: "h", ours: "Decode/weir", anchor: "Decode/gone", unit: "ns/op", min: 1}, false, "no ns/op from BenchmarkDecode/gone"},
	} {
		line, ok := c.it.judge(all)
		if ok != c.ok || !strings.Contains(line, c.word) {
			t.Errorf("%s: got %v %q, want %v with %q", c.it.name, ok, line, c.ok, c.word)
		}
	}
}
