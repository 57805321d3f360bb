package conntrack

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

func nextLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSpace(line), rest
}

// nextField takes "key=value", "key=(...)" or a bare word off the text.
func nextField(s string) (key, val, rest string, ok bool) {
	i := strings.IndexAny(s, ",=")
	if i < 0 {
		return s, "", "", s != ""
	}
	if s[i] == ',' {
		return s[:i], "", s[i+1:], true
	}
	key, s = s[:i], s[i+1:]
	if strings.HasPrefix(s, "(") {
		depth := 0
		for j := range len(s) {
			switch s[j] {
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 {
				return key, s[1:j], strings.TrimPrefix(s[j+1:], ","), true
			}
		}
		return "", "", "", false
	}
	val, rest, _ = strings.Cut(s, ",")
	return key, val, rest, true
}

// ovsProtos are the names of ct_dpif_format_ipproto (lib/ct-dpif.c); others are numbers.
func ovsProto(name string) (uint8, bool) {
	switch name {
	case "icmp":
		return 1, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	case "icmpv6":
		return 58, true
	case "sctp":
		return 132, true
	}
	n, err := strconv.ParseUint(name, 10, 8)
	return uint8(n), err == nil
}

// ovsStates are the names of ct_dpif_tcp_state_string in its order, as the kernel's
// states.
func ovsState(name string) (order int, state uint8, ok bool) {
	for i, s := range [...]struct {
		name  string
		state uint8
	}{
		{"CLOSED", track.TCPNone},
		{"LISTEN", track.TCPNone},
		{"SYN_SENT", track.TCPSynSent},
		{"SYN_RECV", track.TCPSynRecv},
		{"ESTABLISHED", track.TCPEstablished},
		{"CLOSE_WAIT", track.TCPCloseWait},
		{"FIN_WAIT_1", track.TCPFinWait},
		{"CLOSING", track.TCPLastAck},
		{"LAST_ACK", track.TCPLastAck},
		{"FIN_WAIT_2", track.TCPFinWait},
		{"TIME_WAIT", track.TCPTimeWait},
	} {
		if s.name == name {
			return i, s.state, true
		}
	}
	return 0, 0, false
}

// parseOVS reads one line of dpctl/dump-conntrack -m -s (ct_dpif_format_entry). Keys
// that it does not know are passed over; a tuple, a zone or a number that cannot be
// read makes the line malformed.
func parseOVS(line string, c *track.Conn) error {
	*c = track.Conn{NoStatus: true}
	word, _, rest, ok := nextField(line)
	proto, known := ovsProto(word)
	if !ok || !known {
		return errOVSText
	}
	tuples := 0
	for rest != "" {
		var key, val string
		if key, val, rest, ok = nextField(rest); !ok {
			return errOVSText
		}
		var err error
		var n uint64
		switch key {
		case "orig", "reply":
			t := &c.Orig
			if key == "reply" {
				t = &c.Reply
			}
			t.Proto = proto
			ok = ovsTuple(val, t)
			tuples++
		case "zone":
			n, err = strconv.ParseUint(val, 10, 16)
			c.Zone = uint16(n)
		case "mark":
			n, err = strconv.ParseUint(val, 0, 32)
			c.Mark = uint32(n)
		case "timeout":
			n, err = strconv.ParseUint(val, 10, 32)
			c.Timeout, c.HasTimeout = uint32(n), true
		case "labels":
			ok = ovsLabels(val, &c.Labels)
		case "protoinfo":
			ok = ovsProtoInfo(val, c)
		}
		if err != nil || !ok {
			return errOVSText
		}
	}
	if tuples != 2 {
		return errOVSText
	}
	return nil
}

func ovsTuple(s string, t *flow.Tuple) bool {
	var icmpType, icmpCode, id uint64
	icmp := false
	for s != "" {
		var key, val string
		var ok bool
		if key, val, s, ok = nextField(s); !ok {
			return false
		}
		var err error
		var n uint64
		switch key {
		case "src", "dst":
			var a netip.Addr
			if a, err = netip.ParseAddr(val); err == nil && key == "src" {
				t.Src = flow.Addr16(a)
			} else if err == nil {
				t.Dst = flow.Addr16(a)
			}
		case "sport":
			n, err = strconv.ParseUint(val, 10, 16)
			t.SrcPort = uint16(n)
		case "dport":
			n, err = strconv.ParseUint(val, 10, 16)
			t.DstPort = uint16(n)
		case "id":
			id, err = strconv.ParseUint(val, 10, 16)
			icmp = true
		case "type":
			icmpType, err = strconv.ParseUint(val, 10, 8)
		case "code":
			icmpCode, err = strconv.ParseUint(val, 10, 8)
		}
		if err != nil {
			return false
		}
	}
	if icmp {
		t.SrcPort, t.DstPort = uint16(id), uint16(icmpType<<8|icmpCode)
	}
	return t.Src != [16]byte{} && t.Dst != [16]byte{}
}

// ovsLabels reads a 128-bit number, highest digit first; Labels has its lowest byte first.
func ovsLabels(s string, to *[16]byte) bool {
	s = strings.TrimPrefix(s, "0x")
	if len(s) > 32 {
		return false
	}
	raw, err := hex.DecodeString(strings.Repeat("0", 32-len(s)) + s)
	if err != nil {
		return false
	}
	for i := range raw {
		to[i] = raw[15-i]
	}
	return true
}

// ovsProtoInfo reads the TCP state: one, or with -m one a direction, of which the
// later counts. A state of the server's side proves that it answered.
func ovsProtoInfo(s string, c *track.Conn) bool {
	latest := -1
	var both [2]uint8
	for s != "" {
		var key, val string
		var ok bool
		if key, val, s, ok = nextField(s); !ok {
			return false
		}
		i, dir := 0, 0
		var state uint8
		switch key {
		case "state", "state_orig":
		case "state_reply":
			dir = 1
		default:
			continue
		}
		if i, state, ok = ovsState(val); !ok {
			return false
		}
		both[dir] = state
		if i > latest {
			latest, c.TCPState, c.HasTCP = i, state, true
		}
	}
	if both[1] != track.TCPNone {
		c.Status |= track.StatusSeenReply
		if both[0] >= track.TCPEstablished && both[1] >= track.TCPEstablished {
			c.Status |= track.StatusAssured
		}
	}
	c.NoStatus = !c.HasTCP
	return true
}
