package correlate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

// The ends of a connection, as positions in entry.ends.
const (
	sideSrc = 0
	sideDst = 1
)

// KeyOf gives the tuple under which both ends of a connection meet: after
// translation, and with the client as the entry node translated it where the
// record says so (Antrea's from-external flows).
func KeyOf(r *flow.Record) flow.Tuple {
	t := flow.Tuple{Src: flow.Addr16(r.SrcIP), Dst: flow.Addr16(r.DstIP), SrcPort: r.SrcPort, DstPort: r.DstPort, Proto: r.Proto}
	if translated(r) {
		t.Src, t.SrcPort = flow.Addr16(r.ProxySNATIP), r.ProxySNATPort
	}
	if r.Has.Has(flow.FICMP) {
		t.DstPort = r.ICMP
	}
	return t
}

// Shard gives the hash of the record's key, by which shards are chosen.
func Shard(r *flow.Record) uint32 {
	t := KeyOf(r)
	return bits.RotateLeft32(hashTuple(&t), 16)
}

// Weight is the number of exporters' records that r stands for: what the books
// count.
func Weight(r *flow.Record) uint64 {
	if r.Has.Has(flow.FRecords) && r.Records > 1 {
		return uint64(r.Records)
	}
	return 1
}

func translated(r *flow.Record) bool {
	return r.Has.Has(flow.FProxySNATIP) && r.ProxySNATIP.IsValid() && !r.ProxySNATIP.IsUnspecified()
}

const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xd6e8feb86659fd93
)

func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^v, mixA)
	return hi ^ lo ^ mixB
}

func hash64(t *flow.Tuple) uint64 {
	h := mix(mixB, binary.LittleEndian.Uint64(t.Src[:8]))
	h = mix(h, binary.LittleEndian.Uint64(t.Src[8:]))
	h = mix(h, binary.LittleEndian.Uint64(t.Dst[:8]))
	h = mix(h, binary.LittleEndian.Uint64(t.Dst[8:]))
	return mix(h, uint64(t.SrcPort)<<32|uint64(t.DstPort)<<8|uint64(t.Proto))
}

func hashTuple(t *flow.Tuple) uint32 {
	h := hash64(t)
	return uint32(h ^ h>>32)
}

// normalize makes absent what a foreign exporter says with an empty value.
func normalize(r *flow.Record) {
	const addrs = 1<<(flow.FClusterIP&63) | 1<<(flow.FSvcIP&63) | 1<<(flow.FProxySNATIP&63)
	if r.Has[flow.FClusterIP>>6]&addrs == 0 { // all three lie in one word: TestCounterFields
		return
	}
	dropUnspecified(r, flow.FClusterIP, &r.ClusterIP)
	dropUnspecified(r, flow.FSvcIP, &r.SvcIP)
	dropUnspecified(r, flow.FProxySNATIP, &r.ProxySNATIP)
}

func dropUnspecified(r *flow.Record, f flow.FieldID, a *netip.Addr) {
	if a.IsValid() && a.IsUnspecified() {
		*a = netip.Addr{}
		r.Has.Clear(f)
	}
}

// passes tells records that are no half of anything: a foreign exporter's
// without any Kubernetes identity, and those that a correlator has joined already.
func passes(r *flow.Record) bool {
	if r.Has.Has(flow.FRecords) || r.Has.Has(flow.FPacketsSrc) || r.Has.Has(flow.FPacketsDst) {
		return true
	}
	return !r.Has.Has(flow.FSeenBy) && r.FlowType == 0 && r.SrcPod == "" && r.DstPod == "" &&
		!r.Has.Has(flow.FConnID) && !translated(r)
}

// sideOf tells which end observed r: Weir's exporters say so; for Antrea's, the
// source half has a source pod and no destination pod.
func sideOf(r *flow.Record) int {
	// What a record may hold far from its first fields is looked at where it is
	// present: the rest of it has not been touched by anyone.
	seenBy := flow.SeenByUnknown
	if r.Has.Has(flow.FSeenBy) {
		seenBy = r.SeenBy
	}
	switch seenBy {
	case flow.SeenBySource, flow.SeenByBoth:
		return sideSrc
	case flow.SeenByDestination:
		return sideDst
	case flow.SeenByUnknown:
	}
	if r.SrcPod == "" && r.DstPod != "" && !translated(r) && r.FlowType != flow.FlowTypeFromExternal {
		return sideDst
	}
	return sideSrc
}

// needsOther tells whether another node has something to say about r.
// A connection that was rejected, or dropped where it left, never reached the
// other node; one dropped where it arrives did leave an entry at the client's.
func needsOther(r *flow.Record) bool {
	if r.Has.Has(flow.FOutcome) && r.Outcome == flow.OutcomeAttempt {
		return false // it has not left its node
	}
	if r.EgressAction == flow.RuleActionDrop || r.EgressAction == flow.RuleActionReject ||
		r.IngressAction == flow.RuleActionReject || (r.Has.Has(flow.FSeenBy) && r.SeenBy == flow.SeenByBoth) {
		return false
	}
	switch r.FlowType {
	case flow.FlowTypeInterNode:
		return true
	case flow.FlowTypeFromExternal:
		return translated(r) && (r.DstPod == "" || r.SeenBy == flow.SeenBySource)
	case flow.FlowTypeIntraNode, flow.FlowTypeToExternal:
		return false
	case flow.FlowTypeUnspecified:
	}
	return r.Has.Has(flow.FScope) && (r.Scope == flow.ScopeCrossNode || r.Scope == flow.ScopeCrossZone)
}

// countersOf gives the totals (packets, bytes, reverse packets, reverse bytes)
// and which of them are present: bits 0-3 for totals, 4-7 for deltas.
func countersOf(r *flow.Record) (v [4]uint64, has uint8) {
	// The eight fields are neighbours in the schema: packets, bytes, their
	// deltas, then the same in reverse. TestCounterFields holds that still.
	w := uint16(r.Has[0]>>uint(flow.FPackets)) & 0xff
	has = uint8(w&3 | w>>2&0xc | (w&0xc)<<2 | w&0xc0)
	return [4]uint64{r.Packets, r.Bytes, r.RevPackets, r.RevBytes}, has
}

func deltasOf(r *flow.Record) [4]uint64 {
	return [4]uint64{r.PacketsDelta, r.BytesDelta, r.RevPacketsDelta, r.RevBytesDelta}
}
