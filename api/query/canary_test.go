package query

import "testing"

// TestWithoutCanaries: what is left out stands in the query, and who names the field
// decides alone.
func TestWithoutCanaries(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "not canary = true"},
		{"checkout", "checkout not canary = true"},
		{"outcome = ok or ns = shop", "(outcome = ok or ns = shop) not canary = true"},
		{"ns = shop | stats conns by src.pod | top 3", "ns = shop not canary = true | stats conns by src.pod | top 3"},
		{"canary = true", ""},
		{"ns = shop (outcome = ok or not has canary)", ""},
		{"| stats conns by canary", ""},
		{"| stats uniq(canary)", ""},
		{"| fields src.pod, canary", ""},
		{"| sort canary", ""},
	} {
		q, err := Parse(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.in, err)
		}
		before := Format(q)
		out, ok := WithoutCanaries(q)
		if ok != (c.want != "") {
			t.Errorf("%s: %v", c.in, ok)
			continue
		}
		if !ok {
			c.want = before
		}
		want, err := Parse(c.want)
		if err != nil {
			t.Fatalf("%s: %v", c.want, err)
		}
		if Format(out) != Format(want) || Format(q) != before {
			t.Errorf("%s became %s (was %s)", c.in, Format(out), Format(q))
		}
		if again, ok := WithoutCanaries(out); ok || Format(again) != Format(out) {
			t.Errorf("%s became %s at the second time", c.in, Format(again))
		}
	}
}
