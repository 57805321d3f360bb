// Package s3 writes flow records as objects to a bucket of any endpoint that speaks S3:
// Parquet as the built-in history keeps it, Antrea's CSV, or JSON lines, under names like
// dt=2026-01-31/hour=23/, which DuckDB, ClickHouse, Spark and Athena read as columns.
//
// In: batches of sinks.Runner, which are kept in memory as columns or compressed lines
// until there are enough of them. Out: for each upload, one object for each hour that its
// records end in. An object's name says the spool and the position of the upload's first
// record, and a file beside the spool says how far the upload goes: it is written before
// the first object, so that a process that was killed is followed by one that sends the
// same objects, which replace what was there (docs/adr/0016). S3 shows an object when it
// is whole; parts of a killed upload are found and removed.
//
// If the process dies, the spool has what no finished upload has.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks"
)

// maxObjects bounds the objects of one upload, should the times of records be wild.
const maxObjects = 64

// Sink writes to one bucket. It is a sinks.Keeper and a sinks.Ticker; it is not safe for
// concurrent use: the Runner calls it from one goroutine.
type Sink struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	client *minio.Core
	m      metrics

	transport *http.Transport

	spool string
	next  uint64 // position behind the last record that was taken
	done  uint64 // position behind the last one that is stored

	objects map[string]object // by partition
	sent    map[string]bool   // of the upload under way, the partitions whose objects are there
	rows    int
	from    uint64 // of the first record in objects
	opened  time.Time
	plan    *state // of the upload under way, on the disk
	cut     uint64 // an upload of an earlier process ends here; 0 for none
	swept   bool   // no parts of a failed try are left
}

var (
	_ sinks.Keeper = (*Sink)(nil)
	_ sinks.Ticker = (*Sink)(nil)
)

// New makes the sink; it connects at the first record. log and now may be nil.
func New(cfg Config, log *slog.Logger, now func() time.Time) (*Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.StateFile == "" {
		return nil, errors.New("stateFile: missing")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	s := &Sink{cfg: cfg, log: log.With("sink", cfg.Name), now: now}
	s.m.name = cfg.Name
	var err error
	s.transport = s.cfg.transport()
	if s.client, err = s.cfg.client(s.transport); err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	s.reset()
	return s, nil
}

func (s *Sink) reset() {
	s.objects, s.sent, s.rows, s.plan = map[string]object{}, map[string]bool{}, 0, nil
}

// Name implements sinks.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Resume implements sinks.Resumer: it reads what the file says of the spool.
func (s *Sink) Resume(_ context.Context, spool string) (uint64, bool, error) {
	s.spool = spool
	st, err := readState(s.cfg.StateFile)
	if err != nil || st.Spool != spool {
		return 0, false, err
	}
	s.next, s.cut = st.From, st.To
	if st.Done {
		s.next, s.cut = st.To, 0
	}
	s.done = s.next
	return s.next, true, nil
}

// Write implements sinks.Sink. The Runner calls WriteAt.
func (s *Sink) Write(context.Context, []flow.Record) error {
	return errors.New("s3: records need positions: use WriteAt")
}

// WriteAt implements sinks.Resumer: it takes the records into memory, and stores what is
// there first if that is enough for an upload.
func (s *Sink) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	if err := s.sweep(ctx); err != nil { // says at once who is not let in
		return s.cfg.explain(err)
	}
	if pos < s.next {
		skip := min(s.next-pos, uint64(len(recs)))
		pos, recs = pos+skip, recs[skip:]
	}
	for len(recs) > 0 {
		if s.due() || s.cut > 0 && pos >= s.cut { // what lies between was lost
			if err := s.store(ctx); err != nil {
				return err
			}
		}
		n := min(len(recs), s.cfg.MaxRecords-s.rows)
		if s.cut > 0 {
			n = int(min(uint64(len(recs)), s.cut-pos)) // the same upload as before, whatever it has
		}
		n, err := s.take(pos, recs[:n])
		if err != nil {
			return err
		}
		pos, recs = pos+uint64(n), recs[n:]
	}
	return nil
}

// take puts records into objects, until there are too many of these.
func (s *Sink) take(pos uint64, recs []flow.Record) (n int, err error) {
	if s.rows == 0 {
		s.from, s.opened = pos, s.now()
		if s.cut > 0 {
			s.from = s.done
		}
	}
	s.next = pos
	for i := range recs {
		p := s.cfg.partition(&recs[i])
		o := s.objects[p]
		if o == nil {
			if len(s.objects) == maxObjects && s.cut == 0 {
				break // the next upload has it
			}
			o = s.cfg.newObject(s.opened)
			s.objects[p] = o
		}
		if err := o.add(&recs[i]); err != nil {
			return i, err
		}
		s.rows++
		s.next++
	}
	return int(s.next - pos), nil
}

