package s3

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// object is one object while it fills: the records of one partition of an upload.
type object interface {
	add(r *flow.Record) error
	// finish gives the object's bytes. It may be called again.
	finish(meta segment.Meta) ([]byte, error)
}

func (c *Config) newObject(now time.Time) object {
	switch c.Format {
	case "parquet":
		return &parquetObject{b: column.NewBuilder(0)}
	case "jsonl":
		return newText(c.Compress, flow.AppendJSON)
	default:
		at := now.UnixMilli()
		return newText(c.Compress, func(b []byte, r *flow.Record) []byte { return flow.AppendAntreaCSV(b, r, at) })
	}
}

func (c *Config) suffix() (name, contentType string) {
	switch c.Format {
	case "parquet":
		return ".parquet", "application/vnd.apache.parquet"
	case "jsonl":
		name, contentType = ".jsonl", "application/x-ndjson"
	default:
		name, contentType = ".csv", "text/csv"
	}
	if c.Compress {
		return name + ".gz", "application/gzip"
	}
	return name, contentType
}

// parquetObject is a file as the built-in history writes them, with every column, so that
// all objects have one schema.
type parquetObject struct{ b *column.Builder }

func (o *parquetObject) add(r *flow.Record) error {
	o.b.Add(r)
	return nil
}

func (o *parquetObject) finish(meta segment.Meta) ([]byte, error) {
	var buf bytes.Buffer
	w, err := segment.NewWriter(&buf, flow.AllFields())
	if err != nil {
		return nil, err
	}
	if err := w.WriteBlock(o.b.Snapshot(), segment.Rows, runtime.GOMAXPROCS(0)); err != nil {
		return nil, err
	}
	if _, err := w.Close(meta); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// textObject is lines, compressed as they come.
type textObject struct {
	write func([]byte, *flow.Record) []byte
	line  []byte
	buf   bytes.Buffer
	zip   *gzip.Writer // nil for plain text
	done  bool
}

func newText(compress bool, write func([]byte, *flow.Record) []byte) *textObject {
	o := &textObject{write: write}
	if compress {
		o.zip = gzip.NewWriter(&o.buf)
	}
	return o
}

func (o *textObject) add(r *flow.Record) error {
	o.line = append(o.write(o.line[:0], r), '\n')
	var err error
	if o.zip != nil {
		_, err = o.zip.Write(o.line)
	} else {
		_, err = o.buf.Write(o.line)
	}
	return err
}

func (o *textObject) finish(segment.Meta) ([]byte, error) {
	if o.zip != nil && !o.done {
		if err := o.zip.Close(); err != nil {
			return nil, err
		}
		o.done = true
	}
	return o.buf.Bytes(), nil
}

// unknownPartition is Hive's name of the partition of a value that is absent: readers
// take it for NULL.
const unknownPartition = "__HIVE_DEFAULT_PARTITION__"

// Times that can be of a flow: 2000 to 2200, in milliseconds.
const minEnd, maxEnd = 946_684_800_000, 7_258_118_400_000

// partition is the directory of a record, by its end, in UTC.
func (c *Config) partition(r *flow.Record) string {
	if c.Partition == "none" {
		return ""
	}
	known := r.Has.Has(flow.FEnd) && r.End >= minEnd && r.End <= maxEnd
	day, hour := unknownPartition, unknownPartition
	if known {
		t := time.UnixMilli(r.End).UTC()
		day, hour = t.Format(time.DateOnly), t.Format("15")
	}
	if c.Partition == "day" {
		return "dt=" + day + "/"
	}
	return "dt=" + day + "/hour=" + hour + "/"
}

// objectName is the same for the same records: what is sent again replaces.
func (c *Config) objectName(partition, spool string, from uint64) string {
	suffix, _ := c.suffix()
	prefix := c.Prefix
	if prefix != "" {
		prefix += "/"
	}
	return fmt.Sprintf("%s%srecords-%s-%016d%s", prefix, partition, spool, from, suffix)
}
