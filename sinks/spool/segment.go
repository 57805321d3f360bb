package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// A segment file is a header and blocks. All numbers are little endian.
//
//	segment header  magic 8 | first position 8 | schema hash 8 | rows 4 | CRC-32C 4
//	block header    magic 4 | payload bytes 4 | records 4 | connections 4 | bytes 8 |
//	                first position 8 | payload CRC-32C 4 | header CRC-32C 4
const (
	segMagic   = "WEIRSPL1"
	segHeader  = 32
	blockMagic = "BLK1"
	blkHeader  = 40
	maxPayload = 64 << 20
	segSuffix  = ".seg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func segName(first uint64) string { return fmt.Sprintf("%020d%s", first, segSuffix) }

func appendSegHeader(b []byte, first uint64) []byte {
	start := len(b)
	b = append(b, segMagic...)
	b = binary.LittleEndian.AppendUint64(b, first)
	b = binary.LittleEndian.AppendUint64(b, schemaHash(flow.NumFields))
	b = binary.LittleEndian.AppendUint32(b, flow.NumFields)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

var errSchema = errors.New("written with a table of fields that this version does not have")

// parseSegHeader gives the first position and how many rows of the table the
// segment knows.
func parseSegHeader(b []byte) (first uint64, fields int, err error) {
	if len(b) < segHeader || string(b[:8]) != segMagic {
		return 0, 0, errors.New("not a spool segment")
	}
	if crc32.Checksum(b[:28], castagnoli) != binary.LittleEndian.Uint32(b[28:]) {
		return 0, 0, errors.New("segment header fails its checksum")
	}
	fields = int(binary.LittleEndian.Uint32(b[24:]))
	if fields > flow.NumFields || schemaHash(fields) != binary.LittleEndian.Uint64(b[16:]) {
		return 0, 0, errSchema
	}
	return binary.LittleEndian.Uint64(b[8:]), fields, nil
}

// block is the header of one block.
type block struct {
	size    int // of the payload
	pos     uint64
	crc     uint32
	amounts ledger.Amount
}

func (k *block) end() uint64 { return k.pos + k.amounts.Records }

func putBlockHeader(b []byte, payload []byte, pos uint64, amt ledger.Amount) {
	copy(b, blockMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[8:], uint32(amt.Records))
	binary.LittleEndian.PutUint32(b[12:], uint32(amt.Connections))
	binary.LittleEndian.PutUint64(b[16:], amt.Bytes)
	binary.LittleEndian.PutUint64(b[24:], pos)
	binary.LittleEndian.PutUint32(b[32:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
}

func parseBlockHeader(b []byte) (k block, ok bool) {
	if len(b) < blkHeader || string(b[:4]) != blockMagic ||
		crc32.Checksum(b[:36], castagnoli) != binary.LittleEndian.Uint32(b[36:]) {
		return k, false
	}
	k.size = int(binary.LittleEndian.Uint32(b[4:]))
	k.amounts = ledger.Amount{
		Records:     uint64(binary.LittleEndian.Uint32(b[8:])),
		Connections: uint64(binary.LittleEndian.Uint32(b[12:])),
		Bytes:       binary.LittleEndian.Uint64(b[16:]),
	}
	k.pos = binary.LittleEndian.Uint64(b[24:])
	k.crc = binary.LittleEndian.Uint32(b[32:])
	// A record is at least one byte of payload, so hostile counts cost nothing.
	return k, k.size <= maxPayload && k.amounts.Records > 0 && k.amounts.Records <= uint64(k.size)
}

// blockReader walks the blocks of a segment and steps over what is broken.
type blockReader struct {
	f      io.ReaderAt
	off    int64
	header [blkHeader]byte
	buf    []byte
	dec    decoder
}

// next reads the next block whose header holds, up to limit, the bytes that are known
// to be written. skipped says that bytes were stepped over to find it; damaged that
// its payload fails the checksum (the block is then stepped over by the next call). io.EOF
// says that no block follows.
func (r *blockReader) next(limit int64) (k block, payload []byte, skipped, damaged bool, err error) {
	for {
		if r.off+blkHeader > limit {
			return k, nil, skipped, false, io.EOF
		}
		if _, err := r.f.ReadAt(r.header[:], r.off); err != nil {
			return k, nil, skipped, false, err
		}
		var ok bool
		k, ok = parseBlockHeader(r.header[:])
		if ok && r.off+blkHeader+int64(k.size) <= limit {
			break
		}
		if ok && limit-r.off < blkHeader+int64(k.size) {
			return k, nil, skipped, false, io.EOF // torn inside the payload
		}
		skipped = true
		if err := r.seek(limit); err != nil {
			return k, nil, true, false, err
		}
	}
	if cap(r.buf) < k.size {
		r.buf = make([]byte, k.size)
	}
	payload = r.buf[:k.size]
	if _, err := r.f.ReadAt(payload, r.off+blkHeader); err != nil {
		return k, nil, skipped, false, err
	}
	r.off += blkHeader + int64(k.size)
	return k, payload, skipped, crc32.Checksum(payload, castagnoli) != k.crc, nil
}

// seek moves to the next block magic behind the present place.
func (r *blockReader) seek(limit int64) error {
	const chunk = 64 << 10
	buf := make([]byte, chunk)
	for at := r.off + 1; at+blkHeader <= limit; {
		n := min(int64(chunk), limit-at)
		if _, err := r.f.ReadAt(buf[:n], at); err != nil {
			return err
		}
		if i := bytes.Index(buf[:n], []byte(blockMagic)); i >= 0 {
			r.off = at + int64(i)
			return nil
		}
		at += n - int64(len(blockMagic)) + 1
	}
	r.off = limit
	return io.EOF
}

// segment is the index entry of one file. A segment is written by the writer and
// read by the reader; this entry is guarded by the spool's lock.
type segment struct {
	path       string
	first, end uint64        // positions of its first record and behind its last
	size       int64         // bytes that are known to be written
	fields     int           // rows of the table that it knows
	why        string        // the reason why it cannot be read, if so
	amt        ledger.Amount // all that was put into it
	read       ledger.Amount // what of it is no longer to be read: taken or lost
}

func (s *segment) unread() ledger.Amount { return minus(s.amt, s.read) }

// remove deletes the file; what was set aside stays for a person to look at.
func (s *segment) remove() error {
	if s.why != "" {
		return nil
	}
	return os.Remove(s.path)
}

// minus subtracts, stopping at zero: after damage the parts need not add up.
func minus(a, b ledger.Amount) ledger.Amount {
	return ledger.Amount{
		Records:     a.Records - min(a.Records, b.Records),
		Connections: a.Connections - min(a.Connections, b.Connections),
		Bytes:       a.Bytes - min(a.Bytes, b.Bytes),
	}
}

// scan is what a look at a segment at start-up finds.
type scan struct {
	segment
	torn    int64 // bytes behind the last whole block
	damaged bool
}

// scanSegment walks the headers of a segment; the payloads are checked too when the
// segment may have a torn end.
func scanSegment(path string, payloads bool) (s scan, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return s, err
	}
	s.path, s.size = path, st.Size()
	var head [segHeader]byte
	if _, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return s, err
	}
	if s.first, s.fields, err = parseSegHeader(head[:]); err != nil {
		return s, err
	}
	s.end = s.first
	r := blockReader{f: f, off: segHeader}
	good := r.off
	for {
		k, ok, err := scanBlock(&r, st.Size(), payloads)
		if err != nil {
			break
		}
		if !ok || k.pos < s.end {
			s.damaged = true
			continue
		}
		if k.pos > s.end {
			s.damaged = true
			s.amt.Records += k.pos - s.end // a gap: how many is known, how many bytes is not
		}
		s.amt = s.amt.Plus(k.amounts)
		s.end = k.end()
		good = r.off
	}
	s.torn = s.size - good
	return s, nil
}

func scanBlock(r *blockReader, limit int64, payloads bool) (k block, ok bool, err error) {
	if payloads {
		k, _, _, damaged, err := r.next(limit)
		return k, !damaged, err
	}
	if r.off+blkHeader > limit {
		return k, false, io.EOF
	}
	if _, err := r.f.ReadAt(r.header[:], r.off); err != nil {
		return k, false, err
	}
	if k, ok = parseBlockHeader(r.header[:]); ok && r.off+blkHeader+int64(k.size) <= limit {
		r.off += blkHeader + int64(k.size)
		return k, true, nil
	}
	k, _, _, damaged, err := r.next(limit)
	return k, !damaged && err == nil, err
}
