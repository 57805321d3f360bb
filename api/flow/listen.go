package flow

import (
	"fmt"
	"strconv"
	"strings"
)

// ListenPort is a port at which somebody listens.
type ListenPort struct {
	Port  uint16
	Proto uint8 // 6 TCP, 17 UDP
}

// MaxListens is how many ports of its protocol a dst.listens names.
const MaxListens = 8

// FormatListens gives the text of dst.listens for a connection of proto: the ports of
// the list in its order, without the word of their protocol where it is proto; of
// those only the first MaxListens, and how many more there are.
//
//	8080, 9090, +3, 53/udp
func FormatListens(proto uint8, list []ListenPort) string {
	var b []byte
	add := func() {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
	}
	n := 0
	for _, p := range list {
		if p.Proto != proto {
			continue
		}
		if n++; n <= MaxListens {
			add()
			b = strconv.AppendUint(b, uint64(p.Port), 10)
		}
	}
	if n > MaxListens {
		add()
		b = strconv.AppendInt(append(b, '+'), int64(n-MaxListens), 10)
	}
	for _, p := range list {
		if w := protoWord(p.Proto); p.Proto != proto && w != "" {
			add()
			b = append(strconv.AppendUint(b, uint64(p.Port), 10), '/')
			b = append(b, w...)
		}
	}
	return string(b)
}

// ParseListens reads a text of FormatListens; more is how many ports it left out.
func ParseListens(proto uint8, s string) (list []ListenPort, more int, err error) {
	if s == "" {
		return nil, 0, nil
	}
	for item := range strings.SplitSeq(s, ", ") {
		if rest, ok := strings.CutPrefix(item, "+"); ok {
			n, err := strconv.ParseUint(rest, 10, 31)
			if err != nil {
				return nil, 0, fmt.Errorf("dst.listens %q: %q is no number of ports", s, item)
			}
			more += int(n)
			continue
		}
		p := ListenPort{Proto: proto}
		number, word, named := strings.Cut(item, "/")
		if named {
			switch word {
			case "tcp":
				p.Proto = 6
			case "udp":
				p.Proto = 17
			default:
				return nil, 0, fmt.Errorf("dst.listens %q: %q is no protocol: tcp or udp", s, word)
			}
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, 0, fmt.Errorf("dst.listens %q: %q is no port", s, number)
		}
		p.Port = uint16(n)
		list = append(list, p)
	}
	return list, more, nil
}

func protoWord(p uint8) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	}
	return ""
}

// ListenText says what dst.listen means for a connection that failed, in words; ""
// where it is absent, or explains nothing: somebody listens.
//
//	nobody listens (listens: 8080)
func (r *Record) ListenText() string {
	if !r.Has.Has(FDstListen) {
		return ""
	}
	text := ""
	switch r.DstListen {
	case ListenNone:
		text = "nobody listens"
	case ListenLoopback:
		text = "listens on loopback only"
	case ListenOther:
		text = "listens on another address only"
	case ListenFull:
		text = "backlog full"
		if r.Has.Has(FDstBacklog) && r.Has.Has(FDstBacklogMax) {
			text += fmt.Sprintf(" (%d wait, %d may)", r.DstBacklog, r.DstBacklogMax)
		}
	default:
		return ""
	}
	if r.DstListens != "" {
		text += " (listens: " + r.DstListens + ")"
	}
	return text
}
