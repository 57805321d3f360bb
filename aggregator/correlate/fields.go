package correlate

import (
	"math"
	"math/bits"

	"github.com/weirnet/weir/api/flow"
)

// four are the fields of packets, bytes, reverse packets and reverse bytes.
type four [4]flow.FieldID

var (
	commonTotal = four{flow.FPackets, flow.FBytes, flow.FRevPackets, flow.FRevBytes}
	commonDelta = four{flow.FPacketsDelta, flow.FBytesDelta, flow.FRevPacketsDelta, flow.FRevBytesDelta}
	srcTotal    = four{flow.FPacketsSrc, flow.FBytesSrc, flow.FRevPacketsSrc, flow.FRevBytesSrc}
	srcDelta    = four{flow.FPacketsDeltaSrc, flow.FBytesDeltaSrc, flow.FRevPacketsDeltaSrc, flow.FRevBytesDeltaSrc}
	dstTotal    = four{flow.FPacketsDst, flow.FBytesDst, flow.FRevPacketsDst, flow.FRevBytesDst}
	dstDelta    = four{flow.FPacketsDeltaDst, flow.FBytesDeltaDst, flow.FRevPacketsDeltaDst, flow.FRevBytesDeltaDst}
)

// counters writes the common numbers and each end's. What was not counted stays
// absent; a total is absent where only deltas were told.
func counters(e *entry, r *flow.Record) {
	src, dst := &e.ends[sideSrc], &e.ends[sideDst]
	var total, delta [4]uint64
	for k := range total {
		if !src.known(k) && !dst.known(k) {
			continue
		}
		total[k] = e.common(k)
		delta[k] = total[k] - e.base[k]
		r.Has.Set(commonDelta[k])
		if (src.has|dst.has)&(1<<k) != 0 {
			r.Has.Set(commonTotal[k])
		} else {
			total[k] = 0
		}
	}
	r.Packets, r.Bytes, r.RevPackets, r.RevBytes = total[0], total[1], total[2], total[3]
	r.PacketsDelta, r.BytesDelta, r.RevPacketsDelta, r.RevBytesDelta = delta[0], delta[1], delta[2], delta[3]

	st, sd := perEnd(src, r, &srcTotal, &srcDelta)
	r.PacketsSrc, r.BytesSrc, r.RevPacketsSrc, r.RevBytesSrc = st[0], st[1], st[2], st[3]
	r.PacketsDeltaSrc, r.BytesDeltaSrc, r.RevPacketsDeltaSrc, r.RevBytesDeltaSrc = sd[0], sd[1], sd[2], sd[3]
	dt, dd := perEnd(dst, r, &dstTotal, &dstDelta)
	r.PacketsDst, r.BytesDst, r.RevPacketsDst, r.RevBytesDst = dt[0], dt[1], dt[2], dt[3]
	r.PacketsDeltaDst, r.BytesDeltaDst, r.RevPacketsDeltaDst, r.RevBytesDeltaDst = dd[0], dd[1], dd[2], dd[3]

	gap := max(src.gapMs, dst.gapMs)
	rate(r, flow.FThroughput, flow.FBytesDelta, &r.Throughput, bits64(delta[1], gap))
	rate(r, flow.FRevThroughput, flow.FRevBytesDelta, &r.RevThroughput, bits64(delta[3], gap))
	rate(r, flow.FThroughputSrc, flow.FBytesDeltaSrc, &r.ThroughputSrc, bits64(sd[1], src.gapMs))
	rate(r, flow.FRevThroughputSrc, flow.FRevBytesDeltaSrc, &r.RevThroughputSrc, bits64(sd[3], src.gapMs))
	rate(r, flow.FThroughputDst, flow.FBytesDeltaDst, &r.ThroughputDst, bits64(dd[1], dst.gapMs))
	rate(r, flow.FRevThroughputDst, flow.FRevBytesDeltaDst, &r.RevThroughputDst, bits64(dd[3], dst.gapMs))
}

