// Package rollup makes of a segment what answers queries over long ranges with fewer rows
// and the same answer.
//
// In: a segment that will not be joined any more. Out: a file of the same format, with
// three kinds of row groups:
//
//   - segment.Groups: the records that are the only one of their connection and lie
//     within one minute, added up by minute and by the fields of Dims. A row says in
//     segment.Weight for how many connections it stands.
//   - segment.Sole: those of them that do not lie within a minute, as they are.
//   - segment.Rows: of each other connection its newest record in the segment, with
//     the sums of the deltas of all.
//
// The first two stand for all records of kind Sole of the segment where Meta.Grouped says
// so, the third for all others. What cannot be added up exactly is left as it is. It is
// derived: whoever loses a file makes it again. It keeps nothing and decides nothing.
package rollup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Minute is the length of a group's time, in ms.
const Minute = 60_000

// ErrNothing is the error of a segment that a roll-up would not make shorter.
var ErrNothing = errors.New("nothing to add up")

// left out of Dims: they have too many values, or say nothing of many connections at once.
var leftOut = map[flow.FieldID]bool{
	flow.FStart: true, flow.FEnd: true, flow.FSince: true, flow.FEndSrc: true, flow.FEndDst: true,
	flow.FSrcIP: true, flow.FDstIP: true, flow.FSrcPort: true, flow.FProxySNATIP: true, flow.FProxySNATPort: true,
	flow.FSrcPod: true, flow.FDstPod: true, flow.FSrcPodUID: true, flow.FDstPodUID: true, flow.FSrcLabels: true, flow.FDstLabels: true,
	flow.FConnID: true, flow.FSeq: true, flow.FRecords: true, flow.FFirst: true, flow.FHTTPVals: true, flow.FPolicyEvalWhy: true,
	flow.FDNSQuery: true, flow.FDNSTime: true, flow.FRTT: true, flow.FRTTMin: true, flow.FRetransSrc: true, flow.FRetransDst: true, flow.FPathMTU: true,
	flow.FLossPackets: true, flow.FLossRevPackets: true, flow.FDenied: true, flow.FDstListens: true, flow.FDstBacklog: true, flow.FDstBacklogMax: true,
	flow.FThroughput: true, flow.FRevThroughput: true, flow.FThroughputSrc: true, flow.FThroughputDst: true, flow.FRevThroughputSrc: true, flow.FRevThroughputDst: true,
}

var dims = makeDims()

func makeDims() (dims [flow.NumFields]bool) {
	for f := range flow.FieldID(flow.NumFields) {
		dims[f] = column.KindOf(f) != column.None && !leftOut[f]
	}
	for _, c := range query.Counters {
		dims[c.Total], dims[c.Delta] = false, false
	}
	return dims
}

// Dim tells whether groups have a field: queries that name only such fields and sums of
// counters can be answered from groups.
func Dim(f flow.FieldID) bool { return int(f) < flow.NumFields && dims[f] }

// Write makes the roll-up of a segment. The error is ErrNothing where it would be no
// shorter.
func Write(ctx context.Context, out io.Writer, in *segment.File) (size int64, meta segment.Meta, err error) {
	b := &builder{ctx: ctx, in: in}
	if err := b.group(); err != nil {
		return 0, meta, fmt.Errorf("roll-up: %w", err)
	}
	if err := b.fold(); err != nil {
		return 0, meta, fmt.Errorf("roll-up: %w", err)
	}
	if len(b.kept) == 0 && !b.grouped {
		return 0, meta, ErrNothing
	}
	w, err := segment.NewWriter(out, append(in.Fields(), segment.Weight))
	if err != nil {
		return 0, meta, err
	}
	if b.grouped {
		err = errors.Join(b.writeGroups(w), b.writeStraddling(w))
	}
	if err == nil {
		err = b.writeFolded(w)
	}
	if err != nil {
		return 0, meta, fmt.Errorf("roll-up: %w", err)
	}
	meta = segment.Meta{Spool: in.Spool, From: in.From, To: in.To, Grouped: b.grouped}
	size, err = w.Close(meta)
	meta.Groups = w.Groups()
	return size, meta, err
}

type builder struct {
	ctx context.Context
	in  *segment.File

	grouped bool
	pieces  []*piece // of the row groups of kind Sole

	kept []int32 // rows of the row groups of kind Rows that stay: the newest of each connection
	into []int32 // of each row, the number of the kept one that it is added to
}

// groupsOf are the numbers of the row groups of a kind, their rows, and their time.
func (b *builder) groupsOf(kind segment.Kind) (list []int, rows []int, all segment.Group) {
	for g := range b.in.Groups {
		x := &b.in.Groups[g]
		if x.Kind != kind {
			continue
		}
		if len(list) == 0 {
			all.Min, all.Max = x.Min, x.Max
		}
		all.Min, all.Max = min(all.Min, x.Min), max(all.Max, x.Max)
		all.Rows += x.Rows
		list, rows = append(list, g), append(rows, x.Rows)
	}
	return list, rows, all
}

// column reads a column of all row groups of a kind; nil where none has it.
func (b *builder) column(kind segment.Kind, f flow.FieldID) (*column.Column, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	if !b.in.Has(f) {
		return nil, nil
	}
	list, rows, _ := b.groupsOf(kind)
	cols := make([]*column.Column, len(list))
	for i, g := range list {
		var err error
		if cols[i], err = b.in.Column(g, f); err != nil {
			return nil, err
		}
	}
	if len(cols) == 1 {
		return cols[0], nil
	}
	return column.Concat(f, cols, rows), nil
}
