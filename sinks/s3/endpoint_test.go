package s3_test

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/s3"
	"github.com/weirnet/weir/sinks/sinktest"
)

// address is what the sinks of these tests are made of, also in another process.
type address struct {
	URL, Key, Secret, Bucket, Format string
	Plain                            bool // not compressed
}

func (a address) String() string {
	b, _ := json.Marshal(a) // five strings
	return string(b)
}

func (a address) config(t interface{ TempDir() string }) s3.Config {
	return a.configIn(t.TempDir())
}

func (a address) configIn(dir string) s3.Config {
	c := s3.DefaultConfig()
	c.Endpoint, c.Bucket, c.PathStyle, c.Format, c.Timeout = a.URL, a.Bucket, true, a.Format, 5*time.Second
	c.Compress, c.PartBytes = !a.Plain, 5<<20
	c.StateFile = filepath.Join(dir, "upload.json")
	c.AccessKey.File, c.SecretKey.File = filepath.Join(dir, "key"), filepath.Join(dir, "secret")
	for path, text := range map[string]string{c.AccessKey.File: a.Key, c.SecretKey.File: a.Secret} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			panic(err) // a bug of the test
		}
	}
	return c
}

func newSink(t testing.TB, c s3.Config, spool string) *s3.Sink {
	t.Helper()
	s, err := s3.New(c, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, _, err := s.Resume(t.Context(), spool); err != nil {
		t.Fatal(err)
	}
	return s
}

// client is an independent one.
func client(t testing.TB, srv *testenv.S3) *minio.Core {
	t.Helper()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	opt := &minio.Options{Creds: credentials.NewStaticV4(srv.Key, srv.Secret, ""), Secure: u.Scheme == "https", Region: "us-east-1"}
	if srv.CA != nil {
		tr, err := minio.DefaultTransport(true)
		if err != nil {
			t.Fatal(err)
		}
		if tr.TLSClientConfig, err = (remote.TLS{On: true, CA: srv.CA.File}).Config(); err != nil {
			t.Fatal(err)
		}
		opt.Transport = tr
	}
	c, err := minio.NewCore(u.Host, opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func makeBucket(t testing.TB, srv *testenv.S3, format string) address {
	t.Helper()
	name := "flows-" + strings.ToLower(rand.Text())
	if err := client(t, srv).MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return address{srv.URL, srv.Key, srv.Secret, name, format, false}
}

// read gives the objects of a bucket by name.
func read(t *testing.T, srv *testenv.S3, bucket string) map[string][]byte {
	t.Helper()
	c := client(t, srv)
	all := map[string][]byte{}
	for o := range c.Client.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		r, err := c.Client.GetObject(t.Context(), bucket, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", o.Key, err)
		}
		if !strings.HasSuffix(o.Key, "/") { // a directory
			all[o.Key] = b
		}
	}
	return all
}

// unfinished gives the uploads in parts that are under way.
func unfinished(t *testing.T, srv *testenv.S3, bucket string) []minio.ObjectMultipartInfo {
	t.Helper()
	r, err := client(t, srv).ListMultipartUploads(t.Context(), bucket, "", "", "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return r.Uploads
}

// numbers gives the samples of an object in its order.
func numbers(t *testing.T, name string, b []byte) (list []uint64) {
	t.Helper()
	if strings.HasSuffix(name, ".parquet") {
		path := filepath.Join(t.TempDir(), "x.parquet")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, r := range parquet(t, path) {
			list = append(list, sinktest.Number(t, r.EgressName))
		}
		return list
	}
	var r io.Reader = bytes.NewReader(b)
	if strings.HasSuffix(name, ".gz") {
		var err error
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		switch {
		case strings.Contains(name, ".jsonl"):
			var rec flow.Record
			if err := flow.ParseJSON(sc.Bytes(), &rec); err != nil {
				t.Fatal(err)
			}
			list = append(list, sinktest.Number(t, rec.EgressName))
		default:
			f := strings.Split(sc.Text(), ",")
			list = append(list, sinktest.Number(t, f[len(f)-3]))
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// parquet reads a file with the history's reader.
func parquet(t *testing.T, path string) []flow.Record {
	t.Helper()
	f, err := segment.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var recs []flow.Record
	for g := range f.Groups {
		b := column.Block{Rows: f.Meta.Groups[g].Rows}
		for _, id := range flow.AllFields() {
			if column.KindOf(id) == column.None {
				continue
			}
			c, err := f.Column(g, id)
			if err != nil {
				t.Fatal(err)
			}
			b.Cols[id] = c
		}
		for i := range b.Rows {
			var r flow.Record
			if err := b.Record(i, nil, &r); err != nil {
				t.Fatal(err)
			}
			recs = append(recs, r)
		}
	}
	return recs
}

// target reads every object, uploads in their order.
func target(t *testing.T, srv *testenv.S3, a address) sinktest.Target {
	t.Helper()
	return sinktest.Target{Address: a.String(), Dir: t.TempDir(), Stored: func(t *testing.T) []uint64 {
		t.Helper()
		objects := read(t, srv, a.Bucket)
		names := slices.SortedFunc(maps.Keys(objects), func(a, b string) int {
			return cmp.Or(strings.Compare(filepath.Base(a), filepath.Base(b)), strings.Compare(a, b))
		})
		var list []uint64
		for _, n := range names {
			list = append(list, numbers(t, n, objects[n])...)
		}
		if u := unfinished(t, srv, a.Bucket); len(u) != 0 {
			t.Errorf("parts are left: %+v", u)
		}
		return list
	}}
}

func kind(srv *testenv.S3, format string) sinktest.Kind {
	return sinktest.Kind{
		Make: func(text, dir string) (sinks.Sink, error) {
			var a address
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				return nil, err
			}
			c := a.configIn(dir)
			c.MaxRecords, c.Interval = 7000, time.Second
			return s3.New(c, nil, nil)
		},
		New: func(t *testing.T) sinktest.Target {
			t.Helper()
			a := makeBucket(t, srv, format)
			return target(t, srv, a)
		},
		Unreachable: func(t *testing.T) sinks.Sink {
			t.Helper()
			a := address{"http://" + testenv.Deaf(t), "a", "b", "flows", "parquet", false}
			return newSink(t, a.config(t), "spool")
		},
		Mutual: func(t *testing.T, front *testenv.Front, client remote.TLS) (sinktest.Target, sinks.Sink) {
			t.Helper()
			front.To(strings.TrimPrefix(srv.URL, "http://"))
			a := makeBucket(t, srv, format)
			g := target(t, srv, a)
			a.URL = "https://" + front.Addr
			c := a.config(t)
			c.TLS, c.MaxRecords, c.Interval = client, 1000, time.Second
			s, err := s3.New(c, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return g, s
		},
	}
}

func TestMain(m *testing.M) { sinktest.Main(m, kind(nil, "")) }

func TestConformance(t *testing.T) {
	srv := testenv.StartS3(t)
	for _, format := range []string{"parquet", "antrea-csv", "jsonl"} {
		t.Run(format, func(t *testing.T) { sinktest.Run(t, kind(srv, format)) })
	}
	t.Run("gateway", func(t *testing.T) { sinktest.Run(t, kind(testenv.StartS3(t, testenv.S3ByGateway), "parquet")) })
	t.Run("killed upload", func(t *testing.T) { testKilledUpload(t, srv) })
	t.Run("access", func(t *testing.T) { testAccess(t, srv) })
	t.Run("clickhouse reads", func(t *testing.T) { testClickHouse(t, srv) })
}
