package query

import (
	"strings"
	"testing"
)

// seen gives fixed values and notes what it was asked.
type seen struct {
	values []string
	asked  string
}

func (s *seen) Values(f Field, prefix string, where Expr, _ int) []string {
	s.asked = f.Name + "^" + prefix
	if where != nil {
		s.asked += " where " + FormatExpr(where)
	}
	return s.values
}

func TestComplete(t *testing.T) {
	for _, c := range []struct{ text, want, asked string }{ // | in text is the cursor, where there is one
		{"outc", "outcome", ""},
		{"src.n", "src.ns src.node src.node_uid src.name src.name_via src.net", ""},
		{"outcome ", "= != =~ !~ in not in", ""},
		{"bytes ", "= != < <= > >= in not in", ""},
		{"outcome = re", "refused reset", ""},
		{"outcome in (ok, ti", "timed_out", ""},
		{"outcome not in (", "unknown ok refused reset timed_out unanswered denied path_loss attempt", ""},
		{"verdict = ", "allowed denied", ""},
		{"final != ", "true false", ""},
		{"proto = t", "tcp", ""},
		{"bytes > 10", "10B 10kB 10MB 10GB 10TB 10KiB 10MiB 10GiB 10TiB", ""},
		{"src.ns = sh", `shop "sh op"`, "src.ns^sh"},
		{"outcome = refused ns = sh", `shop "sh op"`, "ns^sh where outcome = refused"},
		{"outcome = refused and not port = 53 and src.ns in (bank, sh", `shop "sh op"`, "src.ns^sh where outcome = refused not dst.port = 53"},
		{"outcome = refused or ns = sh", `shop "sh op"`, "ns^sh"},
		{`src.ns = "sh o`, `"sh op"`, "src.ns^sh o"},
		{"shop ha", "half handed_over has", ""},
		{"| st", "stats", ""},
		{"shop | stats co", "conns", ""},
		{"shop | stats conns ", "by every |", ""},
		{"shop | stats p95(rt", "rtt rtt_min", ""},
		{"shop | stats conns by src.no", "src.node src.node_uid", ""},
		{"shop | stats conns by src.ns every ", "10s 1m 5m 1h 1d", ""},
		{"shop | stats conns, sum(bytes) by src.ns | sort ", "src.ns conns sum(bytes)", ""},
		{"shop | stats conns, sum(bytes) by src.ns | top 10 by s", "sum(bytes)", ""},
		{"zzz = ", "", ""},
	} {
		s := &seen{values: []string{"shop", "sh op"}}
		got := Complete(c.text, len(c.text), s)
		var texts []string
		for _, x := range got.Suggestions {
			texts = append(texts, x.Text)
		}
		if strings.Join(texts, " ") != c.want || s.asked != c.asked {
			t.Errorf("%s\n got %s asked %q\nwant %s asked %q", c.text, strings.Join(texts, " "), s.asked, c.want, c.asked)
		}
	}
	if c := Complete("outc = ok", 4, nil); c.From != 0 || len(c.Suggestions) != 1 {
		t.Errorf("in the middle: %+v", c)
	}
}