func perEnd(o *end, r *flow.Record, totals, deltas *four) (total, delta [4]uint64) {
	for k := range total {
		if !o.known(k) {
			continue
		}
		delta[k] = o.total[k] - o.base[k]
		r.Has.Set(deltas[k])
		if o.has&(1<<k) != 0 {
			total[k] = o.total[k]
			r.Has.Set(totals[k])
		}
	}
	return total, delta
}

// rate writes a throughput where its counter is known and time has passed.
func rate(r *flow.Record, f, counted flow.FieldID, p *uint64, v int64) {
	if v >= 0 && r.Has.Has(counted) {
		*p = uint64(v)
		r.Has.Set(f)
	}
}

// bits64 gives bit/s over the milliseconds of the observer's own clock, or -1
// where no time has passed.
func bits64(bytes uint64, ms uint32) int64 {
	if ms == 0 {
		return -1
	}
	if hi, lo := bits.Mul64(bytes, 8000); hi == 0 {
		return int64(min(lo/uint64(ms), math.MaxInt64))
	}
	return int64(min(bytes/uint64(ms), math.MaxInt64/8000) * 8000)
}

// loss writes what one end sent and the other did not see. Called only where
// both ends' totals are settled, else packets in flight would look lost.
func loss(src, dst *end, r *flow.Record) {
	if src.has&dst.has&1 != 0 {
		r.SetLossPackets(int64(src.total[0] - dst.total[0]))
	}
	if src.has&dst.has&4 != 0 {
		r.SetLossRevPackets(int64(dst.total[2] - src.total[2]))
	}
}

func sockets(e *entry, r *flow.Record) {
	if e.has != 0 {
		if e.has&(1<<sockRTT) != 0 {
			r.SetRTT(e.sock[sockRTT])
		}
		if e.has&(1<<sockRTTMin) != 0 {
			r.SetRTTMin(e.sock[sockRTTMin])
		}
		if e.has&(1<<sockRetransSrc) != 0 {
			r.SetRetransSrc(e.sock[sockRetransSrc])
		}
		if e.has&(1<<sockRetransDst) != 0 {
			r.SetRetransDst(e.sock[sockRetransDst])
		}
		if e.has&(1<<sockMTU) != 0 {
			r.SetPathMTU(e.sock[sockMTU])
		}
	}
	if e.dnsTime != 0 {
		r.SetDNSTime(e.dnsTime - 1)
	}
	if v := flow.LimitedBy(e.has >> limitSrcShift & limitMask); v != 0 {
		r.SetLimitedBySrc(v)
	}
	if v := flow.LimitedBy(e.ctHas >> limitDstShift & limitMask); v != 0 {
		r.SetLimitedByDst(v)
	}
	if e.ctHas&1 != 0 {
		r.SetCTZone(e.ctZone)
	}
	if e.ctHas&2 != 0 {
		r.SetCTMark(e.ctMark)
	}
	if e.ctHas&4 != 0 {
		r.SetCTStatus(e.ctStat)
	}
}

// place improves the scope where both nodes are named.
func place(r *flow.Record) {
	if r.SrcNode == "" || r.DstNode == "" {
		return
	}
	switch {
	case r.Scope == flow.ScopeExternal:
	case r.SrcNode == r.DstNode:
		r.SetScope(flow.ScopeSameNode)
	case r.SrcZone != "" && r.DstZone != "" && r.SrcZone != r.DstZone:
		r.SetScope(flow.ScopeCrossZone)
	default:
		r.SetScope(flow.ScopeCrossNode)
	}
}

// networks says in which network an end lies that is none of the cluster's. Exporters
// that know no kinds say it by the type of the flow.
func networks(r *flow.Record) {
	if r.SrcKind == flow.EndExternal || r.SrcKind == flow.EndUnknown && r.FlowType == flow.FlowTypeFromExternal {
		if n := flow.Network(r.SrcIP); n != "" {
			r.SetSrcNet(n)
		}
	}
	if r.DstKind == flow.EndExternal || r.DstKind == flow.EndUnknown && r.FlowType == flow.FlowTypeToExternal {
		if n := flow.Network(r.DstIP); n != "" {
			r.SetDstNet(n)
		}
	}
}
