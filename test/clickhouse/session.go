package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	ch "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// revision of the protocol that the server speaks at most.
const revision = 54460

// What revisions of the protocol brought.
const (
	revisionSerialization = 54454 // a byte before a column's data
	revisionAddendum      = 54458 // a string after the client's hello
)

// clientScalar is a packet with a block that hosts of a cluster send with a query
// (ClickHouse: src/Core/Protocol.h), and scalar how block marks its name.
const (
	clientScalar = 7
	scalar       = "\x00scalar:"
)

type setting struct{ name, value string }

// session is one client.
type session struct {
	e          *engine
	c          net.Conn
	r          *ch.Reader
	out        ch.Buffer
	version    int
	compressed bool
	method     compress.Method
	login
	cluster
}

// login is the only user's.
type login struct{ user, password string }

// cluster is of what the server is a part.
type cluster struct {
	peers        []string // other hosts
	unreplicated bool
}

func newSession(e *engine, c net.Conn, l login, with cluster) *session {
	return &session{e: e, c: c, r: ch.NewReader(c), login: l, cluster: with, method: compress.LZ4}
}

func (s *session) flush() error {
	_, err := s.c.Write(s.out.Buf)
	s.out.Reset()
	return err
}

// serve answers until the client goes.
func (s *session) serve() error {
	defer s.c.Close()
	if ok, err := s.hello(); !ok || err != nil {
		return err
	}
	for {
		p, err := s.r.UVarInt()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch ch.ClientCode(p) {
		case ch.ClientCodePing:
			ch.ServerCodePong.Encode(&s.out)
			err = s.flush()
		case ch.ClientCodeCancel:
		case ch.ClientTablesStatusRequest:
			err = s.status()
		case ch.ClientCodeQuery:
			err = s.query()
		default:
			err = fmt.Errorf("client sent a packet of kind %d", p)
		}
		if err != nil {
			return err
		}
	}
}

func (s *session) hello() (ok bool, err error) {
	p, err := s.r.UVarInt()
	if err != nil {
		return false, err
	}
	if ch.ClientCode(p) != ch.ClientCodeHello {
		return false, fmt.Errorf("client began with a packet of kind %d", p)
	}
	var h ch.ClientHello
	if err := h.Decode(s.r); err != nil {
		return false, err
	}
	s.version = min(h.ProtocolVersion, revision)
	if h.User != s.user || h.Password != s.password {
		return false, s.exception(fmt.Errorf("Code: 516. DB::Exception: %s: Authentication failed: password is incorrect, or there is no user with such name", h.User))
	}
	name := ch.ServerHello{Name: "ClickHouse", Major: 26, Minor: 7, Patch: 2, Revision: revision, Timezone: "UTC", DisplayName: "weir-test"}
	name.EncodeAware(&s.out, s.version)
	if err := s.flush(); err != nil {
		return false, err
	}
	if s.version >= revisionAddendum {
		_, err = s.r.Str()
	}
	return err == nil, err
}

var (
	failure    = regexp.MustCompile(`^Code: (\d+)\. (?:DB::Exception: )?`)
	isSelect   = regexp.MustCompile(`(?i)^\s*SELECT\b`)
	isDDL      = regexp.MustCompile(`(?i)^\s*(CREATE|ALTER|DROP)\b`)
	onCluster  = regexp.MustCompile("(?i) ON CLUSTER (?:`\\w+`|\\w+)")
	replicated = regexp.MustCompile(`Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, ([^\n]*)|\))`)
	insertIt   = regexp.MustCompile("(?is)^\\s*INSERT\\s+INTO\\s+(?:TABLE\\s+)?([`\"\\w.]+)\\s*(\\([^)]*\\))?\\s*(?:FORMAT\\s+\\w+)?\\s*(?:VALUES)?\\s*$")
)

