package packet

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	addrs4 = "0a010002 0a020002"
	addrs6 = "fd010000000000000000000000000002 fd020000000000000000000000000002"
	udp    = "c3500035 000c 0000 01020304"
	tcp    = "c3500035 0000000a 00000000 5002 0000 0000 0000"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     string // source port, destination port, protocol, flags
		bad      bool
	}{
		{"v4 UDP", "45000020 00000000 40110000" + addrs4 + udp, "50000 53 17 ports", false},
		{"v4 TCP with an option in the IP header", "4600002c 00000000 40060000" + addrs4 + "01010101" + tcp, "50000 53 6 ports", false},
		{"v4 first fragment", "45000020 00002000 40110000" + addrs4 + udp, "50000 53 17 ports more", false},
		{"v4 later fragment", "45000020 00000010 40110000" + addrs4 + udp, "0 0 17 fragment", false},
		{"v4 cut in the ports", "45000020 00000000 40110000" + addrs4 + "c350", "0 0 17 cut", false},
		{"v4 echo", "45000020 00000000 40010000" + addrs4 + "08000000 1234 0001 00000000", "4660 2048 1 ports", false},
		{"v4 other protocol", "45000020 00000000 402f0000" + addrs4 + udp, "0 0 47", false},
		{"v4 padding behind the packet", "45000020 00000000 40110000" + addrs4 + udp + "0000", "50000 53 17 ports", false},
		{"v4 short", "45000020 00000000 40110000 0a010002", "", true},
		{"v4 header length below 20", "44000020 00000000 40110000" + addrs4 + udp, "", true},
		{"v4 header length beyond the bytes", "4f000020 00000000 40110000" + addrs4, "", true},
		{"v4 total length below its header", "45000010 00000000 40110000" + addrs4 + udp, "", true},
		{"v6 UDP", "60000000 000c 1140" + addrs6 + udp, "50000 53 17 ports", false},
		{"v6 with two extensions", "60000000 001c 0040" + addrs6 + "3c00000000000000 1100000000000000" + udp, "50000 53 17 ports", false},
		{"v6 first fragment", "60000000 0014 2c40" + addrs6 + "1100000100000001" + udp, "50000 53 17 ports more", false},
		{"v6 later fragment", "60000000 0014 2c40" + addrs6 + "1100001000000001" + udp, "0 0 17 fragment", false},
		{"v6 atomic fragment", "60000000 0014 2c40" + addrs6 + "1100000000000001" + udp, "50000 53 17 ports", false},
		{"v6 extension beyond the bytes", "60000000 000c 0040" + addrs6 + "11ff000000000000", "", true},
		{"v6 endless extensions", "60000000 0060 0040" + addrs6 + strings.Repeat("0000000000000000", 12), "", true},
		{"v6 short", "60000000 000c 1140 fd01", "", true},
		{"nothing", "", "", true},
		{"another version", "75000020", "", true},
	} {
		h, err := Parse(bytesOf(t, c.in))
		if c.bad {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: error %v, want malformed", c.name, err)
			}
			continue
		}
		if got := text(&h); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func text(h *Header) string {
	s := []string{num(h.Tuple.SrcPort), num(h.Tuple.DstPort), num(uint16(h.Tuple.Proto))}
	for _, f := range []struct {
		on   bool
		word string
	}{{h.Ports, "ports"}, {h.Fragment, "fragment"}, {h.More, "more"}, {h.Cut, "cut"}} {
		if f.on {
			s = append(s, f.word)
		}
	}
	return strings.Join(s, " ")
}

func num(n uint16) string {
	if n == 0 {
		return "0"
	}
	var s string
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}

func TestPayload(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		whole          bool
	}{
		{"whole", "45000020 00000000 40110000" + addrs4 + udp, "01020304", true},
		{"cut", "45000020 00000000 40110000" + addrs4 + udp[:len(udp)-2], "010203", false},
		{"first of several", "45000020 00002000 40110000" + addrs4 + udp, "01020304", false},
		{"UDP length below 8", "45000020 00000000 40110000" + addrs4 + strings.Replace(udp, "000c", "0007", 1), "01020304", false},
		{"UDP length below the packet's", "45000020 00000000 40110000" + addrs4 + strings.Replace(udp, "000c", "000a", 1), "0102", true},
		{"TCP", "45000028 00000000 40060000" + addrs4 + tcp, "", false},
	} {
		h, err := Parse(bytesOf(t, c.in))
		b, whole := h.Payload()
		if err != nil || hex.EncodeToString(b) != c.want || whole != c.whole {
			t.Errorf("%s: %x, %v, %v", c.name, b, whole, err)
		}
	}
}

func TestSegment(t *testing.T) {
	h, _ := Parse(bytesOf(t, "4500002b 00000000 40060000"+addrs4+tcp+"aabbcc"))
	s, ok := h.Segment()
	if !ok || s.Seq != 10 || !s.SYN || s.FIN || s.RST || hex.EncodeToString(s.Data) != "aabbcc" || !s.Whole {
		t.Errorf("%+v, %v", s, ok)
	}
	h, _ = Parse(bytesOf(t, "4500002b 00000000 40060000"+addrs4+tcp+"aa"))
	if s, ok := h.Segment(); !ok || s.Whole {
		t.Errorf("cut: %+v, %v", s, ok)
	}
	for _, offset := range []string{"4002", "f002"} {
		h, _ = Parse(bytesOf(t, "45000028 00000000 40060000"+addrs4+strings.Replace(tcp, "5002", offset, 1)))
		if s, ok := h.Segment(); ok {
			t.Errorf("data offset %s: %+v", offset, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(bytesOf(f, "45000020 00000000 40110000"+addrs4+udp))
	f.Add(bytesOf(f, "60000000 001c 0040"+addrs6+"3c00000000000000 1100000000000000"+udp))
	f.Add(bytesOf(f, "4500002b 00000000 40060000"+addrs4+tcp+"aabbcc"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := Parse(in)
		if err != nil {
			return
		}
		if len(h.Transport) > len(in) || h.Fragment && h.Ports {
			t.Errorf("%+v", h)
		}
		h.Payload()
		h.Segment()
	})
}
