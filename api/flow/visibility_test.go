package flow_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/flow/flowtest"
)

// TestEveryFieldIsExposed: whoever adds a field says who may read it.
func TestEveryFieldIsExposed(t *testing.T) {
	for f := range flow.FieldID(flow.NumFields) {
		if flow.Exposures[f] == 0 {
			t.Errorf("%s has no row in Exposures (api/flow/visibility.go): ExposeAlways if it tells of the connection, ExposeSource or ExposeTarget if it tells who an end is", flow.Fields[f].Name)
		}
	}
}

// TestNamesOfEndsAreHidden holds the table against the names of the fields: what is said
// of one end only is hidden with it, but for what is listed here with its reason.
func TestNamesOfEndsAreHidden(t *testing.T) {
	said := map[string]bool{"src.ns": true, "dst.ns": true, "src.kind": true, "dst.kind": true, "dst.port": true} // the issue's own: namespace and Service
	for i, f := range flow.Fields {
		if f.Type != flow.TypeString && f.Type != flow.TypeAddr && f.Type != flow.TypeUUID || said[f.Name] {
			continue
		}
		e := flow.Exposures[i]
		switch {
		case strings.HasPrefix(f.Name, "src.") && e != flow.ExposeSource, strings.HasPrefix(f.Name, "egress.") && e != flow.ExposeSource:
			t.Errorf("%s tells of the client and is exposed as %d", f.Name, e)
		case strings.HasPrefix(f.Name, "dst.") && e != flow.ExposeTarget, strings.HasPrefix(f.Name, "ingress.") && e != flow.ExposeTarget:
			t.Errorf("%s tells of the server and is exposed as %d", f.Name, e)
		case f.Type != flow.TypeString && e == flow.ExposeAlways:
			t.Errorf("%s is an address or a UID and is always exposed", f.Name)
		}
	}
}

// TestMask: what is hidden leaves no trace: records that differ in it alone are equal
// after Mask.
func TestMask(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	s := flow.Confine([]string{"shop", "data"})
	for n := range 2000 {
		a := flowtest.Random(rnd)
		names := []string{"shop", "data", "bank", ""}
		a.SetSrcNS(names[n%4])
		a.SetDstNS(names[n/4%4])
		b := a
		other := flowtest.Random(rnd)
		foreignSrc, foreignDst := n%4 >= 2, n/4%4 >= 2
		for f := range flow.FieldID(flow.NumFields) {
			e := flow.Exposures[f]
			if e == flow.ExposeNever || e == flow.ExposeSource && foreignSrc || e == flow.ExposeTarget && foreignDst || e == flow.ExposeBoth && (foreignSrc || foreignDst) {
				b.Copy(f, &other)
			}
		}
		if foreignDst && a.Has.Has(flow.FSvcPort) {
			b.SetDstPort(other.DstPort)
		}
		if s.Sees(&a) == (foreignSrc && foreignDst) {
			t.Fatalf("%s -> %s: seen %v", a.SrcNS, a.DstNS, s.Sees(&a))
		}
		s.Mask(&a)
		s.Mask(&b)
		if a != b {
			t.Fatalf("%d: %s", n, cmp.Diff(string(flow.AppendJSON(nil, &a)), string(flow.AppendJSON(nil, &b))))
		}
		if foreignSrc && foreignDst && a != (flow.Record{}) {
			t.Fatalf("something is left of a record of others: %s", flow.AppendJSON(nil, &a))
		}
	}
	var none *flow.Visibility
	a := flowtest.Random(rnd)
	b := a
	if none.Mask(&a); a != b || !none.Sees(&a) {
		t.Error("no scope hides something")
	}
}