// exception tells the client what failed; the session goes on.
func (s *session) exception(err error) error {
	code, msg := 1002, err.Error()
	if m := failure.FindStringSubmatch(msg); m != nil {
		code, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	ch.ServerCodeException.Encode(&s.out)
	x := ch.Exception{Code: ch.Error(code), Name: "DB::Exception", Message: "DB::Exception: " + msg}
	x.EncodeAware(&s.out, s.version)
	return s.flush()
}

// status tells another host of the cluster that tables are there and lag behind nothing.
func (s *session) status() error {
	n, err := s.r.UVarInt()
	if err != nil {
		return err
	}
	ch.ServerCodeTablesStatus.Encode(&s.out)
	s.out.PutUVarInt(n)
	for range n {
		for range 2 { // database and table
			name, err := s.r.Str()
			if err != nil {
				return err
			}
			s.out.PutString(name)
		}
		s.out.PutBool(false) // it is not replicated
	}
	return s.flush()
}

func (s *session) query() error {
	q, err := readQuery(s.r, s.version)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	s.compressed = q.Compression == ch.CompressionEnabled
	tables, err := s.tables()
	if err != nil {
		return fmt.Errorf("external table: %w", err)
	}
	var settings []setting
	for _, x := range q.Settings {
		settings = append(settings, setting{x.Key, literal(x.Value)})
	}
	for _, x := range q.Parameters {
		settings = append(settings, setting{"param_" + x.Key, literal(strings.TrimSuffix(strings.TrimPrefix(x.Value, "'"), "'"))})
	}
	if m := insertIt.FindStringSubmatch(q.Body); m != nil {
		return s.insert(m[1], m[2], settings)
	}
	if q.Body, err = s.everywhere(q.Body); err != nil {
		return s.exception(err)
	}
	var out, head []byte
	err = s.e.with(settings, func() error {
		return s.e.withTables(tables, func() (err error) {
			out, err = s.e.runLocked(q.Body, "Native")
			if err == nil && len(out) == 0 && isSelect.MatchString(q.Body) { // no rows: a server tells the columns all the same
				head, err = s.e.runLocked("SELECT * FROM ("+q.Body+") LIMIT 0", "TSVWithNamesAndTypes")
			}
			return err
		})
	})
	if err != nil {
		return s.exception(err)
	}
	if head != nil {
		s.header(strings.Split(string(head), "\n"))
	}
	rd := ch.NewReader(bytes.NewReader(out))
	for {
		blk := proto.NewBlock()
		blk.ServerContext.Timezone = time.UTC
		if err := blk.Decode(rd, 0); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return s.exception(err)
		}
		var b ch.Buffer
		if err := blk.Encode(&b, uint64(s.version)); err != nil {
			return s.exception(err)
		}
		s.data(b.Buf)
	}
	ch.ServerCodeEndOfStream.Encode(&s.out)
	return s.flush()
}

// everywhere does what a server's DDL worker does, which an embedded engine does not have:
// the parser reads the statement whole, and each host of the cluster runs it. It gives what
// is left to do here.
func (s *session) everywhere(sql string) (string, error) {
	if !isDDL.MatchString(sql) {
		return sql, nil
	}
	if m := onCluster.FindStringIndex(sql); m != nil {
		if _, err := s.e.run("EXPLAIN AST "+sql, "Null"); err != nil {
			return "", err
		}
		sql = sql[:m[0]] + sql[m[1]:]
		for _, p := range s.peers {
			if err := execute(p, s.user, s.password, sql); err != nil {
				return "", err
			}
		}
	}
	if s.unreplicated {
		sql = replicated.ReplaceAllStringFunc(sql, func(m string) string {
			x := replicated.FindStringSubmatch(m)
			if x[2] == "" {
				return x[1] + "()"
			}
			return x[1] + "(" + x[2]
		})
		sql = strings.ReplaceAll(sql, "replicated_deduplication_window_seconds = 604800", "non_replicated_deduplication_window = 1000")
	}
	return sql, nil
}

