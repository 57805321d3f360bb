package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library are the functions of libchdb that take lengths, so that blocks may hold zeros.
type library struct {
	connect     func(argc int32, argv unsafe.Pointer) uintptr
	closeConn   func(conn uintptr)
	query       func(conn uintptr, sql unsafe.Pointer, sqlLen uint64, format unsafe.Pointer, formatLen uint64) uintptr
	freeResult  func(result uintptr)
	buffer      func(result uintptr) uintptr
	length      func(result uintptr) uint64
	failure     func(result uintptr) uintptr
	insert      func(conn uintptr, sql unsafe.Pointer, sqlLen uint64, format unsafe.Pointer, formatLen uint64) uintptr
	push        func(stream uintptr, data unsafe.Pointer, n uint64) int32
	done        func(stream uintptr) uintptr
	insertError func(stream uintptr) uintptr
	freeStream  func(stream uintptr)
}

// engine is the one ClickHouse of this process; statements run one at a time.
type engine struct {
	mu   sync.Mutex
	lib  library
	root uintptr
	conn uintptr
}

// openEngine loads libchdb from path and opens the data in dir, made if it is not there, with
// the configuration in a file, "" for none.
func openEngine(path, dir, config string) (*engine, error) {
	h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	e := &engine{}
	for name, fn := range map[string]any{
		"chdb_connect": &e.lib.connect, "chdb_close_conn": &e.lib.closeConn, "chdb_query_n": &e.lib.query,
		"chdb_destroy_query_result": &e.lib.freeResult, "chdb_result_buffer": &e.lib.buffer, "chdb_result_length": &e.lib.length,
		"chdb_result_error": &e.lib.failure, "chdb_stream_insert_n": &e.lib.insert, "chdb_stream_append": &e.lib.push,
		"chdb_stream_done": &e.lib.done, "chdb_stream_insert_error": &e.lib.insertError, "chdb_destroy_insert_stream": &e.lib.freeStream,
	} {
		purego.RegisterLibFunc(fn, h, name)
	}
	args := [][]byte{[]byte("clickhouse\x00"), fmt.Appendf(nil, "--path=%s\x00", dir)}
	if config != "" {
		args = append(args, fmt.Appendf(nil, "--config-file=%s\x00", config))
	}
	argv := make([]unsafe.Pointer, len(args))
	var pin runtime.Pinner
	defer pin.Unpin()
	for i := range args {
		pin.Pin(&args[i][0])
		argv[i] = unsafe.Pointer(&args[i][0])
	}
	pin.Pin(&argv[0])
	if e.root = e.lib.connect(int32(len(argv)), unsafe.Pointer(&argv[0])); e.root == 0 {
		return nil, fmt.Errorf("the engine does not open %s", dir)
	}
	e.conn = *(*uintptr)(ptr(e.root))
	return e, nil
}

// ptr turns an address of the library's memory into a pointer.
func ptr(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func text(p uintptr) string {
	if p == 0 {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(ptr(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(ptr(p)), n))
}

// run executes a statement and gives its result in a format.
func (e *engine) run(sql, format string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.runLocked(sql, format)
}

func (e *engine) runLocked(sql, format string) ([]byte, error) {
	q, f := []byte(sql), []byte(format)
	r := e.lib.query(e.conn, unsafe.Pointer(&q[0]), uint64(len(q)), unsafe.Pointer(&f[0]), uint64(len(f)))
	if r == 0 {
		return nil, errors.New("the engine gave no result")
	}
	defer e.lib.freeResult(r)
	if msg := text(e.lib.failure(r)); msg != "" {
		return nil, errors.New(msg)
	}
	out := make([]byte, e.lib.length(r))
	if len(out) > 0 {
		copy(out, unsafe.Slice((*byte)(ptr(e.lib.buffer(r))), len(out)))
	}
	return out, nil
}

// with runs f while the settings hold, and sets them back.
func (e *engine) with(settings []setting, f func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var set []string
	defer func() {
		for _, name := range set {
			_, _ = e.runLocked("SET "+name+" = DEFAULT", "Null")
		}
	}()
	for _, s := range settings {
		if _, err := e.runLocked("SET "+s.name+" = "+s.value, "Null"); err != nil {
			return err
		}
		set = append(set, s.name)
	}
	return f()
}

// table is one that a client sends with its query.
type table struct {
	name    string
	columns []string
	blocks  []byte // of format Native
}

// withTables runs f while the tables are there.
func (e *engine) withTables(tables []table, f func() error) error {
	for _, t := range tables {
		if _, err := e.runLocked("CREATE TEMPORARY TABLE `"+t.name+"` ("+strings.Join(t.columns, ", ")+") ENGINE = Memory", "Null"); err != nil {
			return err
		}
		defer func() { _, _ = e.runLocked("DROP TEMPORARY TABLE IF EXISTS `"+t.name+"`", "Null") }()
		if err := e.insertLocked("INSERT INTO `"+t.name+"`", t.blocks); err != nil {
			return err
		}
	}
	return f()
}

// insertLocked streams blocks of format Native into a table.
func (e *engine) insertLocked(sql string, blocks []byte) error {
	q, f := []byte(sql), []byte("Native")
	s := e.lib.insert(e.conn, unsafe.Pointer(&q[0]), uint64(len(q)), unsafe.Pointer(&f[0]), uint64(len(f)))
	if s == 0 {
		return errors.New("the engine opened no insert")
	}
	defer e.lib.freeStream(s)
	if msg := text(e.lib.insertError(s)); msg != "" {
		return errors.New(msg)
	}
	if len(blocks) > 0 && e.lib.push(s, unsafe.Pointer(&blocks[0]), uint64(len(blocks))) != 0 {
		return errors.New(text(e.lib.insertError(s)))
	}
	r := e.lib.done(s)
	if r == 0 {
		return errors.New("the engine did not end the insert")
	}
	defer e.lib.freeResult(r)
	if msg := text(e.lib.failure(r)); msg != "" {
		return errors.New(msg)
	}
	return nil
}

func (e *engine) close() { e.lib.closeConn(e.root) }
