package elastic_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/sinktest"
)

// kind is what the suite of all sinks needs; an address is URL/FORMAT/INDEX.
func kind(srv *testenv.Search, format string) sinktest.Kind {
	target := func(t *testing.T) sinktest.Target {
		t.Helper()
		index := "suite-" + strings.ToLower(rand.Text())
		g := sinktest.Target{Address: srv.URL + "/" + format + "/" + index, Dir: t.TempDir()}
		if format == elastic.FormatMinutes {
			g.Count = func(t *testing.T) uint64 {
				t.Helper()
				var n uint64
				for _, s := range sumsIn(t, srv.URL, index) {
					n += s.Connections
				}
				return n
			}
		} else {
			g.Stored = func(t *testing.T) []uint64 {
				t.Helper()
				return numbers(t, srv.URL, index)
			}
		}
		return g
	}
	return sinktest.Kind{
		Make: func(address, dir string) (sinks.Sink, error) {
			parts := strings.Split(address, "/")
			n := len(parts)
			cfg := config(strings.Join(parts[:n-2], "/"), parts[n-1])
			cfg.Format, cfg.Dir = parts[n-2], filepath.Join(dir, "sums")
			return elastic.New(cfg, nil, nil)
		},
		New: target,
		Poison: func(r *flow.Record) string {
			r.SetBytesDelta(math.MaxUint64)
			return elastic.LostPoisoned
		},
		Unreachable: func(t *testing.T) sinks.Sink {
			t.Helper()
			cfg := config("http://"+testenv.Deaf(t), "none")
			cfg.Format, cfg.Dir = format, t.TempDir()
			return newSink(t, cfg)
		},
		Mutual: func(t *testing.T, front *testenv.Front, client remote.TLS) (sinktest.Target, sinks.Sink) {
			t.Helper()
			front.To(strings.TrimPrefix(srv.URL, "http://"))
			g := target(t)
			cfg := config("https://"+front.Addr, g.Address[strings.LastIndexByte(g.Address, '/')+1:])
			cfg.Format, cfg.Dir = format, filepath.Join(g.Dir, "sums")
			cfg.CAFile, cfg.CertFile, cfg.KeyFile = client.CA, client.Cert, client.Key
			return g, newSink(t, cfg)
		},
	}
}

// numbers gives the numbers of the suite's samples, in the order of their starts.
func numbers(t *testing.T, url, index string) (out []uint64) {
	t.Helper()
	count(t, url, index)
	after := ""
	for {
		var got struct {
			Hits struct {
				Hits []struct {
					Fields map[string][]string
					Sort   []json.RawMessage
				}
			}
		}
		must(t, "POST", url+"/"+index+"/_search", `{"size":10000,"_source":false,"fields":["egress.name"],"sort":[{"start":"asc"},{"_doc":"asc"}]`+after+`}`, &got)
		hits := got.Hits.Hits
		if len(hits) == 0 {
			return out
		}
		for _, h := range hits {
			out = append(out, sinktest.Number(t, h.Fields["egress.name"][0]))
		}
		after = fmt.Sprintf(`,"search_after":[%s]`, bytes.Join([][]byte{hits[len(hits)-1].Sort[0], hits[len(hits)-1].Sort[1]}, []byte(",")))
	}
}

func TestConformance(t *testing.T) {
	srv := testenv.StartSearch(t, testenv.Elasticsearch)
	for _, format := range []string{elastic.FormatFlows, elastic.FormatMinutes} {
		t.Run(format, func(t *testing.T) { sinktest.Run(t, kind(srv, format)) })
	}
}
