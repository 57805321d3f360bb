package flow_test

import (
	"path/filepath"
	"testing"
)

const newRowIPFIXTest = `package ipfix_test

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/ipfix"
)

type keep struct{ recs []flow.Record }

func (k *keep) Record(r *flow.Record)   { k.recs = append(k.recs, *r) }
func (k *keep) Ledger(*ipfix.LedgerRow) {}

func TestNewRow(t *testing.T) {
	var r flow.Record
	r.SetProto(6)
	r.SetTestFlavour(31)
	set := ipfix.WeirAggregated()
	e := ipfix.NewEncoder(1, ipfix.EncoderOptions{})
	tmpl := set.For(&r)
	if !e.AddTemplate(tmpl) || !e.Append(tmpl, &r) {
		t.Fatal("does not fit")
	}
	var k keep
	if err := ipfix.NewSession(ipfix.SessionOptions{}).Decode(0, e.Take(0), &k); err != nil {
		t.Fatal(err)
	}
	if len(k.recs) != 1 || k.recs[0] != r {
		t.Fatalf("back: %s", flow.AppendJSON(nil, &k.recs[0]))
	}
}
`

// newRowIPFIX wants the new row in the template and back, in the copy at dir.
func newRowIPFIX(t *testing.T, dir string) {
	t.Helper()
	writeFile(t, filepath.Join(dir, "api/ipfix/newrow_test.go"), newRowIPFIXTest)
	run(t, dir, "go", "test", "-count=1", "-run", "TestNewRow", "./api/ipfix")
}
