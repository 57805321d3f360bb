package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
)

// profile adds up the CPU of a process as its profiles have it, by the labels of its sinks.
// What has no label is told apart by where it was called.
type profile struct {
	parts map[[2]string]time.Duration // by sink and part
	other map[string]time.Duration
}

func newProfile() *profile {
	return &profile{map[[2]string]time.Duration{}, map[string]time.Duration{}}
}

func (p *profile) of(sink, part string) time.Duration { return p.parts[[2]string{sink, part}] }

func (p *profile) sink(name string) (sum time.Duration) {
	for k, d := range p.parts {
		if k[0] == name {
			sum += d
		}
	}
	return sum
}

func (p *profile) others() []string { return slices.Sorted(maps.Keys(p.other)) }

func (p *profile) all() (sum time.Duration) {
	for _, d := range p.parts {
		sum += d
	}
	for _, d := range p.other {
		sum += d
	}
	return sum
}

// record takes profiles of the process behind addr, one after the other, until it is told to
// stop; the last one is whole then.
func (p *profile) record(t testing.TB, addr string) (stop func()) {
	t.Helper()
	end, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := p.take(addr); err != nil {
				done <- err
				return
			}
			select {
			case <-end:
				done <- nil
				return
			default:
			}
		}
	}()
	return func() {
		t.Helper()
		close(end)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (p *profile) take(addr string) error {
	resp, err := http.Get("http://" + addr + "/debug/pprof/profile?seconds=10")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	got, err := pprof.ParseData(b)
	if err != nil {
		return fmt.Errorf("%w: %.200s", err, b)
	}
	for _, s := range got.Sample {
		d := time.Duration(s.Value[1]) // samples, nanoseconds
		if sink := s.Label["sink"]; len(sink) == 1 {
			p.parts[[2]string{sink[0], s.Label["part"][0]}] += d
			continue
		}
		p.other[whose(s)] += d
	}
	return nil
}

// whose names the part of the aggregator that a sample without a label belongs to.
func whose(s *pprof.Sample) string {
	for _, c := range []struct{ part, in string }{
		{"collect", "/weir/aggregator/collect"}, {"correlate", "/weir/aggregator"}, {"history", "/weir/aggregator/store"}, {"metrics", "net/http.(*conn)"}, {"profiling", "runtime/pprof"},
	} {
		for _, l := range s.Location {
			for _, line := range l.Line {
				if strings.Contains(line.Function.Name, c.in) {
					return c.part
				}
			}
		}
	}
	return "runtime"
}
