package flow

import (
	"fmt"
	"strings"
)

// AppendCSVHeader appends the names of the fields, comma separated, without a line end.
func AppendCSVHeader(b []byte, fields []FieldID) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, Fields[f].Name...)
	}
	return b
}

// AppendCSV appends the fields of a record as one line of CSV (RFC 4180) without a
// line end. An absent field is empty; a present but empty string is "". Values
// have the text forms of AppendText.
func AppendCSV(b []byte, r *Record, fields []FieldID) []byte {
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		if !r.Has.Has(f) {
			continue
		}
		start := len(b)
		b = r.AppendText(b, f)
		b = quoteCSV(b, start)
	}
	return b
}

// quoteCSV quotes what stands in b from start on, where it needs quotes.
func quoteCSV(b []byte, start int) []byte {
	need, quotes := start == len(b), 0
	for _, c := range b[start:] {
		switch c {
		case '"':
			quotes++
			need = true
		case ',', '\n', '\r':
			need = true
		}
	}
	if !need {
		return b
	}
	if quotes == 0 {
		b = append(b, 0)
		copy(b[start+1:], b[start:])
		b[start] = '"'
		return append(b, '"')
	}
	text := string(b[start:])
	b = append(b[:start], '"')
	b = append(b, strings.ReplaceAll(text, `"`, `""`)...)
	return append(b, '"')
}

// ParseCSV reads one line that AppendCSV wrote with the same fields into r, which it
// clears first. Errors name the field or the column.
func ParseCSV(line []byte, fields []FieldID, r *Record) error {
	*r = Record{}
	rest, more := line, true
	for i, f := range fields {
		if !more {
			return fmt.Errorf("flow: csv: %d columns, want %d", i, len(fields))
		}
		var cell string
		var empty bool
		var err error
		cell, empty, rest, more, err = nextCell(rest)
		if err != nil {
			return fmt.Errorf("flow: csv: column %d (%s): %w", i+1, f, err)
		}
		if empty {
			continue
		}
		if err := r.SetText(f, cell); err != nil {
			return fmt.Errorf("flow: csv: %w", err)
		}
	}
	if more && len(fields) > 0 {
		return fmt.Errorf("flow: csv: more than %d columns", len(fields))
	}
	return nil
}

// nextCell takes one cell from b. empty says that nothing stood there, not even
// quotes; more says that a comma followed.
func nextCell(b []byte) (cell string, empty bool, rest []byte, more bool, err error) {
	if len(b) == 0 || b[0] != '"' {
		for i, c := range b {
			switch c {
			case ',':
				return string(b[:i]), i == 0, b[i+1:], true, nil
			case '"', '\n', '\r':
				return "", false, nil, false, fmt.Errorf("byte %q outside of quotes", c)
			}
		}
		return string(b), len(b) == 0, nil, false, nil
	}
	var text []byte
	for i := 1; i < len(b); i++ {
		if b[i] != '"' {
			text = append(text, b[i])
			continue
		}
		switch {
		case i+1 == len(b):
			return string(text), false, nil, false, nil
		case b[i+1] == '"':
			text = append(text, '"')
			i++
		case b[i+1] == ',':
			return string(text), false, b[i+2:], true, nil
		default:
			return "", false, nil, false, fmt.Errorf("byte %q after the closing quote", b[i+1])
		}
	}
	return "", false, nil, false, fmt.Errorf("quote has no end")
}
