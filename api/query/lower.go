package query

import (
	"errors"
	"fmt"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Node is a condition in its plain form, which says nothing that a store would have to
// know the language for: All, Any, None, Present or Test.
type Node interface{ node() }

// All holds where every part does; without parts, always.
type All []Node

// Any holds where one part does; without parts, never.
type Any []Node

// None is the complement.
type None struct{ Node }

// Present asks whether a column has a value, or, with Label, whether the labels in it
// have that key.
type Present struct {
	ID    flow.FieldID
	Label string
}

// Test holds where the column has a value and it fits.
type Test struct {
	ID    flow.FieldID
	Label string
	*Matcher
}

func (All) node()     {}
func (Any) node()     {}
func (None) node()    {}
func (Present) node() {}
func (Test) node()    {}

// Lower gives the plain form of a condition; nil, every connection, is All{}. It fails
// only for trees that Parse did not make.
func Lower(e Expr) (Node, error) {
	var c compiler
	return c.lower(e)
}

func (c *compiler) lower(e Expr) (Node, error) {
	switch e := e.(type) {
	case nil:
		return All{}, nil
	case *And:
		list, err := c.list(e.List)
		return All(list), err
	case *Or:
		list, err := c.list(e.List)
		return Any(list), err
	case *Not:
		n, err := c.lower(e.Expr)
		return None{n}, err
	case *Has:
		return present(e.Field), nil
	case *Word:
		return c.word(e.Value)
	case *Cmp:
		return c.cmp(e)
	default:
		return nil, fmt.Errorf("query: %T is no condition", e)
	}
}

func (c *compiler) list(es []Expr) ([]Node, error) {
	out := make([]Node, 0, len(es))
	for _, e := range es {
		n, err := c.lower(e)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func present(f Field) Node {
	if f.Name == verdictName {
		return Any{verdict(0), verdict(1)}
	}
	if f.single() {
		return Present{f.IDs[0], f.Label}
	}
	out := make(Any, 0, len(f.IDs))
	for _, id := range f.IDs {
		out = append(out, Present{id, f.Label})
	}
	return out
}

func (c *compiler) cmp(e *Cmp) (Node, error) {
	if len(e.Values) == 0 {
		return nil, errors.New("query: a comparison without a value")
	}
	op, negative := e.Op.negative()
	n, err := c.positive(e.Field, op, e.Values)
	if err == nil && negative {
		n = All{present(e.Field), None{n}}
	}
	return n, err
}

func (c *compiler) positive(f Field, op Op, values []Value) (Node, error) {
	if f.Name == verdictName {
		return c.verdicts(f, op, values)
	}
	if f.Kind() == KindBool && len(values) > 1 {
		return nil, fmt.Errorf("%s is true or false: a list says nothing", f.Name)
	}
	out := make(Any, 0, len(f.IDs))
	for _, id := range f.IDs {
		n, err := c.column(f, id, op, values)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

// spaces are the columns of the namespace that a name stands in: in `pod = ns/name`.
var spaces = map[flow.FieldID]flow.FieldID{
	flow.FSrcPod: flow.FSrcNS, flow.FDstPod: flow.FDstNS,
	flow.FIngressPolicy: flow.FIngressPolicyNS, flow.FEgressPolicy: flow.FEgressPolicyNS,
}

// column compiles a comparison with one column; a pod's or a policy's name may have
// its namespace before it.
func (c *compiler) column(f Field, id flow.FieldID, op Op, values []Value) (Node, error) {
	space, spaced := spaces[id]
	if !spaced || op == Match || f.Label != "" {
		m, err := c.matcher(f, id, op, values)
		return Test{id, f.Label, m}, err
	}
	var names []Value
	var out Any
	for _, v := range values {
		ns, name, ok := strings.Cut(v.Text, "/")
		if !ok {
			names = append(names, v)
			continue
		}
		in, err := c.matcher(f, space, Eq, []Value{part(v, ns)})
		if err != nil {
			return nil, err
		}
		m, err := c.matcher(f, id, Eq, []Value{part(v, name)})
		if err != nil {
			return nil, err
		}
		out = append(out, All{Test{space, "", in}, Test{id, "", m}})
	}
	if len(names) > 0 || len(out) == 0 {
		m, err := c.matcher(f, id, op, names)
		if err != nil {
			return nil, err
		}
		out = append(out, Test{id, "", m})
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

func part(v Value, text string) Value {
	return Value{text, v.Glob && strings.Contains(text, "*")}
}

// wordColumns are where a bare word is looked for.
var wordColumns = []flow.FieldID{
	flow.FSrcWorkload, flow.FDstWorkload, flow.FSrcPod, flow.FDstPod, flow.FSvcPortName,
	flow.FSrcNS, flow.FDstNS, flow.FSrcName, flow.FDstName,
}

func (c *compiler) word(v Value) (Node, error) {
	out := make(Any, 0, len(wordColumns))
	for _, id := range wordColumns {
		n, err := c.column(Field{Name: flow.Fields[id].Name, IDs: []flow.FieldID{id}}, id, Eq, []Value{v})
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// verdict gives what the words of verdict stand for: denied where the outcome or the
// rule at one end says so, allowed where a rule allowed it and none denied.
func verdict(word int) Node {
	is := func(id flow.FieldID, v ...uint64) Node {
		m := &Matcher{Kind: KindWord}
		for _, x := range v {
			m.Uints = append(m.Uints, Range[uint64]{x, x})
		}
		return Test{ID: id, Matcher: m}
	}
	stop := []uint64{uint64(flow.RuleActionDrop), uint64(flow.RuleActionReject)}
	denied := Any{is(flow.FOutcome, uint64(flow.OutcomeDenied)), is(flow.FIngressAction, stop...), is(flow.FEgressAction, stop...)}
	if verdictWords[word] == "denied" {
		return denied
	}
	allow := uint64(flow.RuleActionAllow)
	return All{Any{is(flow.FIngressAction, allow), is(flow.FEgressAction, allow)}, None{denied}}
}

func (c *compiler) verdicts(f Field, op Op, values []Value) (Node, error) {
	if err := allowed(f, KindWord, op); err != nil {
		return nil, err
	}
	out := Any{}
	for _, v := range values {
		m := &Matcher{Kind: KindWord}
		if err := c.words(m, verdictWords, op, v); err != nil {
			return nil, err
		}
		for i := range verdictWords {
			if m.Uint(uint64(i)) {
				out = append(out, verdict(i))
			}
		}
	}
	return out, nil
}
