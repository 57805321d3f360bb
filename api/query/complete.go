package query

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirnet/weir/api/flow"
)

// Values tells which values a field has, for completion. Where is the condition that is
// already typed, nil for none; the answer has at most limit values that begin with
// prefix, the most frequent first. It may be empty.
type Values interface {
	Values(f Field, prefix string, where Expr, limit int) []string
}

// Suggestion is one way to go on.
type Suggestion struct {
	Text string `json:"text"`          // what replaces the text from From to the cursor
	Kind string `json:"kind"`          // field, operator, value, keyword, stage, aggregate or column
	Doc  string `json:"doc,omitempty"` // what it is
}

// Completion is what can be typed at a cursor.
type Completion struct {
	From        int          `json:"from"` // byte offset of what is replaced
	Suggestions []Suggestion `json:"suggestions"`
}

const maxSuggestions = 50

// Complete says how a text can go on at a cursor, a byte offset. Values may be nil.
func Complete(text string, cursor int, values Values) Completion {
	cursor = max(0, min(cursor, len(text)))
	for cursor > 0 && cursor < len(text) && !utf8.RuneStart(text[cursor]) {
		cursor--
	}
	head := text[:cursor]
	toks, err := lex(head)
	c := completer{head: head, from: cursor, values: values}
	if err != nil {
		// An open quote is the value that is being typed.
		i := strings.LastIndexByte(head, '"')
		if i < 0 {
			return Completion{From: cursor}
		}
		if toks, err = lex(head[:i]); err != nil {
			return Completion{From: cursor}
		}
		c.from, c.prefix, c.quoted = i, head[i+1:], true
	}
	toks = toks[:len(toks)-1]
	if n := len(toks); !c.quoted && n > 0 && toks[n-1].end == cursor && toks[n-1].kind == tWord {
		c.from, c.prefix = toks[n-1].pos, toks[n-1].text
		toks = toks[:n-1]
	}
	c.toks = toks
	c.complete()
	return Completion{From: c.from, Suggestions: c.out}
}

type completer struct {
	head   string
	toks   []token // before what is being typed
	from   int
	prefix string
	quoted bool
	values Values
	out    []Suggestion
}

func (c *completer) add(kind, doc string, texts ...string) {
	for _, s := range texts {
		if len(c.out) < maxSuggestions && strings.HasPrefix(s, c.prefix) {
			c.out = append(c.out, Suggestion{s, kind, doc})
		}
	}
}

// last gives the n-th token from the end, 1 for the last.
func (c *completer) last(n int) token {
	if n > len(c.toks) {
		return token{}
	}
	return c.toks[len(c.toks)-n]
}

func (c *completer) complete() {
	bar := -1
	for i, t := range c.toks {
		if t.is("|") {
			bar = i
		}
	}
	if bar >= 0 {
		c.stage(c.toks[bar+1:])
		return
	}
	if f, ok := c.valueOf(); ok {
		c.value(f)
		return
	}
	if c.quoted || c.last(1).kind == tOp {
		return
	}
	switch last := c.last(1); {
	case last.is("has"):
		c.names()
	case last.kind == tWord && !keyword(last.text):
		if f, ok := FieldByName(last.text); ok && c.last(2).kind != tOp {
			c.operators(f)
			return
		}
		c.condition(true)
	case len(c.toks) == 0 || last.is("(") || last.is("and") || last.is("or") || last.is("not"):
		c.condition(false)
	default:
		c.condition(true)
	}
}

// condition suggests how a condition begins, and, after another, what joins them.
func (c *completer) condition(after bool) {
	c.names()
	c.add("keyword", "", "not", "has")
	if after {
		c.add("keyword", "", "and", "or", "|")
	}
}

func (c *completer) names() {
	for _, name := range Names() {
		f, ok := FieldByName(name)
		if !ok {
			continue
		}
		c.add("field", fieldDoc(f), name)
	}
}

func fieldDoc(f Field) string {
	switch {
	case f.Name == verdictName:
		return "allowed or denied, by outcome and by the rules of both ends"
	case len(f.IDs) == 1:
		return flow.Fields[f.IDs[0]].Doc
	case strings.HasPrefix(flow.Fields[f.IDs[0]].Name, "ingress."):
		return flow.Fields[f.IDs[0]].Doc + ", or of the other direction"
	default:
		return flow.Fields[f.IDs[0]].Doc + ", or of the other end"
	}
}

func (c *completer) operators(f Field) {
	for op := Eq; op <= NotIn; op++ {
		positive, _ := op.negative()
		if allowed(f, f.Kind(), positive) == nil {
			c.add("operator", "", op.String())
		}
	}
}

