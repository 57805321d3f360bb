package kafka

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks/spool"
)

// batch is what one Write sends. It lives on when the Write ends before its outcome is
// known, as only the client can tell whether a broker has it: giving it to the client
// once more would write it twice.
type batch struct {
	data []byte // keys, ids and values of all records
	recs []kgo.Record
	amts []ledger.Amount
	head []kgo.RecordHeader
	ends [][3]int // of each record's key, id and value in data

	todo   [][]int // groups of records that are to be given to the client, the next one first
	trying []int   // what the client has
	errs   []error // of what was tried last
	lost   ledger.Amount

	waiting atomic.Int64
	done    chan struct{} // closed when nothing waits
}

const (
	headerID   = "id"
	headerType = "content-type"
	textID     = 36 // bytes of a UUID as text
)

var contentTypes = map[string][]byte{
	"protobuf": []byte("application/x-protobuf; messageType=weir.flow.v1.Flow"),
	"json":     []byte("application/json"),
}

// encode fills a batch whose records, if it had any, are all done.
func (s *Sink) encode(b *batch, recs []flow.Record) *batch {
	write := flow.AppendProto
	if s.cfg.Format == "json" {
		write = flow.AppendJSON
	}
	b.data, b.amts, b.ends, b.lost = b.data[:0], b.amts[:0], b.ends[:0], ledger.Amount{}
	all := make([]int, len(recs))
	for i := range recs {
		r := &recs[i]
		b.data = appendKey(b.data, r)
		key := len(b.data)
		b.data = r.AppendText(b.data, flow.FID)
		id := len(b.data)
		b.data = write(b.data, r)
		b.ends = append(b.ends, [3]int{key, id, len(b.data)})
		b.amts = append(b.amts, spool.AmountOf(r))
		all[i] = i
	}
	b.todo = append(b.todo[:0], all)
	b.slice(s.headers)
	return b
}

// slice makes the client's records of the bytes, which no longer move.
func (b *batch) slice(common []kgo.RecordHeader) {
	b.recs, b.errs, b.head = b.recs[:0], append(b.errs[:0], make([]error, len(b.ends))...), b.head[:0]
	at := 0
	for _, e := range b.ends {
		b.head = append(append(b.head, common...), kgo.RecordHeader{Key: headerID, Value: b.data[e[0]:e[1]:e[1]]})
		b.recs = append(b.recs, kgo.Record{Key: b.data[at:e[0]:e[0]], Value: b.data[e[1]:e[2]:e[2]]})
		at = e[2]
	}
	n := len(common) + 1
	for i := range b.recs {
		b.recs[i].Headers = b.head[i*n : (i+1)*n : (i+1)*n]
	}
}

// appendKey writes what the partition follows from: the connection, so that its records
// stay in order.
func appendKey(b []byte, r *flow.Record) []byte {
	if r.Has.Has(flow.FConnID) {
		return r.AppendText(b, flow.FConnID)
	}
	// A foreign exporter gives no number: its tuple names the connection.
	for _, f := range []flow.FieldID{flow.FProto, flow.FSrcIP, flow.FSrcPort, flow.FDstIP, flow.FDstPort} {
		b = append(r.AppendText(b, f), ' ')
	}
	return b[:len(b)-1]
}

func (b *batch) same(o *batch) bool { return len(b.recs) == len(o.recs) && bytes.Equal(b.data, o.data) }

func (b *batch) finished() bool { return b.trying == nil && len(b.todo) == 0 }

// produce hands the next group to the client.
func (b *batch) produce(ctx context.Context, cl *kgo.Client) {
	b.trying, b.todo = b.todo[0], b.todo[1:]
	done := make(chan struct{})
	b.done = done
	b.waiting.Store(int64(len(b.trying)))
	for _, i := range b.trying {
		cl.Produce(ctx, &b.recs[i], func(_ *kgo.Record, err error) {
			b.errs[i] = err // read behind done alone
			if b.waiting.Add(-1) == 0 {
				close(done)
			}
		})
	}
}

// settle takes the outcome of what was tried. Where a broker finds fault with what is in a
// group, its halves are tried apart until what it can never take stands alone: that is
// lost. Other errors leave their records to the next try.
func (b *batch) settle(log *slog.Logger) (written int, err error) {
	var again, bad []int
	for _, i := range b.trying {
		switch e := b.errs[i]; {
		case e == nil:
		case poison(e):
			bad = append(bad, i)
		default:
			again, err = append(again, i), e
		}
	}
	written = len(b.trying) - len(bad) - len(again)
	alone := len(b.trying) == 1
	b.trying = nil
	var front [][]int
	switch {
	case len(bad) == 0:
	case alone:
		i := bad[0]
		b.lost = b.lost.Plus(b.amts[i])
		log.Error("no broker can ever take this record", "record", b.label(i), "error", b.errs[i])
	case len(bad) == 1:
		front = append(front, bad)
	default:
		front = append(front, bad[:len(bad)/2], bad[len(bad)/2:])
	}
	if len(again) > 0 {
		front = append(front, again)
	}
	b.todo = append(front, b.todo...)
	return written, err
}

// poison tells errors of what is in a record or a batch, which another try does not mend.
func poison(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.RecordListTooLarge)
}

// label names a record in the log.
func (b *batch) label(i int) string {
	r := &b.recs[i]
	return "conn_id " + string(r.Key) + ", id " + string(r.Headers[len(r.Headers)-1].Value) + ", " + strconv.Itoa(len(r.Value)) + " bytes, begins " + hex.EncodeToString(r.Value[:min(8, len(r.Value))])
}