func literal(v string) string {
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// data sends a block.
func (s *session) data(raw []byte) {
	ch.ServerCodeData.Encode(&s.out)
	s.out.PutString("")
	if s.compressed {
		w := compress.NewWriter(compress.LevelZero, s.method)
		if err := w.Compress(raw); err != nil {
			panic(err) // of a buffer in memory
		}
		raw = w.Data
	}
	s.out.Buf = append(s.out.Buf, raw...)
}

// tables reads the external tables of a query, which an empty block ends.
func (s *session) tables() (out []table, err error) {
	for {
		name, blk, err := s.block()
		if err == nil && strings.HasPrefix(name, scalar) {
			continue // of other hosts' queries; what they ask of a table needs none
		}
		if err != nil || len(blk.Columns) == 0 {
			return out, err
		}
		i := slices.IndexFunc(out, func(t table) bool { return t.name == name })
		if i < 0 {
			t := table{name: name}
			for _, c := range blk.Columns {
				t.columns = append(t.columns, "`"+c.Name()+"` "+string(c.Type()))
			}
			i, out = len(out), append(out, t)
		}
		var b ch.Buffer
		if err := blk.Encode(&b, 0); err != nil {
			return nil, err
		}
		out[i].blocks = append(out[i].blocks, b.Buf...)
	}
}

// block reads one block of data, of a table with a name where it has one.
func (s *session) block() (name string, blk *proto.Block, err error) {
	p, err := s.r.UVarInt()
	if err != nil {
		return "", nil, err
	}
	if ch.ClientCode(p) != ch.ClientCodeData && p != clientScalar {
		return "", nil, fmt.Errorf("data was due and a packet of kind %d came", p)
	}
	if name, err = s.r.Str(); err != nil {
		return "", nil, err
	}
	if p == clientScalar {
		name = scalar + name
	}
	if s.compressed {
		s.r.EnableCompression()
		defer s.r.DisableCompression()
	}
	blk = proto.NewBlock()
	blk.ServerContext.Timezone = time.UTC
	return name, blk, blk.Decode(s.r, uint64(s.version))
}

// insert tells the client the columns, takes its blocks and stores them as one.
func (s *session) insert(table, columns string, settings []setting) error {
	list := strings.Trim(columns, "()")
	if list == "" {
		list = "*"
	}
	head, err := s.e.run("SELECT "+list+" FROM "+table+" LIMIT 0", "TSVWithNamesAndTypes")
	if err != nil {
		return s.exception(err)
	}
	s.header(strings.Split(string(head), "\n"))
	if err := s.flush(); err != nil {
		return err
	}
	var payload ch.Buffer
	for {
		_, blk, err := s.block()
		if err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		if len(blk.Columns) == 0 || blk.Rows() == 0 {
			break
		}
		if err := blk.Encode(&payload, 0); err != nil {
			return err
		}
	}
	if len(payload.Buf) > 0 {
		err := s.e.with(settings, func() error { return s.e.insertLocked("INSERT INTO "+table+" "+columns, payload.Buf) })
		if err != nil {
			return s.exception(err)
		}
	}
	ch.ServerCodeEndOfStream.Encode(&s.out)
	return s.flush()
}

// header sends a block of no rows that names the columns and their types.
func (s *session) header(lines []string) {
	names, types := strings.Split(lines[0], "\t"), strings.Split(lines[1], "\t")
	var b ch.Buffer
	ch.BlockInfo{BucketNum: -1}.Encode(&b)
	b.PutUVarInt(uint64(len(names)))
	b.PutUVarInt(0)
	for i := range names {
		b.PutString(strings.NewReplacer(`\'`, `'`, `\\`, `\`, `\n`, "\n").Replace(names[i]))
		b.PutString(strings.ReplaceAll(types[i], `\'`, `'`))
		if s.version >= revisionSerialization {
			b.PutBool(false)
		}
	}
	s.data(b.Buf)
}
