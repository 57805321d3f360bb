package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirnet/weir/sinks/clickhouse/ddl"
)

// ErrFuture is the error of a database whose layout is newer than this Weir knows.
var ErrFuture = errors.New("the database's layout is newer than this Weir")

// Migrate brings the layout of the database to a version, up or down: ddl.Latest, or
// below it to take steps back, 0 for none of Weir's tables.
func Migrate(ctx context.Context, cfg *Config, to int) error {
	conn, err := cfg.open(2)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	m := migration{cfg: cfg, layout: cfg.Layout(), conn: conn}
	return cfg.explain(m.to(ctx, to))
}

type migration struct {
	cfg    *Config
	layout ddl.Layout
	conn   driver.Conn
}

// current gives the version of the layout that stands; 0 where there is none.
func (m *migration) current(ctx context.Context) (int, error) {
	l := &m.layout
	var there uint64
	err := m.conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = "+ddl.Quote(l.Database)+" AND name = "+ddl.Quote(ddl.Schema)).Scan(&there)
	if err != nil || there == 0 {
		return 0, err
	}
	var v uint32
	err = m.conn.QueryRow(ctx, "SELECT toUInt32(max(version)) FROM (SELECT version, argMax(up, at) AS stands FROM "+l.Name(ddl.Schema)+" GROUP BY version) WHERE stands").Scan(&v)
	return int(v), err
}

func (m *migration) to(ctx context.Context, to int) error {
	now, err := m.current(ctx)
	if err != nil {
		return err
	}
	if now > ddl.Latest {
		return fmt.Errorf("%w: %s has version %d and this Weir knows up to %d: run the newer Weir, or take the layout back with it", ErrFuture, m.layout.Database, now, ddl.Latest)
	}
	if to < 0 || to > ddl.Latest {
		return fmt.Errorf("there is no version %d of the layout: give 0 to %d", to, ddl.Latest)
	}
	steps := m.layout.Steps()
	if now < to {
		if err := m.exec(ctx, append([]string{m.layout.CreateDatabase()}, m.layout.CreateSchema()...)...); err != nil {
			return err
		}
	}
	for ; now < to; now++ {
		if err := m.apply(ctx, &steps[now], true); err != nil {
			return err
		}
	}
	for ; now > to; now-- {
		if err := m.apply(ctx, &steps[now-1], false); err != nil {
			return err
		}
	}
	if to < 1 {
		return nil
	}
	return m.settle(ctx, to)
}

func (m *migration) apply(ctx context.Context, s *ddl.Step, up bool) error {
	list := s.Up
	if !up {
		list = s.Down
	}
	if err := m.exec(ctx, list...); err != nil {
		return fmt.Errorf("layout version %d (%s): %w", s.Version, s.Doc, err)
	}
	return m.exec(ctx, fmt.Sprintf("INSERT INTO %s (version, up, by) VALUES (%d, %t, %s)", m.layout.Name(m.layout.Local(ddl.Schema)), s.Version, up, ddl.Quote(m.cfg.Version)))
}

// settle adds fields that are new and sets the retention.
func (m *migration) settle(ctx context.Context, version int) error {
	missing, err := m.missing(ctx)
	if err != nil {
		return err
	}
	if err := m.exec(ctx, missing...); err != nil {
		return fmt.Errorf("new columns: %w", err)
	}
	if version < 2 {
		return nil
	}
	var engine string
	l := &m.layout
	err = m.conn.QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = "+ddl.Quote(l.Database)+" AND name = "+ddl.Quote(l.Local(ddl.Flows))).Scan(&engine)
	if err != nil {
		return err
	}
	same := l.Retention > 0 && strings.Contains(engine, fmt.Sprintf("toIntervalSecond(%d)", int64(l.Retention/time.Second)))
	if same || l.Retention <= 0 && !strings.Contains(engine, " TTL ") {
		return nil
	}
	if err := m.exec(ctx, l.Retain()...); err != nil {
		return fmt.Errorf("retention: %w", err)
	}
	return nil
}

func (m *migration) missing(ctx context.Context) ([]string, error) {
	l := &m.layout
	rows, err := m.conn.Query(ctx, "SELECT table, name, type FROM system.columns WHERE database = "+ddl.Quote(l.Database))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	have := map[string]map[string]string{}
	for rows.Next() {
		var table, name, typ string
		if err := rows.Scan(&table, &name, &typ); err != nil {
			return nil, err
		}
		if have[table] == nil {
			have[table] = map[string]string{}
		}
		have[table][name] = typ
	}
	return l.Missing(have), rows.Err()
}

// check says what is missing and changes nothing.
func (m *migration) check(ctx context.Context) error {
	now, err := m.current(ctx)
	if err != nil {
		return err
	}
	if now > ddl.Latest {
		return m.to(ctx, ddl.Latest)
	}
	missing, err := m.missing(ctx)
	if err != nil {
		return err
	}
	if now < ddl.Latest || len(missing) > 0 {
		return fmt.Errorf("%s has version %d of the layout with %d columns to add, and %d is needed: set schema: manage, or run the statements of docs/sinks/clickhouse.md", m.layout.Database, now, len(missing), ddl.Latest)
	}
	return nil
}

func (m *migration) exec(ctx context.Context, list ...string) error {
	for _, s := range list {
		if err := m.conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", head(s), err)
		}
	}
	return nil
}

// head is the beginning of a statement, for errors.
func head(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if len(line) > 80 {
		return line[:80] + " ..."
	}
	return line
}
