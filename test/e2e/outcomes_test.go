package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weirnet/weir/api/flow"
)

const (
	evCT   = flow.EvidenceConntrack
	evSock = flow.EvidenceSocket
	evLog  = flow.EvidenceNFLOG
	evBoth = flow.EvidenceBothEnds
	evPkt  = flow.EvidencePacket
)

// fate is one thing that may become of a connection, and what proves it.
type fate struct {
	name     string
	proto    string
	port     uint16
	outcome  flow.Outcome
	evidence flow.Evidence
	by       flow.ResetBy
	more     func(r *flow.Record) string // what else is wrong, or nothing
}

// fates are all of them where both nodes are heard.
func fates() []fate {
	return []fate{
		{"ok", "tcp", portOK, flow.OutcomeOK, evCT | evBoth, 0, nil},
		{"ok", "udp", portOK, flow.OutcomeOK, evCT | evBoth, 0, nil},
		{"nobody listens", "tcp", portNobody, flow.OutcomeRefused, evCT | evBoth, flow.ResetByDst, nil},
		{"nobody listens", "udp", portNobody, flow.OutcomeRefused, evCT | evPkt | evBoth, flow.ResetByDst, nil},
		{"a router's RST", "tcp", portPathRST, flow.OutcomeRefused, evCT | evBoth, flow.ResetByPath, nil},
		{"a router's ICMP error", "tcp", portPathICMP, flow.OutcomeRefused, evCT | evPkt | evBoth, flow.ResetByPath, nil},
		{"a router's ICMP error", "udp", portPathICMP, flow.OutcomeRefused, evCT | evPkt | evBoth, flow.ResetByPath, nil},
		{"a RST of the server's node", "tcp", portDstRST, flow.OutcomeRefused, evCT | evPkt | evBoth, flow.ResetByPath, nil},
		{"a RST of the client's node", "tcp", portSrcRST, flow.OutcomeRefused, evPkt, flow.ResetByPath, noCounters},
		{"reset by the client", "tcp", portResetSrc, flow.OutcomeReset, evCT | evPkt | evBoth, flow.ResetBySrc, nil},
		{"reset by the server", "tcp", portResetDst, flow.OutcomeReset, evCT | evPkt | evBoth, flow.ResetByDst, nil},
		{"timed out", "tcp", portVanish, flow.OutcomeTimedOut, evCT | evBoth, 0, nil},
		{"unanswered", "tcp", portMute, flow.OutcomeUnanswered, evCT | evSock | evBoth, 0, nil},
		{"unanswered", "udp", portMute, flow.OutcomeUnanswered, evCT | evBoth, 0, nil},
		{"denied at its node", "tcp", portSrcDeny, flow.OutcomeDenied, evLog | evSock, 0, both(noCounters, denied("no-egress", ""))},
		{"denied at its node", "udp", portSrcDeny, flow.OutcomeDenied, evLog, 0, both(noCounters, denied("no-egress", ""))},
		{"denied at arrival", "tcp", portDstDeny, flow.OutcomeDenied, evLog, 0, denied("", "guard")},
		{"denied at arrival", "udp", portDstDeny, flow.OutcomeDenied, evLog, 0, denied("", "guard")},
		{"lost on the way", "tcp", portLost, flow.OutcomePathLoss, evCT | evSock | evBoth, 0, nil},
		{"lost on the way", "udp", portLost, flow.OutcomePathLoss, evCT | evBoth, 0, nil},
		{"the answer is lost", "tcp", portReplyLost, flow.OutcomePathLoss, evCT | evSock | evBoth, 0, nil},
		{"the answer is lost", "udp", portReplyLost, flow.OutcomePathLoss, evCT | evBoth, 0, nil},
		{"answered, and neither established nor refused", "tcp", portHalf, flow.OutcomeUnknown, 0, 0, func(r *flow.Record) string {
			if r.Final && r.RetransSrc > 0 && r.RevPackets > 0 && !r.Has.Has(flow.FOutcome) {
				return ""
			}
			return fmt.Sprintf("final %t, %d retransmits, %d answers", r.Final, r.RetransSrc, r.RevPackets)
		}},
		{"a lossy link", "tcp", portLossy, flow.OutcomeOK, evCT | evBoth, 0, func(r *flow.Record) string {
			if r.Final && r.LossPackets > 0 {
				return ""
			}
			return fmt.Sprintf("loss of %d packets, final %t", r.LossPackets, r.Final)
		}},
		{"an attempt", "tcp", portSrcDrop, flow.OutcomeAttempt, evSock, 0, both(noCounters, func(r *flow.Record) string {
			if r.RetransSrc > 0 {
				return ""
			}
			return "no retransmits"
		})},
	}
}

