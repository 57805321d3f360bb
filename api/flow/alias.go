package flow

import "strconv"

// Alias is another name of a field, or of the first or last part of fields' names.
type Alias struct{ Alias, Name string }

// Aliases are the names that people use and the table does not: whole names, the
// first parts of names (ending in a dot), and the last parts of end fields.
var (
	Aliases       = []Alias{{"port", "dst.port"}, {"protocol", "proto"}, {"reason", "end_reason"}, {"state", "tcp_state"}, {"loss", "loss.packets"}, {"src.scope", "src.kind"}, {"dst.scope", "dst.kind"}}
	PrefixAliases = []Alias{{"client.", "src."}, {"source.", "src."}, {"from.", "src."}, {"server.", "dst."}, {"destination.", "dst."}, {"to.", "dst."}}
	EndAliases    = []Alias{{"namespace", "ns"}, {"address", "ip"}}
)

// Protocols are the words of the field proto (IANA protocol numbers).
var Protocols = []struct {
	Word   string
	Number uint8
}{{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"icmpv6", 58}, {"sctp", 132}, {"udplite", 136}, {"dccp", 33}, {"gre", 47}, {"esp", 50}}

// ProtocolName gives the word of an IP protocol number, or the number.
func ProtocolName(n uint8) string {
	for _, p := range Protocols {
		if p.Number == n {
			return p.Word
		}
	}
	return strconv.Itoa(int(n))
}
