package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/internal/testenv"
)

// place is a sink of the load and its destination.
type place struct {
	name   string
	config string // its item of sinks, in YAML
	dead   bool   // it never answers
	count  func() counted
	server func() time.Duration // CPU of the server until now; nil where it is none of its own
	used   time.Duration        // by the server in the load
}

func (p *place) stage() string { return "sink/" + p.name }

// counted is what a destination has: records, different connections, and the sum of bytes_delta.
type counted struct{ records, conns, bytes uint64 }

// untold is a number that a destination does not tell.
const untold = ^uint64(0)

func (s counted) is(want counted) bool {
	same := func(got, want uint64) bool { return got == want || got == untold }
	return same(s.records, want.records) && same(s.conns, want.conns) && same(s.bytes, want.bytes)
}

// startServers starts a real server for each sink that has one.
func (l *load) startServers(t testing.TB) {
	t.Helper()
	ch := testenv.StartClickHouse(t)
	l.broker = testenv.StartKafka(t)
	store := testenv.StartS3(t)
	search := testenv.StartSearch(t, testenv.Elasticsearch)
	deaf, dir := testenv.Deaf(t), t.TempDir()
	makeTopic(t, l.broker.Plain)
	makeBucket(t, store)
	peer := listenIPFIX(t)
	keys := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l.places = []*place{
		{
			name: "clickhouse", config: fmt.Sprintf("{name: clickhouse, kind: clickhouse, clickhouse: {hosts: [%q]}}", ch.Addr),
			count: func() counted { return inTable(t, ch.Addr, "weir.weir_flows") }, server: serverCPU(t, ch),
		},
		{
			name: "elasticsearch", config: fmt.Sprintf("{name: elasticsearch, kind: elasticsearch, elasticsearch: {hosts: [%q], replicas: 0}}", search.URL),
			count: func() counted { return inIndex(t, search.URL) }, server: serverCPU(t, search),
		},
		{
			name: "kafka", config: fmt.Sprintf("{name: kafka, kind: kafka, kafka: {brokers: [%q]}}", l.broker.Plain),
			count: func() counted { return inTopic(t, l.broker.Plain) }, server: serverCPU(t, l.broker),
		},
		{
			name: "s3", config: fmt.Sprintf("{name: s3, kind: s3, s3: {endpoint: %q, bucket: flows, pathStyle: true, accessKeyFile: %q, secretKeyFile: %q}}", store.URL, keys("key", store.Key), keys("secret", store.Secret)),
			count: func() counted {
				return inTable(t, ch.Addr, fmt.Sprintf("s3('%s/flows/weir/dt=*/hour=*/*.parquet', '%s', '%s', 'Parquet')", store.URL, store.Key, store.Secret))
			}, server: serverCPU(t, store),
		},
		{name: "prom", config: "{name: prom, kind: prom, prom: {metrics: [{name: load, value: records, labels: [src.ns, dst.workload], top: 100}]}}", count: func() counted { return inMetric(t, l.metrics) }},
		{name: "jsonl", config: fmt.Sprintf("{name: jsonl, kind: jsonl, jsonl: {path: %s/flows.jsonl, keep: 1000}}", dir), count: func() counted { return inFiles(t, dir) }},
		{name: "ipfix", config: fmt.Sprintf("{name: ipfix, kind: ipfix, ipfix: {address: %q, transport: tcp, template: weir}}", peer.addr), count: peer.count},
		// Its spool is small, so that it runs full.
		{name: "dead", dead: true, config: fmt.Sprintf("{name: dead, kind: elasticsearch, elasticsearch: {hosts: [\"http://%s\"], requestTimeout: 2s, dialTimeout: 1s}, spool: {maxBytes: %d}}", deaf, l.deadSpool())},
	}
}

// deadSpool is too small for what the dead sink gets: 280 bytes a record.
func (l *load) deadSpool() int { return max(4<<20, min(64<<20, l.total*70)) }

func serverCPU(t testing.TB, s interface{ PID() int }) func() time.Duration {
	t.Helper()
	return func() time.Duration { return testenv.CPU(t, s.PID()) }
}

// inTable asks ClickHouse.
func inTable(t testing.TB, addr, table string) (s counted) {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, ReadTimeout: 5 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(conn_id), toUInt64(sum(bytes_delta)) FROM "+table).Scan(&s.records, &s.conns, &s.bytes); err != nil {
		t.Fatal(err)
	}
	return s
}

