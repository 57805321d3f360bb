package api

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// The forms of an answer to a query.
const (
	linesMedia = "application/x-ndjson"
	csvMedia   = "text/csv"
	jsonMedia  = "application/json"
	// partMedia tells a part of an answer, for another aggregator, from an answer; and
	// partsMedia the same in lines.
	partMedia  = "application/vnd.weir.part+json"
	partsMedia = "application/vnd.weir.part+x-ndjson"
)

// form is what a request accepts of them: lines where it names none.
func (q *asked) form(r *http.Request) string {
	accept := r.Header.Get("Accept")
	switch {
	case q.part && strings.Contains(accept, partsMedia):
		return partsMedia
	case q.part:
		return partMedia
	case strings.Contains(accept, jsonMedia):
		return jsonMedia
	case strings.Contains(accept, csvMedia):
		return csvMedia
	default:
		return linesMedia
	}
}

// rowWriter writes an answer row by row. It keeps at most rowBuffer bytes, and waits where
// its client does; one that takes nothing for stall is cut off. Only alive may be called
// while another method is.
type rowWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	form  string
	stall time.Duration // 0 for ever

	mu      sync.Mutex
	buf     bytes.Buffer
	enc     *json.Encoder
	csv     *csv.Writer
	cells   []string
	counted []bool // columns with a column beside, of what had no value
	line    []byte
	flushed time.Time
}

// rowBuffer is what is written at a time.
const rowBuffer = 32 << 10

func newRowWriter(w http.ResponseWriter, form string, stall time.Duration) *rowWriter {
	o := &rowWriter{w: w, rc: http.NewResponseController(w), form: form, stall: stall}
	o.enc = json.NewEncoder(&o.buf)
	o.enc.SetEscapeHTML(false)
	o.csv = csv.NewWriter(&o.buf)
	_ = o.rc.SetReadDeadline(time.Time{}) // the server's would end a long answer
	h := w.Header()
	h.Set("Content-Type", form)
	if form == csvMedia {
		h.Set("Content-Type", csvMedia+"; charset=utf-8; header=present")
		h.Set("Content-Disposition", `attachment; filename="weir.csv"`)
	}
	return o
}

// head writes what stands before the rows. Counted are columns of which rows may say how
// many connections had no value.
func (o *rowWriter) head(h *Head, counted []bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counted = counted
	if o.form == csvMedia {
		for i, c := range h.Columns {
			o.cell(i, c.Name, c.Name+" uncounted")
		}
		return o.record()
	}
	return o.enc.Encode(h)
}

// cell adds a value of column i, and what stands beside it.
func (o *rowWriter) cell(i int, value, uncounted string) {
	o.cells = append(o.cells, value)
	if i < len(o.counted) && o.counted[i] {
		o.cells = append(o.cells, uncounted)
	}
}

func (o *rowWriter) record() error {
	err := o.csv.Write(o.cells)
	o.cells = o.cells[:0]
	o.csv.Flush()
	return err
}

// row writes a row.
func (o *rowWriter) row(r *query.Row) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.form != csvMedia {
		if err := o.enc.Encode(r); err != nil {
			return err
		}
		return o.full()
	}
	for i, v := range r.Values {
		text, n := "", "0"
		switch {
		case v != nil:
			text = fmt.Sprint(v)
		case i == 0 && r.Other:
			text = "other"
		}
		if i < len(r.Uncounted) {
			n = fmt.Sprint(r.Uncounted[i])
		}
		o.cell(i, text, n)
	}
	if err := o.record(); err != nil {
		return err
	}
	return o.full()
}

// flow writes a connection for another aggregator.
func (o *rowWriter) flow(r *flow.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = append(flow.AppendJSON(o.line[:0], r), '\n')
	o.buf.Write(o.line)
	return o.full()
}

// tail writes the last line, in CSV as a comment.
func (o *rowWriter) tail(t *Tail) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.form == csvMedia {
		o.buf.WriteString("# ")
	}
	if err := o.enc.Encode(TailLine{*t}); err != nil {
		return err
	}
	return o.flush()
}

// alive writes a sign of life where nothing was written since then.
func (o *rowWriter) alive(since time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flushed.After(since) {
		return nil
	}
	if err := o.enc.Encode(Note{NoteBody{Alive: true}}); err != nil {
		return err
	}
	return o.flush()
}

func (o *rowWriter) full() error {
	if o.buf.Len() < rowBuffer {
		return nil
	}
	return o.flush()
}

// begin sends what there is, so that the client knows that an answer comes.
func (o *rowWriter) begin() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flush()
}

func (o *rowWriter) flush() error {
	if o.stall > 0 {
		_ = o.rc.SetWriteDeadline(time.Now().Add(o.stall)) // a response that cannot have one has none
	}
	if _, err := o.w.Write(o.buf.Bytes()); err != nil {
		return err
	}
	o.buf.Reset()
	o.flushed = time.Now()
	if err := o.rc.Flush(); err != nil && o.stall > 0 {
		return err
	}
	return nil
}
