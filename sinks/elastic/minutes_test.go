package elastic_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/elastic"
)

// sum is what adds up of a minute and a namespace.
type sum struct{ Flows, Connections, Bytes, Packets, RevBytes, RevPackets uint64 }

func sumsOf(recs []flow.Record) map[string]sum {
	out := map[string]sum{}
	for i := range recs {
		r := &recs[i]
		if r.Canary {
			continue
		}
		k := fmt.Sprint(r.End/60_000*60_000, " ", r.SrcNS)
		s := out[k]
		s.Flows++
		if r.First {
			s.Connections++
		}
		s.Bytes, s.Packets = s.Bytes+r.BytesDelta, s.Packets+r.PacketsDelta
		s.RevBytes, s.RevPackets = s.RevBytes+r.RevBytesDelta, s.RevPackets+r.RevPacketsDelta
		out[k] = s
	}
	return out
}

// sumsIn asks the engine for the same.
func sumsIn(t *testing.T, url, index string) map[string]sum {
	t.Helper()
	type value struct{ Value float64 }
	var got struct {
		Aggregations struct {
			Minutes struct {
				Buckets []struct {
					Key int64
					NS  struct {
						Buckets []struct {
							Key                                                      string
							Flows, Connections, Bytes, Packets, RevBytes, RevPackets value
						}
					}
				}
			}
		}
	}
	var aggs []string
	for name, field := range map[string]string{
		"flows": "flows", "connections": "connections", "bytes": "bytes_delta", "packets": "packets_delta", "revbytes": "reverse.bytes_delta", "revpackets": "reverse.packets_delta",
	} {
		aggs = append(aggs, `"`+name+`":{"sum":{"field":"`+field+`"}}`)
	}
	count(t, url, index)
	must(t, "POST", url+"/"+index+"/_search", `{"size":0,"aggs":{"minutes":{"date_histogram":{"field":"@timestamp","fixed_interval":"1m"},"aggs":{"ns":{"terms":{"field":"src.ns","size":1000},"aggs":{`+strings.Join(aggs, ",")+`}}}}}}`, &got)
	out := map[string]sum{}
	for _, m := range got.Aggregations.Minutes.Buckets {
		for _, n := range m.NS.Buckets {
			out[fmt.Sprint(m.Key, " ", n.Key)] = sum{
				uint64(n.Flows.Value), uint64(n.Connections.Value), uint64(n.Bytes.Value), uint64(n.Packets.Value), uint64(n.RevBytes.Value), uint64(n.RevPackets.Value),
			}
		}
	}
	return out
}

