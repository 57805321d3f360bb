package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a text, so that hostile ones cost little.
const (
	MaxText   = 8 << 10 // bytes
	maxDepth  = 64      // nested parentheses and nots
	maxValues = 1024    // in one list, and in a query
	maxRegex  = 1024    // bytes of one regular expression
	maxRegexN = 5000    // instructions of all regular expressions of a query, estimated
	maxStages = 8
	maxAggs   = 16
	maxBy     = 20
	maxRows   = 1_000_000 // of top and limit
)

// Error is what is wrong with a text, and where.
type Error struct {
	Column int    // in characters, from 1
	Text   string // what was found and what was expected
	Near   string // the nearest name, or ""
}

func (e *Error) Error() string {
	s := fmt.Sprintf("column %d: %s", e.Column, e.Text)
	if e.Near != "" {
		s += ": did you mean " + e.Near + "?"
	}
	return s
}

type kind uint8

const (
	tEnd    kind = iota
	tWord        // unquoted
	tString      // quoted
	tOp          // = != < <= > >= =~ !~
	tPunct       // ( ) , |
)

type token struct {
	kind kind
	text string // what it says: of a string, without quotes
	pos  int    // byte offset
	end  int
}

func (t token) is(text string) bool {
	return (t.kind == tWord || t.kind == tPunct || t.kind == tOp) && t.text == text
}

// String is the token in an error text.
func (t token) String() string {
	if t.kind == tEnd {
		return "the end"
	}
	s := t.text
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "..."
	}
	return strconv.Quote(s)
}

const specials = " \t\r\n()|,=!<>~\"'"

// lex splits a text into tokens; the last one is tEnd.
func lex(text string) ([]token, error) {
	if len(text) > MaxText {
		return nil, &Error{Column: 1, Text: fmt.Sprintf("a query of %d bytes: the longest allowed has %d", len(text), MaxText)}
	}
	var out []token
	for i := 0; ; {
		for i < len(text) && strings.IndexByte(" \t\r\n", text[i]) >= 0 {
			i++
		}
		if i == len(text) {
			return append(out, token{tEnd, "", i, i}), nil
		}
		t, err := next(text, i)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		i = t.end
	}
}

func next(text string, i int) (token, error) {
	two := text[i:min(i+2, len(text))]
	switch c := text[i]; {
	case two == "||":
		return token{}, errAt(text, i, `"||" is no operator: write or`)
	case c == '(' || c == ')' || c == ',' || c == '|':
		return token{tPunct, text[i : i+1], i, i + 1}, nil
	case two == "!=" || two == "<=" || two == ">=" || two == "=~" || two == "!~":
		return token{tOp, two, i, i + 2}, nil
	case two == "==":
		return token{}, errAt(text, i, `"==" is no operator: write =`)
	case two == "&&":
		return token{}, errAt(text, i, `"&&" is no operator: write and`)
	case c == '=' || c == '<' || c == '>':
		return token{tOp, text[i : i+1], i, i + 1}, nil
	case c == '!' || c == '~':
		return token{}, errAt(text, i, strconv.Quote(string(c))+" is no operator: the operators are = != < <= > >= =~ !~ in; negate with not")
	case c == '"':
		return lexString(text, i)
	case c == '\'':
		return token{}, errAt(text, i, "a single quote: write text in double quotes")
	}
	j := i
	for j < len(text) && strings.IndexByte(specials, text[j]) < 0 {
		r, n := utf8.DecodeRuneInString(text[j:])
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			return token{}, errAt(text, j, fmt.Sprintf("the character %q: write it in double quotes, with an escape", text[j:j+n]))
		}
		j += n
	}
	return token{tWord, text[i:j], i, j}, nil
}

// lexString reads a double-quoted string with Go's escapes.
func lexString(text string, i int) (token, error) {
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case '\n':
			return token{}, errAt(text, i, `a line ends within the quotes: write \n`)
		case '"':
			s, err := strconv.Unquote(text[i : j+1])
			if err != nil || !utf8.ValidString(s) {
				return token{}, errAt(text, i, `an escape within the quotes is not known, or no UTF-8: write \" for a quote and \\ for a backslash`)
			}
			return token{tString, s, i, j + 1}, nil
		}
	}
	return token{}, errAt(text, i, "the quote is never closed")
}

func errAt(text string, pos int, msg string) *Error {
	return &Error{Column: utf8.RuneCountInString(text[:pos]) + 1, Text: msg}
}
