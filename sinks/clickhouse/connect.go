package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Connections for statements and questions are clickhouse-go's. Inserts go by ch-go, the
// client beneath it, as that takes columns as they are: clickhouse-go's batches box each
// value of a LowCardinality column, in a call of Append for the whole column as well.

// open gives up to so many connections for statements to the first host that answers. The
// caller closes them.
func (c *Config) open(most int) (driver.Conn, error) {
	pass, err := c.password().Read()
	if err != nil {
		return nil, err
	}
	opt := &clickhouse.Options{
		Addr: c.Hosts, Auth: clickhouse.Auth{Username: c.Username, Password: pass},
		DialContext: func(ctx context.Context, host string) (net.Conn, error) {
			return c.connect(context.WithoutCancel(ctx), host) // its time is that of all hosts, and a deaf one takes it
		},
		DialTimeout: c.DialTimeout, ReadTimeout: time.Minute, MaxOpenConns: most, MaxIdleConns: most,
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		ClientInfo:  clickhouse.ClientInfo{Products: []struct{ Name, Version string }{{"weir", c.Version}}},
	}
	return clickhouse.Open(opt)
}

// dial connects to one host for inserts.
func (c *Config) dial(ctx context.Context, host string) (*ch.Client, error) {
	pass, err := c.password().Read()
	if err != nil {
		return nil, err
	}
	method := ch.CompressionLZ4
	switch c.Compression {
	case "zstd":
		method = ch.CompressionZSTD
	case "none":
		method = ch.CompressionDisabled
	}
	ctx, cancel := context.WithTimeout(ctx, c.DialTimeout)
	defer cancel()
	conn, err := c.connect(ctx, host)
	if err != nil {
		return nil, err
	}
	client, err := ch.Connect(ctx, conn, ch.Options{
		Address: host, User: c.Username, Password: pass, Compression: method, ClientName: "weir " + c.Version, HandshakeTimeout: c.DialTimeout,
	})
	if err != nil {
		_ = conn.Close()
	}
	return client, err
}

// oldEnough refuses servers that do not know the token by which an insert is stored once
// (insert_deduplication_token, version 22.2).
func oldEnough(conn driver.Conn) error {
	v, err := conn.ServerVersion()
	if err != nil {
		return err
	}
	if v.Version.Major < 22 || v.Version.Major == 22 && v.Version.Minor < 2 {
		return fmt.Errorf("the server is ClickHouse %s, which is too old: it must be 22.2 or newer, as older ones do not know insert_deduplication_token and would store records twice", v.Version)
	}
	return nil
}

// Codes of ClickHouse (src/Common/ErrorCodes.cpp) that are told apart.
const (
	codeUnknownTable    = 60
	codeUnknownDatabase = 81
	codeAuthentication  = 516
	codeAccessDenied    = 497
	codeNotEnoughSpace  = 243
)

// dataCodes are errors of what is in a batch, which another try does not mend.
var dataCodes = map[int32]bool{
	6:   true, // CANNOT_PARSE_TEXT
	36:  true, // BAD_ARGUMENTS
	53:  true, // TYPE_MISMATCH
	69:  true, // ARGUMENT_OUT_OF_BOUND
	117: true, // INCORRECT_DATA
	321: true, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
	349: true, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
	469: true, // VIOLATED_CONSTRAINT
	691: true, // UNKNOWN_ELEMENT_OF_ENUM
}

// codeOf gives the server's error code, 0 for errors that are not the server's.
func codeOf(err error) int32 {
	if e, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*ch.Exception](err); ok {
		return int32(e.Code)
	}
	return 0
}

const diskFull = "the server's disk is full: make room there, or lower retention; what waits is written then: %w"

// explain says what to do about errors that people make.
func (c *Config) explain(err error) error {
	if err == nil {
		return nil
	}
	switch codeOf(err) {
	case codeAuthentication:
		return fmt.Errorf("the server refuses user %q: %s: %w", c.Username, c.password().Advice(), err)
	case codeAccessDenied:
		return fmt.Errorf("user %q may not do this: grant it CREATE, ALTER, INSERT and SELECT on %s.*, or set schema: check and let an administrator make the tables: %w", c.Username, c.Database, err)
	case codeNotEnoughSpace:
		return fmt.Errorf(diskFull, err)
	case codeUnknownTable, codeUnknownDatabase:
		return fmt.Errorf("the tables are gone or were never made: they are made at the next connect with schema: manage: %w", err)
	}
	if codeOf(err) != 0 && strings.Contains(err.Error(), "No space left on device") {
		return fmt.Errorf(diskFull, err)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time from %v: is it ClickHouse's native port, and does the server live? %w", c.Hosts, err)
	}
	return err
}
