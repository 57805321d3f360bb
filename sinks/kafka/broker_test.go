package kafka_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/kafka"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/sinktest"
)

func config(addr, topic string) kafka.Config {
	c := kafka.DefaultConfig()
	c.Brokers, c.Topic, c.Version, c.Timeout = []string{addr}, topic, "v0.0.0-test", 5*time.Second
	return c
}

func newSink(t testing.TB, c kafka.Config) *kafka.Sink {
	t.Helper()
	s, err := kafka.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// makeTopic makes a topic of three partitions as an administrator does.
func makeTopic(t testing.TB, k *testenv.Kafka, name string, settings map[string]string) string {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Plain))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	set := map[string]*string{}
	for key, v := range settings {
		set[key] = &v
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := kadm.NewClient(cl).CreateTopic(ctx, 3, 1, set, name)
	if err != nil || resp.Err != nil {
		t.Fatal(err, resp.Err)
	}
	return name
}

// readAll reads the whole topic with a client of its own, in the order of each partition.
func readAll(t *testing.T, k *testenv.Kafka, topic string) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Plain), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	var all []*kgo.Record
	for int64(len(all)) < want {
		f := cl.PollFetches(ctx)
		if err := f.Err0(); err != nil {
			t.Fatalf("read %d of %d: %v", len(all), want, err)
		}
		all = append(all, f.Records()...)
	}
	return all
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// ids are the numbers of the samples in a topic.
func ids(t *testing.T, recs []*kgo.Record) (list []uint64) {
	t.Helper()
	for _, r := range recs {
		id, err := flow.ParseUUID(header(r, "id"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, flowtest.SampleNumber(id))
	}
	return list
}

// numbers counts how many samples a topic has, and how many came more than once.
func numbers(t *testing.T, recs []*kgo.Record) (seen map[uint64]int, again int) {
	t.Helper()
	seen = map[uint64]int{}
	for _, n := range ids(t, recs) {
		if seen[n]++; seen[n] > 1 {
			again++
		}
	}
	return seen, again
}

func samples(from, n int) []flow.Record {
	recs := make([]flow.Record, n)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(from + i))
	}
	return recs
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error does not say %q: %v", p, err)
		}
	}
}

func TestBroker(t *testing.T) {
	k := testenv.StartKafka(t)
	t.Run("arrives", func(t *testing.T) { testArrives(t, k) })
	t.Run("conformance", func(t *testing.T) { sinktest.Run(t, kind(k)) })
	t.Run("access", func(t *testing.T) { testAccess(t, k) })
	t.Run("too large", func(t *testing.T) { testTooLarge(t, k) })
}

func TestMain(m *testing.M) { sinktest.Main(m, kind(nil)) }

// kind is what the suite needs; an address is BROKER/TOPIC.
func kind(k *testenv.Kafka) sinktest.Kind {
	return sinktest.Kind{
		Make: func(address, _ string) (sinks.Sink, error) {
			broker, topic, _ := strings.Cut(address, "/")
			return kafka.New(config(broker, topic), nil)
		},
		New:            func(t *testing.T) sinktest.Target { t.Helper(); return target(t, k) },
		AgainAfterKill: true,
		Poison: func(r *flow.Record) string {
			r.SetHTTPVals(randomText(2 << 20))
			return kafka.LostPoisoned
		},
		Unreachable: func(t *testing.T) sinks.Sink {
			t.Helper()
			return newSink(t, config(testenv.Deaf(t), "flows"))
		},
		Mutual: func(t *testing.T, front *testenv.Front, client remote.TLS) (sinktest.Target, sinks.Sink) {
			t.Helper()
			k := testenv.StartKafkaBehind(t, front)
			g := target(t, k)
			c := config(front.Addr, topicOf(g))
			c.TLS, c.Timeout = client, time.Second
			return g, newSink(t, c)
		},
	}
}

func target(t *testing.T, k *testenv.Kafka) sinktest.Target {
	t.Helper()
	topic := makeTopic(t, k, strings.Map(func(r rune) rune {
		if r == '/' || r == '#' {
			return '-'
		}
		return r
	}, t.Name()+rand.Text()), nil)
	return sinktest.Target{Address: k.Plain + "/" + topic, Dir: t.TempDir(), Stored: func(t *testing.T) []uint64 {
		t.Helper()
		return ids(t, readAll(t, k, topic))
	}}
}

// randomText does not become smaller by compression.
func randomText(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// testArrives: every record is there once, whole, keyed by its connection, with its headers.
func testArrives(t *testing.T, k *testenv.Kafka) {
	t.Helper()
	for _, format := range []string{"json", "protobuf"} {
		for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
			t.Run(format+" "+codec, func(t *testing.T) {
				c := config(k.Plain, makeTopic(t, k, "flows-"+format+codec, nil))
				c.Format, c.Compression, c.Headers = format, codec, map[string]string{"cluster": "blue"}
				s := newSink(t, c)
				recs := samples(0, 2000)
				for i := range recs {
					recs[i].SetConnID(uint64(i % 100)) // of each connection 20 records
				}
				for i := 0; i < len(recs); i += 500 {
					if err := s.Write(t.Context(), recs[i:i+500]); err != nil {
						t.Fatal(err)
					}
				}
				checkArrived(t, readAll(t, k, c.Topic), recs, format)
			})
		}
	}
}

func checkArrived(t *testing.T, got []*kgo.Record, recs []flow.Record, format string) {
	t.Helper()
	if seen, again := numbers(t, got); len(seen) != len(recs) || again != 0 {
		t.Fatalf("%d records, %d of them twice, want %d", len(seen), again, len(recs))
	}
	last := map[string]uint64{}
	partition := map[string]int32{}
	partitions := map[int32]bool{}
	for _, m := range got {
		id, _ := flow.ParseUUID(header(m, "id")) // numbers has looked
		n := flowtest.SampleNumber(id)
		want := flow.AppendProto(nil, &recs[n])
		kind := "application/x-protobuf; messageType=weir.flow.v1.Flow"
		if format == "json" {
			want, kind = flow.AppendJSON(nil, &recs[n]), "application/json"
		}
		key := string(m.Key)
		if string(m.Value) != string(want) || key != fmt.Sprintf("%016x", n%100) || header(m, "cluster") != "blue" || header(m, "content-type") != kind {
			t.Fatalf("message of record %d: key %s, headers %v, value %q, want %q", n, key, m.Headers, m.Value, want)
		}
		if p, ok := partition[key]; ok && (p != m.Partition || last[key] >= n) {
			t.Fatalf("connection %s: record %d in partition %d comes behind %d in %d", key, n, m.Partition, last[key], p)
		}
		partition[key], last[key] = m.Partition, n
		partitions[m.Partition] = true
	}
	if len(partitions) != 3 {
		t.Errorf("%d partitions were written, want 3", len(partitions))
	}
}