// TestNothingToAddUp: a process that finds all sums written has none in memory, and so
// notes none: a note of records that are long there would have them added up again.
func TestNothingToAddUp(t *testing.T) {
	cfg := elastic.DefaultConfig()
	cfg.Name, cfg.Hosts, cfg.Format, cfg.Dir = "es", []string{"http://127.0.0.1:1"}, elastic.FormatMinutes, t.TempDir()
	const note = `{"spool":"a","from":20000,"to":50000,"by":["src.ns"],"done":true}`
	file := filepath.Join(cfg.Dir, "minutes.json")
	if err := os.WriteFile(file, []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := elastic.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	keeper := s.(sinks.Keeper)
	pos, ok, err := keeper.Resume(t.Context(), "a")
	if pos != 50_000 || !ok || err != nil {
		t.Fatalf("%d %v %v", pos, ok, err)
	}
	if err := keeper.Store(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.(sinks.Ticker).Tick(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != note {
		t.Errorf("the note is now %s (%v)", b, err)
	}
}

// testMinutes adds up by minute. A process is killed when the server has its sums and no
// answer came; the next one cuts its batches elsewhere, with other fields to sum by.
func testMinutes(t *testing.T, srv *testenv.Search) {
	t.Helper()
	recs := samples(0, 3000)
	for i := range recs {
		recs[i].SetEnd(1_700_000_000_000 + int64(i)*100) // over six minutes
		recs[i].SetFirst(i%3 == 0)
		recs[i].SetCanary(i%50 == 0)
	}
	lossy := cutter(t, srv.URL, onlyBulk())
	cfg := config(lossy, "minutes")
	cfg.Format, cfg.Dir = elastic.FormatMinutes, t.TempDir()
	cfg.Minutes.By = []string{"src.ns", "dst.ns", "outcome"}
	first := resumed(t, cfg, 0)
	if err := first.WriteAt(t.Context(), 0, recs[:1700]); err != nil {
		t.Fatal(err)
	}
	if err := first.Store(t.Context()); err == nil {
		t.Fatal("no error for an answer that was lost")
	}
	if first.Stored() != 0 {
		t.Errorf("stored up to %d, and nothing is sure", first.Stored())
	}
	// Killed. What it had written without an answer is not written again.
	cfg.Hosts, cfg.Minutes.By = []string{srv.URL}, []string{"src.ns"}
	second := resumed(t, cfg, 0)
	for at := 0; at < 2500; at += 500 {
		if err := second.WriteAt(t.Context(), uint64(at), recs[at:at+500]); err != nil {
			t.Fatal(err)
		}
	}
	if second.Stored() != 1700 {
		t.Errorf("stored up to %d, want 1700: the sums that were begun", second.Stored())
	}
	if err := second.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	third := resumed(t, cfg, 2500)
	if err := third.WriteAt(t.Context(), 2500, recs[2500:]); err != nil {
		t.Fatal(err)
	}
	if err := third.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sumsOf(recs), sumsIn(t, srv.URL, "minutes")); d != "" {
		t.Errorf("sums (-want +got):\n%s", d)
	}
	if n := count(t, srv.URL, "minutes"); n > 1500 {
		t.Errorf("%d documents for 3000 records: nothing was added up", n)
	}
}

// onlyBulk cuts the answer of the first _bulk.
func onlyBulk() func(path string) bool {
	cuts := 1
	return func(path string) bool {
		if strings.HasSuffix(path, "/_bulk") && cuts > 0 {
			cuts--
			return true
		}
		return false
	}
}

func resumed(t *testing.T, cfg elastic.Config, want uint64) sinks.Keeper {
	t.Helper()
	k, ok := newSink(t, cfg).(sinks.Keeper)
	if !ok {
		t.Fatal("sums are no sinks.Keeper")
	}
	pos, _, err := k.Resume(t.Context(), "spool")
	if err != nil || pos != want {
		t.Fatalf("resumes at %d, %v, want %d", pos, err, want)
	}
	return k
}

func testELK(t *testing.T, srv *testenv.Search) {
	t.Helper()
	cfg := config(srv.URL, "flow")
	cfg.Format = elastic.FormatELK
	r := samples(0, 1)[0]
	r.SetSince(r.End - 2000)
	r.SetBytesDeltaSrc(5000)
	bare := flow.Record{}
	bare.SetEnd(r.End + 24*3600_000)
	bare.SetID(flow.UUID{9})
	s := newSink(t, cfg)
	for range 2 {
		if err := s.Write(t.Context(), []flow.Record{r, bare}); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, srv.URL, "flow-*"); n != 2 {
		t.Errorf("%d documents, want 2", n)
	}
	var got struct {
		Hits struct {
			Hits []struct {
				Source struct{ IPFIX map[string]json.RawMessage } `json:"_source"`
			}
		}
	}
	must(t, "POST", srv.URL+"/flow-2023.11.14/_search", `{"query":{"term":{"ipfix.sourcePodName.keyword":"client-0000-x7k2p"}}}`, &got)
	if len(got.Hits.Hits) != 1 {
		t.Fatalf("%d documents in the day's index, want 1", len(got.Hits.Hits))
	}
	doc := got.Hits.Hits[0].Source.IPFIX
	for name, want := range map[string]string{
		"flowEndSeconds": `"2023-11-14T22:13:24.321Z"`, "sourceIPv4Address": `"10.10.0.0"`, "destinationTransportPort": "8080", "protocolIdentifier": `"TCP"`,
		"octetTotalCount": "1000", "bytes": "1000", "packets": "10", "reverseOctetDeltaCount": "20000", "ingressNetworkPolicyName": `"allow-clients"`, "egressNetworkPolicyName": `"N/A"`,
		"flowType": "2", "throughput": "2500", "flowKeyPodToPod": `"client-0000-x7k2p:32768->server-0003-b9qmz:8080 TCP"`,
		"flowKeyPodToService": `"client-0000-x7k2p:32768->team-03/server-0003:http80 TCP"`, "sourceIP": `"10.10.0.0"`,
	} {
		if string(doc[name]) != want {
			t.Errorf("ipfix.%s is %s, want %s", name, doc[name], want)
		}
	}
}

// testELKQueries asks what the saved objects of Antrea's ELK flow collector ask: bytes by
// the keys that Logstash made, bandwidth by pod, node and Service over time, bytes by policy.
func testELKQueries(t *testing.T, srv *testenv.Search) {
	t.Helper()
	cfg := config(srv.URL, "elkq")
	cfg.Format = elastic.FormatELK
	recs := samples(0, 60)
	var total, denied float64
	for i := range recs {
		recs[i].SetBytesDeltaSrc(uint64(1000 + i))
		recs[i].SetIngressPolicy([]string{"allow-clients", "deny-all"}[i%2])
		total += float64(recs[i].Bytes)
		if i%2 == 1 {
			denied += float64(recs[i].Bytes)
		}
	}
	if err := newSink(t, cfg).Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	count(t, srv.URL, "elkq-*")
	for name, c := range map[string]struct {
		agg  string
		want float64
	}{
		"pod to pod":     {`"terms":{"field":"ipfix.flowKeyPodToPod.keyword","size":1000}`, total},
		"pod to Service": {`"terms":{"field":"ipfix.flowKeyPodToService.keyword","size":1000}`, total},
		"node":           {`"terms":{"field":"ipfix.sourceNodeName.keyword","size":1000}`, total},
		"destination":    {`"terms":{"field":"ipfix.destinationPodName.keyword","size":1000}`, total},
		"time":           {`"date_histogram":{"field":"@timestamp","fixed_interval":"1m"}`, total},
		"end":            {`"date_histogram":{"field":"ipfix.flowEndSeconds","fixed_interval":"1m"}`, total},
		"policy":         {`"terms":{"field":"ipfix.ingressNetworkPolicyName.keyword","include":"deny-.*","size":1000}`, denied},
		"flow type":      {`"range":{"field":"ipfix.flowType","ranges":[{"from":1,"to":4}]}`, total},
	} {
		var got struct {
			Aggregations struct {
				By struct {
					Buckets []struct{ Bytes, Throughput struct{ Value float64 } }
				}
			}
		}
		must(t, "POST", srv.URL+"/elkq-*/_search", `{"size":0,"query":{"bool":{"filter":[{"exists":{"field":"ipfix.sourcePodName"}}]}},"aggs":{"by":{`+c.agg+`,"aggs":{"bytes":{"sum":{"field":"ipfix.bytes"}},"throughput":{"max":{"field":"ipfix.throughput"}}}}}}`, &got)
		sum := 0.0
		for _, b := range got.Aggregations.By.Buckets {
			sum += b.Bytes.Value
			if b.Bytes.Value > 0 && b.Throughput.Value <= 0 {
				t.Errorf("%s: a bucket without a throughput", name)
			}
		}
		if sum != c.want || c.want == 0 {
			t.Errorf("%s: %v bytes, want %v", name, sum, c.want)
		}
	}
}
