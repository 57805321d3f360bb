package ipfix

import (
	"encoding/binary"

	"github.com/weirnet/weir/api/flow"
)

// LedgerRow is one cumulative account of one process, sent as an options record so
// that the collector can hold the exporter's books against what it received.
type LedgerRow struct {
	Observer                    string // node or instance name whose book this is
	Instance                    string // changes at each start of the process
	Stage                       string // conntrack, track, send, wire, ...
	Kind                        string // in, out, held, lost, stopped
	Reason                      string // of a loss; the peer for stage wire
	Records, Connections, Bytes uint64
	AtMs                        int64 // when the book was read, ms since the Unix epoch
}

// StageProcess with KindStopped is a process's farewell: it has told everything.
const (
	StageProcess = "process"
	KindStopped  = "stopped"
)

const (
	ledgerTemplateID = 400
	idObserver       = 100 + iota - 1
	idInstance
	idStage
	idKind
	idReason
	idRecords
	idConnections
	idBytes
	idAt
)

func ledgerElems() []flow.Element {
	str := func(id uint16, name string) flow.Element {
		return flow.Element{PEN: flow.PENWeir, ID: id, Name: name, Enc: flow.EncString, Len: VarLen}
	}
	num := func(id uint16, name string, enc flow.Encoding) flow.Element {
		return flow.Element{PEN: flow.PENWeir, ID: id, Name: name, Enc: enc, Len: 8}
	}
	return []flow.Element{
		str(idObserver, "weirLedgerObserver"), str(idInstance, "weirLedgerInstance"), str(idStage, "weirLedgerStage"),
		str(idKind, "weirLedgerKind"), str(idReason, "weirLedgerReason"),
		num(idRecords, "weirLedgerRecords", flow.EncUnsigned), num(idConnections, "weirLedgerConnections", flow.EncUnsigned),
		num(idBytes, "weirLedgerBytes", flow.EncUnsigned), num(idAt, "weirLedgerAt", flow.EncMillis),
	}
}

// LedgerTemplate is the options template of LedgerRow: five scope fields, then the
// amounts. Announce it with AddTemplate before AppendLedger.
func LedgerTemplate() *Template {
	t, err := newTemplate(ledgerTemplateID, ledgerElems(), 5)
	if err != nil {
		panic(err) // the elements are constants of this file
	}
	return t
}

// AppendLedger encodes a row. It reports false when the message is full.
func (e *Encoder) AppendLedger(row *LedgerRow) bool {
	if e.oneSet && !e.Empty() && e.setID != ledgerTemplateID {
		return false
	}
	mark, set, id := len(e.buf), e.set, e.setID
	e.open(ledgerTemplateID)
	for _, v := range [...]string{row.Observer, row.Instance, row.Stage, row.Kind, row.Reason} {
		e.buf = appendVar(e.buf, v)
	}
	for _, v := range [...]uint64{row.Records, row.Connections, row.Bytes, uint64(row.AtMs)} {
		e.buf = binary.BigEndian.AppendUint64(e.buf, v)
	}
	if !e.commit(mark, set, id) {
		return false
	}
	e.data++
	return true
}

// optionsRecords reads the data of an options template. Rows of the ledger and
// facts go to the handler; what other options say is counted and passed over.
func (s *Session) optionsRecords(t *Template, b []byte, h Handler) error {
	for len(b) >= t.minLen {
		s.row, s.fact = LedgerRow{}, FactRow{}
		ledger, fact := false, false
		for i := range t.options {
			n := int(t.options[i].Len)
			if n == VarLen {
				var ok bool
				if n, b, ok = varLen(b); !ok {
					s.Stats.BadRecord++
					return ErrMalformed
				}
			} else if n > len(b) {
				s.Stats.BadRecord++
				return ErrMalformed
			}
			if t.options[i].PEN == flow.PENWeir {
				ledger = s.ledgerField(t.options[i].ID, b[:n]) || ledger
				fact = s.factField(t.options[i].ID, b[:n]) || fact
			}
			b = b[n:]
		}
		s.Stats.OptionsRecords++
		if ledger {
			h.Ledger(&s.row)
		}
		if f, ok := h.(FactHandler); ok && fact {
			f.Fact(&s.fact)
		}
	}
	return s.padding(t, b)
}

func (s *Session) ledgerField(id uint16, v []byte) bool {
	switch id {
	case idObserver:
		s.row.Observer = s.in.get(v)
	case idInstance:
		s.row.Instance = s.in.get(v)
	case idStage:
		s.row.Stage = s.in.get(v)
	case idKind:
		s.row.Kind = s.in.get(v)
	case idReason:
		s.row.Reason = s.in.get(v)
	case idRecords:
		s.row.Records = beUint(v)
	case idConnections:
		s.row.Connections = beUint(v)
	case idBytes:
		s.row.Bytes = beUint(v)
	case idAt:
		s.row.AtMs = int64(beUint(v))
	default:
		return false
	}
	return true
}