// valueOf gives the field whose value is being typed.
func (c *completer) valueOf() (Field, bool) {
	last := c.last(1)
	at := 2
	if last.kind != tOp {
		// In a list: go back to `in (`.
		if !last.is("(") && !last.is(",") {
			return Field{}, false
		}
		for at = 1; at <= len(c.toks) && !c.last(at).is("("); at++ {
			if t := c.last(at); t.kind == tOp || t.is(")") {
				return Field{}, false
			}
		}
		if at++; !c.last(at).is("in") {
			return Field{}, false
		}
		if at++; c.last(at).is("not") {
			at++
		}
	}
	return FieldByName(c.last(at).text)
}

func (c *completer) value(f Field) {
	kind := f.Kind()
	switch {
	case f.Name == verdictName:
		c.add("value", "", verdictWords...)
		return
	case kind == KindWord || kind == KindBits:
		c.add("value", "", flow.EnumWords[f.IDs[0]]...)
		return
	case kind == KindBool:
		c.add("value", "", "true", "false")
		return
	case f.Name == "proto":
		for _, p := range flow.Protocols {
			c.add("value", "", p.Word)
		}
		return
	case kind == KindNumber && c.prefix != "" && strings.Trim(c.prefix, "0123456789.-") == "":
		number := c.prefix
		for _, u := range unitOrder[flow.Fields[f.IDs[0]].Unit] {
			c.add("value", "", number+u)
		}
		return
	}
	if c.values == nil {
		return
	}
	for _, s := range c.values.Values(f, c.prefix, c.where(), maxSuggestions) {
		if !strings.HasPrefix(s, c.prefix) || len(c.out) == maxSuggestions {
			continue
		}
		text := Value{Text: s}.String()
		if c.quoted {
			text = strconv.Quote(s)
		}
		c.out = append(c.out, Suggestion{Text: text, Kind: "value"})
	}
}

// where is the condition before the comparison that is being typed, as far as it is
// complete: its longest beginning that parses and does not end within an or.
func (c *completer) where() Expr {
	end := len(c.toks)
	for end > 0 && c.toks[end-1].kind != tOp && !c.toks[end-1].is("in") {
		end--
	}
	for end--; end > 0; end-- {
		part := c.head[:c.toks[end-1].end]
		if slices.ContainsFunc(c.toks[:end], func(t token) bool { return t.is("or") }) {
			return nil // the other side of an or does not narrow this one
		}
		part = strings.TrimSuffix(strings.TrimSpace(part), "and")
		if e, err := ParseExpr(part); err == nil {
			return e
		}
	}
	return nil
}

func (c *completer) stage(toks []token) {
	if len(toks) == 0 {
		c.add("stage", "", stageWords...)
		return
	}
	last := toks[len(toks)-1]
	inBy := slices.ContainsFunc(toks, func(t token) bool { return t.is("by") })
	switch name := toks[0].text; {
	case name == "stats" && last.is("every"):
		c.add("value", "", "10s", "1m", "5m", "1h", "1d")
	case name == "stats" && last.is("("):
		fn := Func(slices.Index(funcText[1:], c.last(2).text) + 1)
		c.single(func(f Field) bool { return fn > 0 && aggregable(fn, f) == nil })
	case name == "stats" && inBy && (last.is("by") || last.is(",")), name == "fields" && (last.is("fields") || last.is(",")):
		c.single(func(Field) bool { return true })
	case name == "stats" && (last.is("stats") || last.is(",")):
		c.add("aggregate", "", funcText[Conns], funcText[Active])
		for _, f := range funcText[Sum:] {
			c.add("aggregate", "", f+"(")
		}
	case name == "stats" && !inBy:
		c.add("keyword", "", "by", "every", "|")
	case name == "stats":
		c.add("keyword", "", "every", "|")
	case name == "top" && last.is("top"), name == "limit" && last.is("limit"):
		c.add("value", "", "10", "20", "100")
	case name == "top" && len(toks) == 2:
		c.add("keyword", "", "by", "|")
	case last.is("sort") || name == "top" && last.is("by"):
		c.columns(name == "top")
	case name == "sort":
		c.add("keyword", "", "desc", "|")
	}
}

func (c *completer) single(want func(Field) bool) {
	for i, row := range flow.Fields {
		if f, ok := FieldByName(row.Name); ok && f.single() && f.IDs[0] == flow.FieldID(i) && want(f) {
			c.add("field", row.Doc, row.Name)
		}
	}
}

// columns suggests what the stages before made.
func (c *completer) columns(aggregates bool) {
	for i := len(c.toks) - 1; i > 0; i-- {
		if !c.toks[i].is("|") {
			continue
		}
		q, err := Parse(c.head[:c.toks[i].pos])
		if err != nil {
			return
		}
		if st := q.Stats(); st != nil {
			cols := statsColumns(st)
			if aggregates {
				cols = cols[len(cols)-len(st.Aggs):]
			}
			for _, col := range cols {
				c.add("column", "", col.Name)
			}
			return
		}
	}
	c.single(func(Field) bool { return true })
}
