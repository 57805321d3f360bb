package told

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter/track"
)

// The layout: a header of one slot, and slots in the order of the tracker's table. All
// numbers are in host order: no other machine reads the file.
const (
	slotSize = 56 // number, four totals, seq and final, checksum
	magic    = 0x31_64_6c_6f_74_72_69_77
	grow     = 4096 // slots by which the file grows
)

// File is a mapped file. One goroutine owns it.
type File struct {
	path string
	f    *os.File
	m    []byte
	max  int
	err  atomic.Pointer[error] // why nothing more is written
}

var ne = binary.NativeEndian

// Open gives the file at path, empty, and what earlier processes left in it and beside
// it. It holds at most max slots.
func Open(path string, max int) (*File, map[uint64]track.Told, error) {
	before := map[uint64]track.Told{}
	// The newest word counts: what is in path was written after what is in path.old.
	for _, p := range []string{path + ".old", path} {
		if err := read(p, before); err != nil {
			return nil, nil, err
		}
	}
	if len(before) > 0 {
		if err := save(path+".old", before); err != nil {
			return nil, nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open what was told: %w", err)
	}
	t := &File{path: path, f: f, max: max}
	if err := t.reserve(0); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	ne.PutUint64(t.m, magic)
	return t, before, nil
}

// read adds the slots of a file to into. One that is not there has none; one of another
// kind is an error, and not overwritten.
func read(path string, into map[uint64]track.Told) error {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0:
		return nil
	case err != nil:
		return fmt.Errorf("read what was told: %w", err)
	case len(b) < slotSize || ne.Uint64(b) != magic:
		return fmt.Errorf("read what was told: %s is no file of an agent: remove it, or name another", path)
	}
	for b = b[slotSize:]; len(b) >= slotSize; b = b[slotSize:] {
		s := b[:slotSize]
		id := ne.Uint64(s)
		if id == 0 || ne.Uint64(s[48:]) != checksum(s) {
			continue
		}
		seq := ne.Uint64(s[40:])
		into[id] = track.Told{
			Counters: track.Counters{OrigPackets: ne.Uint64(s[8:]), OrigBytes: ne.Uint64(s[16:]), ReplyPackets: ne.Uint64(s[24:]), ReplyBytes: ne.Uint64(s[32:])},
			Seq:      uint32(seq >> 1), Final: seq&1 == 1,
		}
	}
	return nil
}

// save writes a file with those slots, whole or not at all.
func save(path string, list map[uint64]track.Told) error {
	b := make([]byte, slotSize, (len(list)+1)*slotSize)
	ne.PutUint64(b, magic)
	for id, t := range list {
		b = append(b, make([]byte, slotSize)...)
		put(b[len(b)-slotSize:], id, &t)
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("keep what was told: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keep what was told: %w", err)
	}
	return nil
}

func put(s []byte, id uint64, t *track.Told) {
	seq := uint64(t.Seq) << 1
	if t.Final {
		seq |= 1
	}
	ne.PutUint64(s[48:], 0) // wrong until all is there
	ne.PutUint64(s, id)
	ne.PutUint64(s[8:], t.OrigPackets)
	ne.PutUint64(s[16:], t.OrigBytes)
	ne.PutUint64(s[24:], t.ReplyPackets)
	ne.PutUint64(s[32:], t.ReplyBytes)
	ne.PutUint64(s[40:], seq)
	ne.PutUint64(s[48:], checksum(s))
}

// checksum is never 0, which an empty slot has.
func checksum(s []byte) uint64 {
	h := uint64(magic)
	for i := 0; i < 48; i += 8 {
		h = (h ^ ne.Uint64(s[i:])) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	return h | 1
}

// reserve makes room for slot i.
func (t *File) reserve(i int) error {
	slots := (i/grow + 1) * grow
	size := int64(slots+1) * slotSize
	if err := t.f.Truncate(size); err != nil {
		return fmt.Errorf("grow what was told: %w", err)
	}
	// A hole of a full disk would be a SIGBUS at the store.
	if err := unix.Fallocate(int(t.f.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("grow what was told: %w", err)
	}
	m, err := unix.Mmap(int(t.f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map what was told: %w", err)
	}
	if t.m != nil {
		_ = unix.Munmap(t.m) // ours, and mapped again
	}
	t.m = m
	return nil
}

// Put implements track.Keeper.
func (t *File) Put(i int32, id uint64, x *track.Told) {
	at := (int(i) + 1) * slotSize
	if t.err.Load() != nil || int(i) >= t.max {
		return
	}
	if at+slotSize > len(t.m) {
		if err := t.reserve(int(i)); err != nil {
			t.err.Store(&err)
			return
		}
	}
	put(t.m[at:at+slotSize], id, x)
}

// Walked implements track.Keeper: what the process before left is not needed any more.
func (t *File) Walked() { _ = os.Remove(t.path + ".old") }

// Err says why nothing more is written; nil where all is. Safe from any goroutine.
func (t *File) Err() error {
	if e := t.err.Load(); e != nil {
		return *e
	}
	return nil
}

// Close ends the file's use; what is in it stays.
func (t *File) Close() error { return errors.Join(unix.Munmap(t.m), t.f.Close()) }
