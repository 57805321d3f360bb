package elastic

import (
	"bytes"
	"hash/fnv"

	"github.com/klauspost/compress/gzip"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/sinks/elastic/mapping"
	"github.com/weirnet/weir/sinks/spool"
)

// document is one line of a request, as the encoder has it.
type document struct {
	id     flow.UUID
	conn   uint64 // for people
	index  string // where it is not the data stream
	amount ledger.Amount
	body   []byte // without braces; good until the next one
}

// encoder writes documents into the body of a _bulk request. Its buffers are used again;
// it is not safe for concurrent use.
type encoder struct {
	form  *flow.JSONForm
	elk   string // what stands before the day in the names of indices; empty for a data stream
	one   []byte // the document at hand
	text  []byte // the request
	docs  []sentDoc
	gz    *gzip.Writer
	ready bytes.Buffer // compressed
	named flow.Record  // writes ids
}

// sentDoc is what has to be known of a document when its answer comes.
type sentDoc struct {
	id     flow.UUID
	conn   uint64
	amount ledger.Amount
}

// idLen is the length of an id as text.
const idLen = 36

func newEncoder(cfg *Config) *encoder {
	gz, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // of a level that is there
	}
	e := &encoder{form: flow.NewSearchJSON(mapping.Name), gz: gz}
	if cfg.Format == FormatELK {
		e.elk = cfg.Index + "-"
	}
	return e
}

// record makes the document of a record.
func (e *encoder) record(r *flow.Record) document {
	d := document{id: r.ID, conn: r.ConnID, amount: spool.AmountOf(r)}
	if e.elk != "" {
		e.one = appendELK(e.one[:0], r)
		d.index = e.elk + elkDay(r.End)
	} else {
		e.one = e.form.AppendMembers(e.one[:0], r)
		e.one = appendDerived(e.one, r)
	}
	if !r.Has.Has(flow.FID) { // of a foreign exporter: what it says tells it apart
		h := fnv.New128a()
		_, _ = h.Write(e.one)
		d.id = flow.UUID(h.Sum(nil))
	}
	d.body = e.one
	return d
}

// appendDerived adds what a search engine should not have to work out.
func appendDerived(b []byte, r *flow.Record) []byte {
	if r.Has.Has(flow.FFirst) && r.First {
		b = append(b, `,"`+mapping.Connections+`":1`...)
	}
	return appendVerdict(b, r)
}

// appendVerdict adds allowed or denied, as the query language means them.
func appendVerdict(b []byte, r *flow.Record) []byte {
	switch {
	case denied(r):
		b = append(b, `,"`+mapping.Verdict+`":"denied"`...)
	case r.Has.Has(flow.FIngressAction) && r.IngressAction == flow.RuleActionAllow, r.Has.Has(flow.FEgressAction) && r.EgressAction == flow.RuleActionAllow:
		b = append(b, `,"`+mapping.Verdict+`":"allowed"`...)
	}
	return b
}

// denied is what the query language calls so.
func denied(r *flow.Record) bool {
	stops := func(a flow.RuleAction) bool { return a == flow.RuleActionDrop || a == flow.RuleActionReject }
	return r.Has.Has(flow.FOutcome) && r.Outcome == flow.OutcomeDenied ||
		r.Has.Has(flow.FIngressAction) && stops(r.IngressAction) || r.Has.Has(flow.FEgressAction) && stops(r.EgressAction)
}

// fill makes a request of the documents of the first indices, at least one and as many as
// limit bytes hold. It gives how many.
func (e *encoder) fill(indices []int, limit int, doc func(i int) document) int {
	e.text, e.docs = e.text[:0], e.docs[:0]
	for _, i := range indices {
		d := doc(i)
		if len(e.text) > 0 && len(e.text)+len(d.body)+idLen+len(d.index)+48 > limit {
			break
		}
		e.text = append(e.text, `{"create":{"_id":"`...)
		e.text = e.appendID(e.text, d.id)
		if d.index != "" {
			e.text = append(e.text, `","_index":"`...)
			e.text = append(e.text, d.index...)
		}
		e.text = append(e.text, "\"}}\n{"...)
		e.text = append(e.text, d.body...)
		e.text = append(e.text, "}\n"...)
		e.docs = append(e.docs, sentDoc{d.id, d.conn, d.amount})
	}
	return len(e.docs)
}

// size is how many bytes the request has before it is compressed.
func (e *encoder) size() int { return len(e.text) }

// compress gives the request as gzip, good until the next one.
func (e *encoder) compress() ([]byte, error) {
	e.ready.Reset()
	e.gz.Reset(&e.ready)
	if _, err := e.gz.Write(e.text); err != nil {
		return nil, err
	}
	if err := e.gz.Close(); err != nil {
		return nil, err
	}
	return e.ready.Bytes(), nil
}

// appendID appends an id as text.
func (e *encoder) appendID(b []byte, id flow.UUID) []byte {
	e.named.ID = id
	return e.named.AppendText(b, flow.FID)
}
