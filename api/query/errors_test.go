package query

import (
	"strings"
	"testing"
)

// TestErrors: the error names the column, what was expected and the nearest name.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"outcom = ok", `column 1: "outcom" is no field: did you mean outcome?`},
		{"shop outcome = refuse", `column 16: "refuse" is unknown: did you mean refused?`},
		{"outcome = purple", `column 11: "purple" is unknown: use one of unknown, ok, refused, reset`},
		{"outcome", "column 1: outcome is a field: write outcome = ..., has outcome, or \"outcome\" in quotes for a name"},
		{"ns = ", "column 6: the end is unexpected: expected a value for ns"},
		{"(a or b", "column 8: the end is unexpected: expected ) for the ( of column 1"},
		{"a or", "column 5: the end is unexpected: expected a field, a name, not, has or ("},
		{"a )", `column 3: ")" is unexpected: expected and, or, | or the end`},
		{"a == b", `column 3: "==" is no operator: write =`},
		{"a && b", `column 3: "&&" is no operator: write and`},
		{"a || b", `column 3: "||" is no operator: write or`},
		{"ns in shop", `column 7: "shop" is unexpected: expected ( and a list, as in (a, b)`},
		{"ns in (shop bank)", `column 13: "bank" is unexpected: expected , or )`},
		{"ns < shop", "column 1: ns has no order: use = != =~ or in"},
		{"bytes =~ 1", "column 1: bytes is no text: use = != < <= > >= or in"},
		{"bytes > 1MIB", `column 9: "MIB" is no unit of this field: did you mean MiB?`},
		{"bytes > 1 MiB", ""},
		{"rtt > 20", ""},
		{"rtt > 20min", `column 7: "min" is no unit of this field: use ns, us, ms, s, m`},
		{"port = 70000", `column 8: dst.port goes to 65535 and "70000" is above that`},
		{"port = http", `column 8: "http" is no number`},
		{"port = 80*", "column 8: dst.port is no text and takes no *"},
		{"ip = 10.0.*", "column 6: ip is no text and takes no *: write a network as 10.0.0.0/16"},
		{"ip = 10.0.0.256", `column 6: "10.0.0.256" is neither an address nor a CIDR`},
		{"10.0.0.1", `column 1: "10.0.0.1" is an address: write ip = 10.0.0.1`},
		{"10.0.0.0/8", `column 1: "10.0.0.0/8" is a network: write ip = 10.0.0.0/8`},
		{"first = yes", `column 9: "yes" is neither true nor false`},
		{"start > yesterday", `column 9: "yesterday" is no time`},
		{"conn_id = 12", `column 11: "12" is no identifier: write its 16 hexadecimal digits`},
		{"policy =~ \"pci-(\"", "column 11: no regular expression (RE2): missing closing ): "},
		{"bytes_delta > 1", `column 1: "bytes_delta" is no field: did you mean bytes?`},
		{"a 'b'", "column 3: a single quote: write text in double quotes"},
		{`a "b`, "column 3: the quote is never closed"},
		{`é "b`, "column 3: the quote is never closed"},
		{`a "\q"`, "column 3: an escape within the quotes is not known"},
		{"a !b", `column 3: "!" is no operator`},
		{"a | stat conns", `column 5: "stat" is no stage: the stages are stats, top, sort, limit, fields: did you mean stats?`},
		{"| stats conns by ns", "column 18: ns is two fields: src.ns or dst.ns?"},
		{"| stats conns by label.app", "column 18: label.app is two fields: src.label.app or dst.label.app?"},
		{"| stats conns by policy", "column 18: policy is two fields: ingress.policy or egress.policy?"},
		{"| stats conns by verdict", "column 18: verdict is two fields: ingress.action or egress.action?"},
		{"| stats count", `column 9: "count" is no aggregate`},
		{"| stats sum(port)", "column 13: dst.port is no quantity: sum needs a number with a unit"},
		{"| stats sum bytes", `column 13: "bytes" is unexpected: expected ( and a field`},
		{"| stats conns, conns", "column 16: conns is there already"},
		{"| stats conns every 5", `column 21: "5" is no duration: write it like 10s, 1m or 1h`},
		{"| top 5", "column 3: top needs groups"},
		{"| stats conns | top 0", `column 21: "0" is no number of rows: give 1 to 1000000`},
		{"| stats conns by src.ns | top 3 by src.ns", "column 36: src.ns is no aggregate"},
		{"| stats conns by src.ns | sort cons", `column 32: "cons" is no column: the columns are src.ns, conns: did you mean conns?`},
		{"| stats conns | fields src.ns", "column 17: fields is for lists of connections"},
		{"| limit 3 | stats conns", "column 13: stats must be the first stage"},
		{"| sort label.x", "column 8: label.x is two fields"},
	} {
		_, err := Parse(c.text)
		switch {
		case c.want == "":
			if err != nil && c.text != "bytes > 1 MiB" {
				t.Errorf("%s: %v", c.text, err)
			}
		case err == nil:
			t.Errorf("%s: no error, want %s", c.text, c.want)
		case !strings.HasPrefix(err.Error(), c.want):
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
	if _, err := ParseExpr("a b | stats conns"); err == nil || !strings.HasPrefix(err.Error(), "column 5: a filter of single records has no stages") {
		t.Errorf("a filter with stages: %v", err)
	}
}

// TestHostile: texts made to cost much are refused before they do.
func TestHostile(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"long", strings.Repeat("a ", MaxText), "the longest allowed has 8192"},
		{"deep", strings.Repeat("(", 500) + "a" + strings.Repeat(")", 500), "more than 64 parentheses"},
		{"nots", strings.Repeat("not ", 500) + "a", "more than 64 parentheses"},
		{"list", "ns in (" + strings.Repeat("a,", 1100) + "a)", "more than 1024 values"},
		{"regex", `ns =~ "(x{900}){900}"`, "no regular expression"},
		{"nested", `ns =~ "((x{9}){9}){9}" or pod =~ "((x{9}){9}){9}" or pod =~ "(((\\pL{5}){5}){5}){5}"`, "regular expressions of the query are too large"},
		{"regexes", strings.Repeat(`ns =~ "[a-z]{500}" `, 50), "regular expressions of the query are too large"},
		{"long regex", `ns =~ "` + strings.Repeat("a", 2000) + `"`, "the longest allowed has 1024"},
		{"stages", strings.Repeat("| limit 1 ", 20), "more than 8 stages"},
		{"exponent", "bytes > 1e999999999", "is no unit"},
		{"digits", "bytes > " + strings.Repeat("9", 5000), "is no number"},
		{"aggregates", "| stats " + strings.Repeat("sum(bytes), ", 30) + "conns", "is there already"},
	} {
		_, err := Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
}

