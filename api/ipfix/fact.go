package ipfix

import (
	"encoding/binary"

	"github.com/weirnet/weir/api/flow"
)

// FactRow is one thing that a node says of itself, sent as an options record: what it
// can see, how full its table is, which connection it opened as a canary. The newest
// row of an observer, topic and key replaces the one before.
type FactRow struct {
	Observer string // node whose fact this is
	Instance string // changes at each start of the process
	Topic    string // coverage, evidence, pressure, canary
	Key      string // within the topic, as same-node/v4
	State    string // a word: yes, no, on, off
	Reason   string // why
	Remedy   string // what to do
	Value    int64  // a number; its unit is the key's
	AtMs     int64  // ms since the Unix epoch
}

// FactHandler is a Handler that takes facts too. The row is valid during the call.
type FactHandler interface {
	Fact(row *FactRow)
}

const (
	factTemplateID = 401
	idFactObserver = 120 + iota - 1
	idFactInstance
	idFactTopic
	idFactKey
	idFactState
	idFactReason
	idFactRemedy
	idFactValue
	idFactAt
)

// FactTemplate is the options template of FactRow: four scope fields, then what is
// said. Announce it with AddTemplate before AppendFact.
func FactTemplate() *Template {
	str := func(id uint16, name string) flow.Element {
		return flow.Element{PEN: flow.PENWeir, ID: id, Name: name, Enc: flow.EncString, Len: VarLen}
	}
	t, err := newTemplate(factTemplateID, []flow.Element{
		str(idFactObserver, "weirFactObserver"), str(idFactInstance, "weirFactInstance"), str(idFactTopic, "weirFactTopic"), str(idFactKey, "weirFactKey"),
		str(idFactState, "weirFactState"), str(idFactReason, "weirFactReason"), str(idFactRemedy, "weirFactRemedy"),
		{PEN: flow.PENWeir, ID: idFactValue, Name: "weirFactValue", Enc: flow.EncSigned, Len: 8},
		{PEN: flow.PENWeir, ID: idFactAt, Name: "weirFactAt", Enc: flow.EncMillis, Len: 8},
	}, 4)
	if err != nil {
		panic(err) // the elements are constants of this file
	}
	return t
}

// AppendFact encodes a row. It reports false when the message is full.
func (e *Encoder) AppendFact(row *FactRow) bool {
	if e.oneSet && !e.Empty() && e.setID != factTemplateID {
		return false
	}
	mark, set, id := len(e.buf), e.set, e.setID
	e.open(factTemplateID)
	for _, v := range [...]string{row.Observer, row.Instance, row.Topic, row.Key, row.State, row.Reason, row.Remedy} {
		e.buf = appendVar(e.buf, v)
	}
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(row.Value))
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(row.AtMs))
	if !e.commit(mark, set, id) {
		return false
	}
	e.data++
	return true
}

func (s *Session) factField(id uint16, v []byte) bool {
	f := &s.fact
	switch id {
	case idFactObserver:
		f.Observer = s.in.get(v)
	case idFactInstance:
		f.Instance = s.in.get(v)
	case idFactTopic:
		f.Topic = s.in.get(v)
	case idFactKey:
		f.Key = s.in.get(v)
	case idFactState:
		f.State = s.in.get(v)
	case idFactReason:
		f.Reason = s.in.get(v)
	case idFactRemedy:
		f.Remedy = s.in.get(v)
	case idFactValue:
		f.Value = int64(beUint(v))
	case idFactAt:
		f.AtMs = int64(beUint(v))
	default:
		return false
	}
	return true
}
