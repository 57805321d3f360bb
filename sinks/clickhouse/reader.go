package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/sinks/clickhouse/ddl"
	"github.com/weirnet/weir/sinks/clickhouse/sql"
)

// Reader answers the query language from the database that sinks fill. It may be used from
// any goroutine, keeps nothing but connections, and opens them when it is first asked.
type Reader struct {
	cfg Config

	mu   sync.Mutex
	conn driver.Conn // nil before the first question, and after one that failed
	done bool        // closed
}

var errClosed = errors.New("the reader of ClickHouse is closed: its configuration changed, or the process stops")

// readers is how many questions are asked of the server at once; more wait.
const readers = 8

// NewReader makes one that reads what a sink with this configuration writes.
func NewReader(cfg Config) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Reader{cfg: cfg}, nil
}

// Name is that of the sink.
func (r *Reader) Name() string { return r.cfg.Name }

// Close ends the connections; questions fail from then on.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	if r.conn == nil {
		return nil
	}
	err := r.conn.Close()
	r.conn = nil
	return err
}

func (r *Reader) connect() (driver.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil, errClosed
	}
	if r.conn == nil {
		conn, err := r.cfg.open(readers)
		if err != nil {
			return nil, err
		}
		r.conn = conn
	}
	return r.conn, nil
}

// failed says what to do about an error. Unless the server itself answered so, the next
// question begins with new connections, which read the password and certificates again.
func (r *Reader) failed(conn driver.Conn, err error) error {
	if c := codeOf(err); c != 0 && c != codeAuthentication {
		return r.cfg.explain(err)
	}
	r.mu.Lock()
	if r.conn == conn {
		r.conn = nil
	}
	r.mu.Unlock()
	_ = conn.Close() // others that use it fail too, and are answered anew when they ask again
	return r.cfg.explain(err)
}

// Begins tells from when on there are records, in milliseconds since the epoch; 0 where
// there are none.
func (r *Reader) Begins(ctx context.Context) (int64, error) {
	conn, err := r.connect()
	if err != nil {
		return 0, err
	}
	l := r.cfg.Layout()
	var ms int64
	// The sums are small and ordered by minute.
	err = conn.QueryRow(ctx, "SELECT toInt64(toUnixTimestamp(min(minute))) * 1000 FROM "+l.Name(ddl.Minutes)).Scan(&ms)
	if err != nil {
		return 0, r.failed(conn, err)
	}
	return ms, nil
}

// Answer fills a, which must be fresh, from the database and from live records, of which it
// may have some already. The answer means what that of the built-in history means. Where it
// fails, a may have some of it.
func (r *Reader) Answer(ctx context.Context, a *query.Answer, live []*flow.Record) error {
	l := r.cfg.Layout()
	req := sql.Request{Query: a.Query, Since: a.Since, Until: a.Until, Limits: a.Limits(), Visible: a.Visible, Whole: a.Whole, Live: len(live) > 0}
	st, err := sql.Compile(&req, l.Name(ddl.Flows))
	if err != nil {
		return err
	}
	conn, err := r.connect()
	if err != nil {
		return err
	}
	var scanned atomic.Uint64
	opts := []clickhouse.QueryOption{clickhouse.WithProgress(func(p *clickhouse.Progress) { scanned.Add(p.Rows) })}
	if len(live) > 0 {
		t, err := liveTable(st.Live, live)
		if err != nil {
			return err
		}
		opts = append(opts, clickhouse.WithExternalTable(t))
	}
	ctx = clickhouse.Context(ctx, opts...)
	rows, err := conn.Query(ctx, st.SQL)
	if err != nil {
		return r.failed(conn, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if st.List != nil {
			err = listed(a, rows, st.List)
		} else {
			err = grouped(a, rows)
		}
		if err != nil {
			return fmt.Errorf("read the answer of ClickHouse: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return r.failed(conn, err)
	}
	if a.Visible == nil { // how much else there is is not told to one who must not know it
		a.Scanned.Rows += scanned.Load()
	}
	return nil
}