// due tells whether there is enough for an upload, or one that is not done.
func (s *Sink) due() bool {
	switch {
	case s.plan != nil:
		return true
	case s.cut > 0:
		return s.next >= s.cut
	case s.rows == 0:
		return false
	}
	return s.rows >= s.cfg.MaxRecords || len(s.objects) == maxObjects || s.now().Sub(s.opened) >= s.cfg.Interval
}

// Tick implements sinks.Ticker: it uploads when no records come.
func (s *Sink) Tick(ctx context.Context, _ time.Time) error {
	if !s.due() {
		return nil
	}
	return s.store(ctx)
}

// Stored implements sinks.Keeper.
func (s *Sink) Stored() uint64 { return s.done }

// Store implements sinks.Keeper: it uploads what is in memory. Where a killed process
// began an upload, its records have to be read first.
func (s *Sink) Store(ctx context.Context) error {
	if s.cut > 0 && s.next < s.cut && s.plan == nil {
		return nil
	}
	return s.store(ctx)
}

// store uploads. A try that fails is gone on with by the next one.
func (s *Sink) store(ctx context.Context) error {
	if s.rows > 0 {
		if err := s.upload(ctx); err != nil {
			s.m.failures.Add(1)
			s.swept = false
			return s.cfg.explain(err)
		}
	}
	s.next = max(s.next, s.cut)
	s.done, s.cut = s.next, 0
	s.reset()
	return nil
}

func (s *Sink) upload(ctx context.Context) error {
	if err := s.sweep(ctx); err != nil {
		return err
	}
	if s.plan == nil {
		plan := &state{Spool: s.spool, From: s.from, To: max(s.next, s.cut)}
		if err := plan.write(s.cfg.StateFile); err != nil {
			return err
		}
		s.plan = plan
	}
	for _, p := range slices.Sorted(maps.Keys(s.objects)) {
		if s.sent[p] {
			continue
		}
		if err := s.put(ctx, p); err != nil {
			return err
		}
		s.sent[p] = true
	}
	done := *s.plan
	done.Done = true
	if err := done.write(s.cfg.StateFile); err != nil {
		return err
	}
	s.m.records.Add(uint64(s.rows))
	return nil
}

func (s *Sink) put(ctx context.Context, partition string) error {
	body, err := s.objects[partition].finish(segment.Meta{Spool: s.spool, From: s.plan.From, To: s.plan.To})
	if err != nil {
		return err
	}
	name := s.cfg.objectName(partition, s.spool, s.plan.From)
	_, kind := s.cfg.suffix()
	_, err = s.client.Client.PutObject(ctx, s.cfg.Bucket, name, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{
		ContentType: kind, PartSize: uint64(s.cfg.PartBytes), NumThreads: 2, SendContentMd5: true,
	})
	if err != nil {
		return fmt.Errorf("put %s/%s: %w", s.cfg.Bucket, name, err)
	}
	s.m.objects.Add(1)
	s.m.bytes.Add(uint64(len(body)))
	return nil
}

// sweep removes the parts that a try which failed, or a process that was killed, has left
// of this spool's objects: nobody sees them, and everybody pays for them.
func (s *Sink) sweep(ctx context.Context) error {
	if s.swept {
		return nil
	}
	prefix := s.cfg.Prefix
	if prefix != "" {
		prefix += "/"
	}
	ours := "records-" + s.spool + "-"
	var key, id string
	for {
		page, err := s.client.ListMultipartUploads(ctx, s.cfg.Bucket, prefix, key, id, "", 1000)
		switch codeOf(err) {
		case "AccessDenied", "NotImplemented", "MethodNotAllowed":
			s.log.Warn("parts of failed uploads cannot be listed: give the bucket a lifecycle rule AbortIncompleteMultipartUpload", "error", err)
			s.swept = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("list unfinished uploads in bucket %s: %w", s.cfg.Bucket, err)
		}
		for _, u := range page.Uploads {
			if !strings.Contains(u.Key, ours) {
				continue
			}
			if err := s.client.AbortMultipartUpload(ctx, s.cfg.Bucket, u.Key, u.UploadID); err != nil && codeOf(err) != "NoSuchUpload" {
				return fmt.Errorf("end the unfinished upload of %s: %w", u.Key, err)
			}
			s.m.aborted.Add(1)
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			s.swept = true
			return nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// Close implements io.Closer: connections end. What is in memory is in the spool too.
func (s *Sink) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}