// inIndex asks Elasticsearch. Documents have the records' ids, so none is there twice.
func inIndex(t testing.TB, url string) counted {
	t.Helper()
	ask := func(method, path, body string, out any) {
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s, %v, %+v", method, path, resp.Status, err, out)
		}
	}
	var any map[string]any
	ask("POST", "/weir-flows/_refresh", "", &any)
	var got struct {
		Hits         struct{ Total struct{ Value uint64 } }
		Aggregations struct{ Bytes struct{ Value float64 } }
	}
	ask("POST", "/weir-flows/_search", `{"size":0,"track_total_hits":true,"aggs":{"bytes":{"sum":{"field":"bytes_delta"}}}}`, &got)
	return counted{got.Hits.Total.Value, untold, uint64(got.Aggregations.Bytes.Value)}
}

func makeTopic(t testing.TB, broker string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if resp, err := kadm.NewClient(cl).CreateTopic(t.Context(), 3, 1, nil, "weir.flows"); err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
}

// inTopic reads the topic; keys are those of connections.
func inTopic(t testing.TB, broker string) counted {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("weir.flows"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, "weir.flows")
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	var want, got uint64
	ends.Each(func(o kadm.ListedOffset) { want += uint64(o.Offset) })
	keys := map[string]struct{}{}
	for got < want {
		f := cl.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatalf("read %d of %d: %v", got, want, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			got++
			keys[string(r.Key)] = struct{}{}
		})
	}
	return counted{got, uint64(len(keys)), untold}
}

func makeBucket(t testing.TB, s *testenv.S3) {
	t.Helper()
	c, err := minio.New(strings.TrimPrefix(s.URL, "http://"), &minio.Options{Creds: credentials.NewStaticV4(s.Key, s.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "flows", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
}

// inMetric adds up the series that the sink shows.
func inMetric(t testing.TB, addr string) (s counted) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		if !strings.HasPrefix(sc.Text(), "weir_flow_load_total{") {
			continue
		}
		v, err := strconv.ParseFloat(sc.Text()[strings.LastIndexByte(sc.Text(), ' ')+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		s.records += uint64(v)
	}
	s.conns, s.bytes = untold, untold
	return s
}

// inFiles reads the lines of the files, those that were rotated included.
func inFiles(t testing.TB, dir string) (s counted) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "flows*"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]struct{}{}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		} else if !strings.HasSuffix(name, ".jsonl") {
			_ = f.Close()
			continue // where it is, in a file beside
		}
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			s.records++
			ids[string(member(t, sc.Bytes(), `"conn_id":"`, '"'))] = struct{}{}
			n, err := strconv.ParseUint(string(member(t, sc.Bytes(), `"bytes_delta":`, ',')), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			s.bytes += n
		}
		if err := sc.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = f.Close()
	}
	s.conns = uint64(len(ids))
	return s
}

// member is what stands behind a key of a line, to the byte that ends it.
func member(t testing.TB, line []byte, key string, end byte) []byte {
	t.Helper()
	_, rest, ok := bytes.Cut(line, []byte(key))
	v, _, ends := bytes.Cut(rest, []byte{end})
	if !ok || !ends {
		t.Fatalf("no %s in %s", key, line)
	}
	return v
}

// peer is a collector of IPFIX over TCP that counts.
type peer struct {
	addr string
	mu   sync.Mutex
	got  counted
	ids  map[uint64]struct{}
}

func listenIPFIX(t testing.TB) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: ln.Addr().String(), ids: map[uint64]struct{}{}}
	var conns sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); conns.Wait() })
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = c.Close() }()
				if err := p.serve(c); err != nil && t.Context().Err() == nil {
					t.Error(err)
				}
			})
		}
	})
	return p
}

func (p *peer) serve(c net.Conn) error {
	s := ipfix.NewSession(ipfix.SessionOptions{})
	var buf []byte
	chunk := make([]byte, 256<<10)
	for {
		n, err := c.Read(chunk)
		if err != nil {
			return nil //nolint:nilerr // how the exporter ended is not the question
		}
		buf = append(buf, chunk[:n]...)
		for {
			msg, rest, err := ipfix.NextMessage(buf)
			if err != nil {
				return err
			}
			if msg == nil {
				break
			}
			p.mu.Lock()
			err = s.Decode(0, msg, p)
			p.mu.Unlock()
			if err != nil {
				return err
			}
			buf = rest
		}
	}
}

// Record implements ipfix.Handler.
func (p *peer) Record(r *flow.Record) {
	p.got.records++
	p.got.bytes += r.BytesDelta
	p.ids[r.ConnID] = struct{}{}
}

// Ledger implements ipfix.Handler.
func (p *peer) Ledger(*ipfix.LedgerRow) {}

func (p *peer) count() counted {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got.conns = uint64(len(p.ids))
	return p.got
}