// fatesAlone are what is left where the server's node is not heard: the client's word.
func fatesAlone() []fate {
	return []fate{
		{"ok, alone", "tcp", portOK, flow.OutcomeOK, evCT, 0, nil},
		{"ok, alone", "udp", portOK, flow.OutcomeOK, evCT, 0, nil},
		{"lost on the way, alone", "tcp", portLost, flow.OutcomeUnanswered, evCT | evSock, 0, nil},
		{"lost on the way, alone", "udp", portLost, flow.OutcomeUnanswered, evCT, 0, nil},
		{"a router's RST, alone", "tcp", portPathRST, flow.OutcomeRefused, evCT, 0, nil},
		{"nobody listens, alone", "tcp", portNobody, flow.OutcomeRefused, evCT, 0, nil},
		{"the answer is lost, alone", "udp", portReplyLost, flow.OutcomeUnanswered, evCT, 0, nil},
		{"denied at arrival, alone", "udp", portDstDeny, flow.OutcomeUnanswered, evCT, 0, nil},
	}
}

func both(f, g func(*flow.Record) string) func(*flow.Record) string {
	return func(r *flow.Record) string { return f(r) + g(r) }
}

func noCounters(r *flow.Record) string {
	if r.Has.Has(flow.FBytes) || r.Has.Has(flow.FPackets) {
		return "it has counters, "
	}
	return ""
}

func denied(egress, ingress string) func(*flow.Record) string {
	return func(r *flow.Record) string {
		if r.Denied > 0 && r.EgressRule == egress && r.IngressRule == ingress {
			return ""
		}
		return fmt.Sprintf("%d denied by egress %q, ingress %q", r.Denied, r.EgressRule, r.IngressRule)
	}
}

// wrong says what is wrong with the last record of a connection, or nothing.
func (f *fate) wrong(r *flow.Record, service bool) string {
	var s []string
	if r.Outcome != f.outcome || r.Evidence != f.evidence || r.ResetBy != f.by {
		s = append(s, fmt.Sprintf("%s, evidence %06b, by %s; want %s, %06b, by %s",
			flow.OutcomeWords[r.Outcome], r.Evidence, flow.ResetByWords[r.ResetBy], flow.OutcomeWords[f.outcome], f.evidence, flow.ResetByWords[f.by]))
	}
	if f.more != nil {
		if w := f.more(r); w != "" {
			s = append(s, w)
		}
	}
	if r.SrcPod != "client" || f.evidence&evCT != 0 && (r.DstPod != "server" || r.DstPort != f.port) {
		s = append(s, fmt.Sprintf("from %q to %q port %d", r.SrcPod, r.DstPod, r.DstPort))
	}
	if f.evidence&evCT != 0 && service != r.Has.Has(flow.FSvcIP) {
		s = append(s, fmt.Sprintf("dialled a Service: %t", !service))
	}
	return strings.Join(s, "; ")
}