// FuzzParse: no text crashes the parser; what it takes can be written and read again,
// compiled, and completed.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"checkout outcome != ok", `verdict = denied policy =~ "pci-.*" | stats conns by src.workload, port | sort conns desc`,
		"dst.scope = external not dst.ip in (100.64.0.0/10) | stats sum(bytes), p95(rtt) by dst.name every 1m | top 20 by sum(bytes)",
		`"a\n" or (b* not c) has label.app/x | sort bytes desc | limit 5 | fields src.pod`, "rtt >= 1.5ms start < 2025-01-01T00:00:00Z",
	} {
		f.Add(s, len(s))
	}
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		Complete(text, cursor, nil)
		q, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := Predicate(q.Expr); err != nil {
			t.Fatalf("%q parses and does not compile: %v", text, err)
		}
		canonical := Format(q)
		again, err := Parse(canonical)
		if len(canonical) > MaxText {
			return
		}
		if err != nil || Format(again) != canonical {
			t.Fatalf("%q -> %q -> %v, %v", text, canonical, again, err)
		}
	})
}

// TestUniqError: distinct values are counted exactly, or within four standard errors.
func TestUniqError(t *testing.T) {
	for _, n := range []int{10, 1024, 1025, 5000, 100_000} {
		var whole Distinct
		parts := make([]Distinct, 3)
		for i := range n {
			v := []byte{byte(i), byte(i >> 8), byte(i >> 16)}
			whole.Add(v)
			whole.Add(v)
			parts[i%3].Add(v)
			parts[(i+1)%3].Add(v)
		}
		var merged Distinct
		for i := range parts {
			merged.Merge(&parts[i])
		}
		got, exact := whole.Count()
		if m, _ := merged.Count(); m != got {
			t.Errorf("%d values: merged %d, whole %d", n, m, got)
		}
		off := float64(got)/float64(n) - 1
		if exact != (n <= UniqExact) || exact && off != 0 || off > 4*UniqError || off < -4*UniqError {
			t.Errorf("%d values: counted %d (exact %v)", n, got, exact)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("dst.scope = external not dst.ip in (100.64.0.0/10) | stats sum(bytes) by src.workload, dst.name | top 20"); err != nil {
			b.Fatal(err)
		}
	}
}
