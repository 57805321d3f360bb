package enrich

import (
	"net/netip"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/policy/eval"
)

// maxVerdicts and maxLabels bound what a judge remembers; a full map begins anew.
const (
	maxVerdicts = 1 << 16
	maxLabels   = 1 << 14
)

// judge asks policy/eval, and remembers the answers: connections of one kind have
// one. An answer holds for two ends, a port and the policies of both namespaces;
// whatever changes with time is in the key or empties the map.
type judge struct {
	idx      cluster.PolicyReader
	gen      uint64
	verdicts map[question]answer
	labels   map[string]map[string]string
}

type question struct {
	src, dst         *cluster.Identity
	srcAddr, dstAddr [16]byte // of ends without an identity of their own
	srcSet, dstSet   *cluster.PolicySet
	srcNS, dstNS     string // labels of the namespaces
	proto            uint8
	port             uint16
}

type answer struct {
	verdict flow.PolicyEval
	why     string
}

var unprotected = answer{flow.PolicyEvalUnprotected, (&eval.Decision{Verdict: flow.PolicyEvalUnprotected}).String()}

func newJudge(idx cluster.PolicyReader) *judge {
	return &judge{idx: idx, verdicts: map[question]answer{}, labels: map[string]map[string]string{}}
}

// fillPolicy says what the policies in force when the connection began say of it.
func (e *Enricher) fillPolicy(c *track.Conn, r *flow.Record, s, d *end, at times) {
	if e.judge == nil || !selectable(s.id) && !selectable(d.id) {
		return
	}
	ms := at[0]
	if ms == 0 {
		ms = at[1]
	}
	// The server's node sees a translated client.
	srcAddr := c.Orig.Src
	if r.Has.Has(flow.FProxySNATIP) {
		srcAddr = flow.Addr16(r.ProxySNATIP)
	}
	a := e.judge.ask(s, d, srcAddr, c, ms)
	r.SetPolicyEval(a.verdict)
	r.SetPolicyEvalWhy(a.why)
}

func selectable(id *cluster.Identity) bool { return id != nil && id.Kind == flow.EndPod }

func (j *judge) ask(s, d *end, srcAddr [16]byte, c *track.Conn, ms int64) answer {
	if gen := j.idx.PolicyGeneration(); gen != j.gen || len(j.verdicts) >= maxVerdicts {
		clear(j.verdicts)
		j.gen = gen
	}
	q := question{src: s.id, dst: d.id, proto: c.Orig.Proto, port: c.Reply.SrcPort}
	if !hasPorts(q.proto) {
		q.port = 0
	}
	if selectable(s.id) {
		q.srcSet = j.idx.Policies(s.id.Namespace, ms)
	} else {
		q.srcAddr = srcAddr
	}
	if selectable(d.id) {
		q.dstSet = j.idx.Policies(d.id.Namespace, ms)
	} else {
		q.dstAddr = c.Reply.Src
	}
	if q.srcSet == nil && q.dstSet == nil {
		return unprotected
	}
	q.srcNS, q.dstNS = j.nsLabels(s, ms), j.nsLabels(d, ms)
	if a, ok := j.verdicts[q]; ok {
		return a
	}
	p := &eval.Packet{Src: j.side(s, srcAddr, q.srcNS), Dst: j.side(d, c.Reply.Src, q.dstNS), Proto: q.proto, Port: q.port}
	dec := eval.Evaluate(list(q.srcSet), list(q.dstSet), p)
	a := answer{dec.Verdict, dec.String()}
	j.verdicts[q] = a
	return a
}

func list(s *cluster.PolicySet) []*cluster.NetworkPolicy {
	if s == nil {
		return nil
	}
	return s.Policies
}

func (j *judge) nsLabels(e *end, ms int64) string {
	if e.id == nil || e.id.Name == "" {
		return ""
	}
	return j.idx.NamespaceLabelsAt(e.id.Namespace, ms)
}

func (j *judge) side(e *end, addr [16]byte, nsLabels string) eval.Side {
	s := eval.Side{Addr: netip.AddrFrom16(addr).Unmap(), Node: e.node, IsNode: e.kind == flow.EndNode || e.kind == flow.EndHostPod}
	if id := e.id; id != nil && id.Name != "" {
		s.Selectable = id.Kind == flow.EndPod
		s.Namespace, s.Name, s.Ports = id.Namespace, id.Name, id.Ports
		s.Labels = j.parsed(id.Labels)
		s.NamespaceLabels = j.parsed(nsLabels)
	}
	return s
}

func (j *judge) parsed(text string) map[string]string {
	if m, ok := j.labels[text]; ok {
		return m
	}
	if len(j.labels) >= maxLabels {
		clear(j.labels)
	}
	m := cluster.ParseLabels(text)
	j.labels[text] = m
	return m
}