// servers answer at the server's addresses until the test ends.
func (l *twoNodes) servers() {
	l.t.Helper()
	var tcp []net.Listener
	var udp []net.PacketConn
	l.t.Cleanup(func() {
		for _, s := range tcp {
			_ = s.Close()
		}
		for _, s := range udp {
			_ = s.Close()
		}
	})
	quiet := net.ListenConfig{KeepAlive: -1}
	err := l.serve.Do(func() error {
		for _, port := range []uint16{portOK, portResetDst, portResetSrc, portVanish, portMute, portLossy, portReplyLost, portHalf} {
			for _, a := range targets[:2] {
				s, err := quiet.Listen(context.Background(), "tcp", netip.AddrPortFrom(a.addr, port).String())
				if err != nil {
					return err
				}
				tcp = append(tcp, s)
				go answerTCP(s, port)
				u, err := net.ListenPacket("udp", netip.AddrPortFrom(a.addr, port).String())
				if err != nil {
					return err
				}
				udp = append(udp, u)
				go answerUDP(u, port)
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func answerTCP(l net.Listener, port uint16) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if port == portResetDst {
				_, _ = c.Read(make([]byte, 100))
				_ = c.(*net.TCPConn).SetLinger(0) // Close sends a RST
				return
			}
			_, _ = io.Copy(c, c)
		}()
	}
}

func answerUDP(u net.PacketConn, port uint16) {
	buf := make([]byte, 2048)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		if port != portMute {
			_, _ = u.WriteTo(buf[:n], from)
		}
	}
}

// dial makes one connection and does with it what its port says. It runs in the
// client's namespace. That it fails is what most are for.
func dial(proto string, from, to netip.AddrPort, hold func(net.Conn)) {
	d := net.Dialer{Timeout: 3500 * time.Millisecond, KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(from)}
	if proto == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(from)
	}
	c, err := d.Dial(proto, to.String())
	if err != nil {
		return
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if proto == "udp" {
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	}
	buf := make([]byte, 100)
	times := 1
	if to.Port() == portLossy {
		times = 80
	}
	for range times {
		_, _ = c.Write(buf)
		if times > 1 {
			time.Sleep(20 * time.Millisecond) // one packet each
		}
	}
	_, _ = io.ReadFull(c, make([]byte, 100*times))
	switch to.Port() {
	case portVanish:
		hold(c)
		return
	case portResetSrc:
		time.Sleep(time.Second) // its acknowledgement comes first
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
	_ = c.Close()
}

// conns are the connections of fates, by their client's port.
type conns map[uint16]struct {
	fate    fate
	target  string
	service bool
}

// make makes every connection of list to every target, all at once.
func (l *twoNodes) make(list []fate, port uint16) conns {
	l.t.Helper()
	made := conns{}
	var all sync.WaitGroup
	hold := func(c net.Conn) { l.t.Cleanup(func() { _ = c.Close() }) }
	for _, f := range list {
		for _, to := range targets {
			port++
			made[port] = struct {
				fate    fate
				target  string
				service bool
			}{f, to.name, to.service}
			from, to := netip.AddrPortFrom(to.client, port), netip.AddrPortFrom(to.addr, f.port)
			all.Go(func() {
				if err := l.client.Do(func() error { dial(f.proto, from, to, hold); return nil }); err != nil {
					l.t.Error(err)
				}
			})
		}
	}
	all.Wait()
	return made
}

// lastRecords gives the last record of each connection in the sink's file, by the
// client's port.
func (l *lab) lastRecords() (map[uint16]flow.Record, error) {
	f, err := os.Open(filepath.Join(l.dir, "flows.jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[uint16]flow.Record{}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r flow.Record
		if err := flow.ParseJSON(sc.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%w in %s", err, sc.Text())
		}
		out[r.SrcPort] = r
	}
	return out, sc.Err()
}

// come waits until every connection has the outcome that it should have.
func (l *twoNodes) come(made conns) {
	l.t.Helper()
	late := time.Now().Add(60 * time.Second)
	for {
		got, err := l.lastRecords()
		var faults []string
		for port, c := range made {
			r, ok := got[port]
			w := "no record"
			if ok {
				w = c.fate.wrong(&r, c.service)
			}
			if w != "" {
				faults = append(faults, fmt.Sprintf("%s, %s, %s, from port %d: %s", c.fate.name, c.fate.proto, c.target, port, w))
			}
		}
		switch {
		case err == nil && len(faults) == 0:
			return
		case time.Now().After(late):
			l.t.Fatalf("%v\n%s", err, strings.Join(faults, "\n"))
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// TestOutcomes has every outcome happen, by both families and protocols, directly and
// through a Service, and wants the evidence that proves it; then without the server's
// node, where the client's word stands alone.
func TestOutcomes(t *testing.T) {
	l := newTwoNodes(t, twoNodesMore{})
	l.servers()
	l.settle("node-1", "node-2")
	l.come(l.make(fates(), 20000))
	l.agent2.stop()
	l.come(l.make(fatesAlone(), 30000))
	l.drain()
}
