package query

import (
	"os"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// TestDocs runs the examples of docs/query.md: queries are taken and errors are as said.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/query.md")
	if err != nil {
		t.Fatal(err)
	}
	block, queries, errors := "", 0, 0
	for n, line := range strings.Split(string(b), "\n") {
		if lang, ok := strings.CutPrefix(line, "```"); ok {
			block = lang
			continue
		}
		switch block {
		case "weir":
			queries++
			q, err := Parse(line)
			if err != nil {
				t.Errorf("docs/query.md:%d: %s: %v", n+1, line, err)
				continue
			}
			if again, err := Parse(Format(q)); err != nil || Format(again) != Format(q) {
				t.Errorf("docs/query.md:%d: %s is formatted to %s", n+1, line, Format(q))
			}
		case "weir-error":
			errors++
			text, want, _ := strings.Cut(line, " => ")
			if _, err := Parse(text); err == nil || err.Error() != want {
				t.Errorf("docs/query.md:%d: %s: %v, want %s", n+1, text, err, want)
			}
		}
		if filter, ok := strings.CutPrefix(strings.TrimSpace(line), `filter: "`); ok && block == "yaml" {
			if _, err := ParseExpr(strings.TrimSuffix(filter, `"`)); err != nil {
				t.Errorf("docs/query.md:%d: %v", n+1, err)
			}
		}
	}
	for _, list := range [][]flow.Alias{flow.Aliases, flow.PrefixAliases, flow.EndAliases} {
		for _, a := range list {
			if a.Alias != "src.scope" && !strings.Contains(string(b), "`"+a.Alias+"`") {
				t.Errorf("docs/query.md does not name %s, another name of %s", a.Alias, a.Name)
			}
		}
	}
	if queries < 10 || errors < 3 {
		t.Errorf("%d queries and %d errors were found in docs/query.md", queries, errors)
	}
}

// TestEveryUnitIsKnown: a number with a unit is a quantity that queries can sum; a new unit
// of the table must be one of those, or be named here as none.
func TestEveryUnitIsKnown(t *testing.T) {
	none := map[string]bool{"": true, "bit set": true, "JSON": true, "type*256+code": true, "IPS_* bits": true, "0 ingress, 1 egress, 255 unknown": true}
	for _, f := range Names() {
		field, _ := FieldByName(f)
		if field.Kind() == KindTime || len(field.IDs) == 0 {
			continue
		}
		if u := flow.Fields[field.IDs[0]].Unit; units[u] == nil && !none[u] {
			t.Errorf("%s: the unit %q is not known: give it a row in units", f, u)
		}
	}
}
