package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	elasticsearch "github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

const benchDocs = 10_000

func benchRecords() []flow.Record {
	recs := make([]flow.Record, benchDocs)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(i))
	}
	return recs
}

// canned answers as a server does that takes everything. It reads no body by itself: the
// benchmarks measure the client, and both have the same one.
type canned struct{ bytes int }

func (c *canned) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"name":"n","version":{"number":"8.19.0"},"tagline":"You Know, for Search"}`
	if r.Body != nil {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return nil, err
		}
		c.bytes += int(n)
	}
	if r.Method == http.MethodPost {
		body = `{"errors":false,"took":1,"items":[]}`
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("X-Elastic-Product", "Elasticsearch")
	rec.Header().Set("Content-Type", "application/json")
	if _, err := rec.WriteString(body); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// BenchmarkSink is what a document costs the client: record to JSON to gzip to a request.
func BenchmarkSink(b *testing.B) {
	recs := benchRecords()
	cfg := DefaultConfig()
	cfg.Hosts, cfg.Index = []string{"http://127.0.0.1:9"}, "flows"
	s, err := newSink(cfg, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	wire := &canned{}
	if err := s.cl.open(); err != nil {
		b.Fatal(err)
	}
	s.cl.pool = pool(b, wire)
	s.ready, s.young = true, 0
	b.ReportAllocs()
	n, began := 0, testenv.OwnCPU(b)
	for b.Loop() {
		if err := s.Write(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
		n += len(recs)
	}
	report(b, n, began, wire)
}

// BenchmarkBulkIndexer is the same records through go-elasticsearch's own way: structs with
// the same names by encoding/json, esutil.BulkIndexer, gzip as the client does it.
func BenchmarkBulkIndexer(b *testing.B) {
	recs := benchRecords()
	wire := &canned{}
	es, err := elasticsearch.NewClient(elasticsearch.Config{Addresses: []string{"http://127.0.0.1:9"}, Transport: wire, CompressRequestBody: true, CompressRequestBodyLevel: 1, PoolCompressor: true})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n, began := 0, testenv.OwnCPU(b)
	for b.Loop() {
		bi, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: es, Index: "flows", NumWorkers: 1, FlushBytes: 8 << 20, FlushInterval: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		for i := range recs {
			doc, err := json.Marshal(documentOf(&recs[i]))
			if err != nil {
				b.Fatal(err)
			}
			item := esutil.BulkIndexerItem{Action: "create", DocumentID: recs[i].Text(flow.FID), Body: bytes.NewReader(doc)}
			if err := bi.Add(context.Background(), item); err != nil {
				b.Fatal(err)
			}
		}
		if err := bi.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
		n += len(recs)
	}
	report(b, n, began, wire)
}

func report(b *testing.B, n int, began time.Duration, wire *canned) {
	b.Helper()
	b.ReportMetric(float64(testenv.OwnCPU(b)-began)/float64(n), "cpu-ns/doc")
	b.ReportMetric(float64(wire.bytes)/float64(n), "B/doc")
}

// plainDoc is a document as a program without a schema of its own declares it, for
// encoding/json: pointers, so that what is absent is left out and zeros are not.
type plainDoc struct {
	Time          int64    `json:"@timestamp"`
	Start         *int64   `json:"start,omitempty"`
	EndReason     string   `json:"end_reason,omitempty"`
	SrcIP         string   `json:"src.ip,omitempty"`
	DstIP         string   `json:"dst.ip,omitempty"`
	SrcPort       *uint16  `json:"src.port,omitempty"`
	DstPort       *uint16  `json:"dst.port,omitempty"`
	Proto         *uint8   `json:"proto,omitempty"`
	Packets       *uint64  `json:"packets,omitempty"`
	Bytes         *uint64  `json:"bytes,omitempty"`
	PacketsDelta  *uint64  `json:"packets_delta,omitempty"`
	BytesDelta    *uint64  `json:"bytes_delta,omitempty"`
	RevPackets    *uint64  `json:"reverse.packets,omitempty"`
	RevBytes      *uint64  `json:"reverse.bytes,omitempty"`
	RevPktsDelta  *uint64  `json:"reverse.packets_delta,omitempty"`
	RevBytesDelta *uint64  `json:"reverse.bytes_delta,omitempty"`
	SrcPod        string   `json:"src.pod,omitempty"`
	SrcNS         string   `json:"src.ns,omitempty"`
	SrcNode       string   `json:"src.node,omitempty"`
	DstPod        string   `json:"dst.pod,omitempty"`
	DstNS         string   `json:"dst.ns,omitempty"`
	DstNode       string   `json:"dst.node,omitempty"`
	SvcPort       *uint16  `json:"service.port,omitempty"`
	Service       string   `json:"service.name,omitempty"`
	Policy        string   `json:"ingress.policy,omitempty"`
	PolicyNS      string   `json:"ingress.policy_ns,omitempty"`
	PolicyType    string   `json:"ingress.policy_type,omitempty"`
	Action        string   `json:"ingress.action,omitempty"`
	TCPState      string   `json:"tcp_state,omitempty"`
	FlowType      string   `json:"flow_type,omitempty"`
	ClusterIP     string   `json:"cluster_ip,omitempty"`
	SvcIP         string   `json:"service.ip,omitempty"`
	SrcLabels     string   `json:"src.labels,omitempty"`
	DstLabels     string   `json:"dst.labels,omitempty"`
	Throughput    *uint64  `json:"throughput,omitempty"`
	RevThroughput *uint64  `json:"reverse.throughput,omitempty"`
	Cluster       string   `json:"cluster,omitempty"`
	Outcome       string   `json:"outcome,omitempty"`
	Evidence      []string `json:"evidence,omitempty"`
	SeenBy        string   `json:"seen_by,omitempty"`
	Scope         string   `json:"scope,omitempty"`
	SrcKind       string   `json:"src.kind,omitempty"`
	DstKind       string   `json:"dst.kind,omitempty"`
	SrcWorkload   string   `json:"src.workload,omitempty"`
	DstWorkload   string   `json:"dst.workload,omitempty"`
	ConnID        string   `json:"conn_id,omitempty"`
	First         *bool    `json:"first,omitempty"`
	Final         *bool    `json:"final,omitempty"`
	Records       *uint32  `json:"records,omitempty"`
	Connections   int      `json:"connections,omitempty"`
	Verdict       string   `json:"verdict,omitempty"`
}

func documentOf(r *flow.Record) *plainDoc {
	return &plainDoc{
		Time: r.End, Start: &r.Start, EndReason: r.Text(flow.FEndReason), SrcIP: r.SrcIP.String(), DstIP: r.DstIP.String(), SrcPort: &r.SrcPort, DstPort: &r.DstPort, Proto: &r.Proto,
		Packets: &r.Packets, Bytes: &r.Bytes, PacketsDelta: &r.PacketsDelta, BytesDelta: &r.BytesDelta,
		RevPackets: &r.RevPackets, RevBytes: &r.RevBytes, RevPktsDelta: &r.RevPacketsDelta, RevBytesDelta: &r.RevBytesDelta,
		SrcPod: r.SrcPod, SrcNS: r.SrcNS, SrcNode: r.SrcNode, DstPod: r.DstPod, DstNS: r.DstNS, DstNode: r.DstNode, SvcPort: &r.SvcPort, Service: r.SvcPortName,
		Policy: r.IngressPolicy, PolicyNS: r.IngressPolicyNS, PolicyType: r.Text(flow.FIngressPolicyType), Action: r.Text(flow.FIngressAction), TCPState: r.TCPState, FlowType: r.Text(flow.FFlowType),
		ClusterIP: r.ClusterIP.String(), SvcIP: r.SvcIP.String(), SrcLabels: r.SrcLabels, DstLabels: r.DstLabels, Throughput: &r.Throughput, RevThroughput: &r.RevThroughput,
		Cluster: r.ClusterID, Outcome: r.Text(flow.FOutcome), Evidence: []string{"conntrack", "both_ends"}, SeenBy: r.Text(flow.FSeenBy), Scope: r.Text(flow.FScope),
		SrcKind: r.Text(flow.FSrcKind), DstKind: r.Text(flow.FDstKind), SrcWorkload: r.SrcWorkload, DstWorkload: r.DstWorkload, ConnID: r.Text(flow.FConnID),
		First: &r.First, Final: &r.Final, Records: &r.Records, Connections: 1, Verdict: "allowed",
	}
}

// TestSameDocument holds the benchmarks to the same input: both ways write one document.
func TestSameDocument(t *testing.T) {
	r := flowtest.Sample(7)
	theirs, err := json.Marshal(documentOf(&r))
	if err != nil {
		t.Fatal(err)
	}
	ours := "{" + string(newEncoder(&Config{}).record(&r).body) + "}"
	var a, b map[string]any
	if err := json.Unmarshal(theirs, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(ours), &b); err != nil {
		t.Fatal(err)
	}
	if len(a) != len(b) {
		t.Errorf("theirs has %d members, ours %d", len(a), len(b))
	}
	for k, v := range b {
		if x, y := jsonOf(t, a[k]), jsonOf(t, v); x != y {
			t.Errorf("%s: theirs %s, ours %s", k, x, y)
		}
	}
	if _, ok := b[mapping.Time]; !ok {
		t.Error("no time")
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pool(b *testing.B, wire http.RoundTripper) *elastictransport.Client {
	b.Helper()
	c, err := elastictransport.NewClient(elastictransport.WithURLs(&url.URL{Scheme: "http", Host: "127.0.0.1:9"}), elastictransport.WithDisableRetry(), elastictransport.WithTransport(wire))
	if err != nil {
		b.Fatal(err)
	}
	return c
}
