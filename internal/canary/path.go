package canary

import (
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Path says between whom a canary goes, and under which names it must be booked. What
// is empty is not known and not compared.
type Path struct {
	Class   string `json:"class"`         // of traffic, in exporter/coverage's words
	Src     string `json:"src,omitempty"` // client: NAMESPACE/POD, or a node's name
	Dst     string `json:"dst,omitempty"`
	SrcNode string `json:"src_node,omitempty"`
	DstNode string `json:"dst_node,omitempty"`
	Service string `json:"service,omitempty"` // NAMESPACE/NAME of the Service that is dialled
}

// Crosses says whether another node's agent must tell of the canary too.
func (p *Path) Crosses() bool {
	return p.SrcNode != "" && p.DstNode != "" && p.SrcNode != p.DstNode
}

// Self is the path of a node's canary to itself.
func Self(node string) Path {
	return Path{Class: "host", Src: node, Dst: node, SrcNode: node, DstNode: node}
}

// Skipped is a way that no canary could be opened on: that says nothing of the hops.
type Skipped struct {
	Path
	Family string `json:"family"`
	Why    string `json:"why"`
	Remedy string `json:"remedy,omitempty"`
}

// misnamed says how an end is named otherwise than it should be; nothing where it is
// right. An address of a node that the source of names does not have is on no node,
// whatever its network's name; a pod's must have its name.
func misnamed(end, want, wantNode, got, gotNode string) (why string) {
	pod := strings.Contains(want, "/")
	switch {
	case want == "", !pod && gotNode == "":
		return ""
	case got != want && got == "":
		return "its " + end + " is " + want + ", and has no name"
	case got != want:
		return "its " + end + " is " + want + ", and is called " + got
	case wantNode != "" && gotNode != wantNode:
		return "its " + end + " " + want + " is on " + wantNode + ", and is said to be on " + gotNode
	}
	return ""
}

// naming compares the names in a mark with those that the canary should have.
func (s *Sent) naming(m *Mark) string {
	if why := misnamed("client", s.Src, s.SrcNode, m.Src, m.SrcNode); why != "" {
		return why
	}
	if why := misnamed("server", s.Dst, s.DstNode, m.Dst, m.DstNode); why != "" {
		return why
	}
	if s.Service != "" && m.Service != s.Service && !strings.HasPrefix(m.Service, s.Service+":") {
		return "it was dialled by the Service " + s.Service + ", and is booked as " + orNone(m.Service)
	}
	return ""
}

func orNone(service string) string {
	if service == "" {
		return "dialled directly"
	}
	return "dialled by " + service
}

// reporter is the stage of a record that an aggregator decoded: of the client's node or
// of the server's.
func reporter(stage string, r *flow.Record) string {
	if stage == StageCollect && r.Has.Has(flow.FSeenBy) && r.SeenBy == flow.SeenByDestination {
		return StagePeer
	}
	return stage
}
