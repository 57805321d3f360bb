package query

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Format gives the canonical text of a query: Parse of it is the query again.
func Format(q *Query) string {
	var b strings.Builder
	if q.Expr != nil {
		b.WriteString(FormatExpr(q.Expr))
	}
	for _, s := range q.Stages {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("| ")
		formatStage(&b, s)
	}
	return b.String()
}

// FormatExpr gives the canonical text of a condition.
func FormatExpr(e Expr) string {
	var b strings.Builder
	formatExpr(&b, e)
	return b.String()
}

func formatExpr(b *strings.Builder, e Expr) {
	switch e := e.(type) {
	case *And:
		formatList(b, e.List, " ", false)
	case *Or:
		formatList(b, e.List, " or ", true)
	case *Not:
		b.WriteString("not ")
		formatAtom(b, e.Expr)
	case *Has:
		b.WriteString("has " + e.Field.Name)
	case *Word:
		b.WriteString(e.Value.String())
	case *Cmp:
		b.WriteString(e.Field.Name + " " + e.Op.String() + " ")
		if e.Op != In && e.Op != NotIn {
			b.WriteString(e.Values[0].String())
			return
		}
		b.WriteByte('(')
		for i, v := range e.Values {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(v.String())
		}
		b.WriteByte(')')
	}
}

// formatList writes the parts of an And or an Or; an And needs no parentheses in an Or.
func formatList(b *strings.Builder, list []Expr, sep string, or bool) {
	for i, x := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		if _, and := x.(*And); and && or {
			formatExpr(b, x)
		} else {
			formatAtom(b, x)
		}
	}
}

func formatAtom(b *strings.Builder, e Expr) {
	switch e.(type) {
	case *And, *Or:
		b.WriteByte('(')
		formatExpr(b, e)
		b.WriteByte(')')
	default:
		formatExpr(b, e)
	}
}

func formatStage(b *strings.Builder, s Stage) {
	switch s := s.(type) {
	case *Stats:
		b.WriteString("stats ")
		for i, a := range s.Aggs {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(a.Name())
		}
		if len(s.By) > 0 {
			b.WriteString(" by ")
			formatFields(b, s.By)
		}
		if s.Every > 0 {
			b.WriteString(" every " + FormatDuration(s.Every))
		}
	case *Top:
		b.WriteString("top " + strconv.Itoa(s.N))
		if s.By != "" {
			b.WriteString(" by " + s.By)
		}
	case *Sort:
		b.WriteString("sort " + s.By)
		if s.Desc {
			b.WriteString(" desc")
		}
	case *Limit:
		b.WriteString("limit " + strconv.Itoa(s.N))
	case *Fields:
		b.WriteString("fields ")
		formatFields(b, s.List)
	}
}

func formatFields(b *strings.Builder, list []Field) {
	for i, f := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.Name)
	}
}

// FormatDuration writes a duration in the largest unit that holds it without a rest.
func FormatDuration(d time.Duration) string {
	for _, u := range []struct {
		unit string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d >= u.d && d%u.d == 0 {
			return strconv.FormatInt(int64(d/u.d), 10) + u.unit
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// String is the value as the language writes it, quoted where it must be.
func (v Value) String() string {
	if v.Glob || plain(v.Text) {
		return v.Text
	}
	return strconv.Quote(v.Text)
}

// plain says whether a text can stand unquoted and means itself.
func plain(s string) bool {
	if s == "" || keyword(s) || strings.ContainsAny(s, specials+"*") || !utf8.ValidString(s) {
		return false
	}
	if _, ok := FieldByName(s); ok { // a bare word that is a field's name is refused
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

func keyword(s string) bool {
	switch s {
	case "and", "or", "not", "in", "has":
		return true
	}
	return false
}

// ShellWord quotes a query as one word of a POSIX shell.
func ShellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
