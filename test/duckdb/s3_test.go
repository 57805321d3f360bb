package duckdb

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/s3"
)

// TestReadsTheBucket: DuckDB finds day and hour in the names of the sink's objects, and the
// sums of each hour as they were written. Its own client of S3 is an extension that is
// fetched at run time, so the objects are copied first.
func TestReadsTheBucket(t *testing.T) {
	srv := testenv.StartS3(t)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(srv.Key, srv.Secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "flows", minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_S3_KEY", srv.Key)
	t.Setenv("WEIR_TEST_S3_SECRET", srv.Secret)
	cfg := s3.DefaultConfig()
	cfg.Endpoint, cfg.Bucket, cfg.PathStyle, cfg.StateFile = srv.URL, "flows", true, filepath.Join(t.TempDir(), "upload.json")
	cfg.AccessKey, cfg.SecretKey = remote.Secret{Name: "accessKey", Env: "WEIR_TEST_S3_KEY"}, remote.Secret{Name: "secretKey", Env: "WEIR_TEST_S3_SECRET"}
	s, err := s3.New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Resume(t.Context(), "spool"); err != nil {
		t.Fatal(err)
	}
	want := map[string][2]uint64{}
	recs := make([]flow.Record, 20_000)
	for i := range recs {
		recs[i] = flowtest.Sample(uint64(i))
		recs[i].SetEnd(flowtest.HistoryStart + int64(i)*500)
		at := time.UnixMilli(recs[i].End).UTC()
		k := at.Format("2006-01-02 15")
		want[k] = [2]uint64{want[k][0] + 1, want[k][1] + recs[i].BytesDelta}
	}
	if err := s.WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	if err := s.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for o := range c.ListObjects(t.Context(), "flows", minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		path := filepath.Join(dir, o.Key)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := c.FGetObject(t.Context(), "flows", o.Key, path, minio.GetObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := open(t).Query(fmt.Sprintf("select strftime(dt, '%%Y-%%m-%%d') || ' ' || lpad(cast(hour as varchar), 2, '0'), count(*)::ubigint, sum(bytes_delta)::ubigint from read_parquet('%s/weir/**/*.parquet', hive_partitioning=true) group by all", dir))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	got := 0
	for rows.Next() {
		var k string
		var n, bytes uint64
		if err := rows.Scan(&k, &n, &bytes); err != nil {
			t.Fatal(err)
		}
		got++
		if want[k] != [2]uint64{n, bytes} {
			t.Errorf("%s: %d records, %d bytes, want %v", k, n, bytes, want[k])
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if got != len(want) || got < 3 {
		t.Errorf("%d hours, want %d", got, len(want))
	}
}
