// Package flowtest makes flow records for tests and benchmarks: Random ones that
// use every field of the table, and typical ones as an aggregator exports them.
//
// In: a random source or a number. Out: a flow.Record that is the same for the
// same input. It is for tests only and holds no state.
package flowtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

// Random gives a record with about half of all fields set, each to a random value
// of its type; enums stay within their words.
func Random(rng *rand.Rand) flow.Record {
	var r flow.Record
	for f := range flow.FieldID(flow.NumFields) {
		if rng.IntN(2) == 0 {
			continue
		}
		if err := r.SetText(f, randomText(rng, f)); err != nil {
			panic(err) // a bug of randomText
		}
	}
	return r
}

func randomText(rng *rand.Rand, f flow.FieldID) string {
	row := &flow.Fields[f]
	bits := rng.Uint64() >> uint(rng.IntN(64))
	switch row.Type {
	case flow.TypeU8:
		if words := flow.EnumWords[f]; words != nil {
			return words[rng.IntN(len(words))]
		}
		return fmt.Sprint(uint8(bits))
	case flow.TypeU16:
		return fmt.Sprint(uint16(bits))
	case flow.TypeU32:
		return fmt.Sprint(uint32(bits))
	case flow.TypeU64:
		if row.Unit == "" {
			return fmt.Sprintf("%016x", bits)
		}
		return fmt.Sprint(bits)
	case flow.TypeI32:
		return fmt.Sprint(int32(bits))
	case flow.TypeI64:
		return fmt.Sprint(int64(bits))
	case flow.TypeMillis:
		return fmt.Sprint(int64(bits >> 22))
	case flow.TypeBool:
		return fmt.Sprint(bits&1 == 1)
	case flow.TypeString:
		alphabet := []rune("abc-/:.,\"'{}\\\n\t\u00e9\u4e16 0")
		s := make([]rune, rng.IntN(20))
		for i := range s {
			s[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return string(s)
	case flow.TypeAddr:
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], rng.Uint64())
		binary.BigEndian.PutUint64(a[8:], rng.Uint64())
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte(a[:4])).String()
		}
		return netip.AddrFrom16(a).String()
	default: // flow.TypeUUID
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", uint32(rng.Uint64()), uint16(bits), uint16(bits>>16), uint16(bits>>32), rng.Uint64()>>16)
	}
}

// Sample gives record number i of a made-up cluster of 40 nodes and 2,000 pods, as
// an aggregator exports a pod-to-pod connection that both ends saw. ID holds i.
func Sample(i uint64) flow.Record {
	const base = 1_700_000_000_000
	pod, peer := i%2000, (i*7+3)%2000
	var r flow.Record
	r.SetStart(base + int64(i/20))
	r.SetEnd(base + int64(i/20) + 4321)
	r.SetEndReason(flow.EndReasonActive)
	r.SetSrcIP(netip.AddrFrom4([4]byte{10, 10, byte(pod / 250), byte(pod % 250)}))
	r.SetDstIP(netip.AddrFrom4([4]byte{10, 10, byte(peer / 250), byte(peer % 250)}))
	r.SetSrcPort(uint16(32768 + i%28000))
	r.SetDstPort(8080)
	r.SetProto(6)
	r.SetPackets(10 + i%90)
	r.SetBytes(1000 + i%9000)
	r.SetPacketsDelta(10 + i%90)
	r.SetBytesDelta(1000 + i%9000)
	r.SetRevPackets(9 + i%80)
	r.SetRevBytes(20000 + i%70000)
	r.SetRevPacketsDelta(9 + i%80)
	r.SetRevBytesDelta(20000 + i%70000)
	r.SetSrcPod(fmt.Sprintf("client-%04d-x7k2p", pod))
	r.SetSrcNS(fmt.Sprintf("team-%02d", pod%25))
	r.SetSrcNode(fmt.Sprintf("node-%02d", pod%40))
	r.SetDstPod(fmt.Sprintf("server-%04d-b9qmz", peer))
	r.SetDstNS(fmt.Sprintf("team-%02d", peer%25))
	r.SetDstNode(fmt.Sprintf("node-%02d", peer%40))
	r.SetSrcWorkload(fmt.Sprintf("Deployment/client-%04d", pod))
	r.SetDstWorkload(fmt.Sprintf("Deployment/server-%04d", peer))
	r.SetSvcIP(netip.AddrFrom4([4]byte{10, 96, byte(peer / 250), byte(peer % 250)}))
	r.SetClusterIP(r.SvcIP)
	r.SetSvcPort(80)
	r.SetSvcPortName(fmt.Sprintf("team-%02d/server-%04d:http", peer%25, peer))
	r.SetIngressPolicy("allow-clients")
	r.SetIngressPolicyNS(r.DstNS)
	r.SetIngressPolicyType(flow.PolicyTypeK8s)
	r.SetIngressAction(flow.RuleActionAllow)
	r.SetTCPState("ESTABLISHED")
	r.SetFlowType(flow.FlowTypeInterNode)
	r.SetSrcLabels(fmt.Sprintf(`{"app":"client-%04d","team":"%02d"}`, pod, pod%25))
	r.SetDstLabels(fmt.Sprintf(`{"app":"server-%04d","team":"%02d"}`, peer, peer%25))
	r.SetThroughput(1850)
	r.SetRevThroughput(37000)
	r.SetOutcome(flow.OutcomeOK)
	r.SetEvidence(flow.EvidenceConntrack | flow.EvidenceBothEnds)
	r.SetSeenBy(flow.SeenByBoth)
	r.SetScope(flow.ScopeCrossNode)
	r.SetSrcKind(flow.EndPod)
	r.SetDstKind(flow.EndPod)
	r.SetClusterID("b7c1f0de-5a3e-4b57-9a52-0c1b3c1d2e3f")
	r.SetConnID(i * 0x9E3779B97F4A7C15)
	r.SetFirst(true)
	r.SetFinal(false)
	r.SetRecords(2)
	r.SetID(SampleID(i))
	return r
}

// SampleID is the ID of Sample i.
func SampleID(i uint64) (id flow.UUID) {
	binary.BigEndian.PutUint64(id[:], i*0x9E3779B97F4A7C15+1) // never zero: a zero UUID is absent on the wire
	binary.BigEndian.PutUint64(id[8:], i)
	return id
}

// SampleNumber gives back the number of a Sample from its ID.
func SampleNumber(id flow.UUID) uint64 { return binary.BigEndian.Uint64(id[8:]) }
