package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
)

type queryCmd struct {
	env    *Env
	api    *client
	time   timeRange
	utc    bool
	limit  int
	output string
	fail   bool
}

// heldRows bounds the forms that hold their rows.
const heldRows = 10_000

var queryOutputs = []string{"table", "json", "jsonl", "csv", "markdown"}

const queryExample = `  weirctl query 'checkout outcome != ok'
  weirctl query 'dst.workload = payments | stats conns, p95(rtt) by outcome every 1m' --since 15m
  weirctl query 'dst.scope = external | stats sum(bytes) by src.workload, dst.name | top 20' -o markdown
  weirctl query 'outcome != ok' --since 24h --limit 0 -o csv > failed.csv`

func queryCommand(env *Env, c *client) *cobra.Command {
	o := &queryCmd{env: env, api: c}
	cmd := &cobra.Command{
		Use: "query QUERY", ValidArgsFunction: c.completeCondition, Short: "Ask the history: find, count and sum connections",
		Long: `Ask what happened. A row is one connection in the range; bytes and packets are what
moved within it. docs/query.md describes the language.`,
		Example: queryExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), strings.Join(args, " "))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.time.since, "since", "1h", "begin of the range: "+timeHelp)
	f.StringVar(&o.time.until, "until", "", "end of the range (default now)")
	f.BoolVar(&o.utc, "utc", false, "times without a zone are in UTC")
	f.IntVar(&o.limit, "limit", 100, "rows at most, 0 for all (jsonl, csv and json)")
	f.StringVarP(&o.output, "output", "o", "table", strings.Join(queryOutputs, ", "))
	f.BoolVar(&o.fail, "fail-empty", false, "exit with status 3 where nothing was found")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(queryOutputs, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *queryCmd) run(ctx context.Context, text string) error {
	if err := oneOf("output", o.output, queryOutputs...); err != nil {
		return err
	}
	if o.limit < 0 {
		return usagef("--limit: %d is no number of rows: give 1 or more, or 0 for all", o.limit)
	}
	if (o.limit == 0 || o.limit > heldRows) && (o.output == "table" || o.output == "markdown") {
		return usagef("--limit: a %s has at most %d rows: add -o jsonl or -o csv for more", o.output, heldRows)
	}
	if _, err := query.Parse(text); err != nil {
		return usageError{fmt.Errorf("query: %w", err)}
	}
	v := url.Values{"q": {text}, "limit": {strconv.Itoa(o.limit)}}
	if err := o.time.put(v, o.env.Now(), zone(o.utc)); err != nil {
		return err
	}
	body, err := o.api.postQuery(ctx, v)
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := o.print(body)
	if err != nil {
		return err
	}
	if o.fail && n == 0 {
		return errEmpty
	}
	return nil
}

// rows writes rows in one form.
type rows interface {
	head(h *api.Head) error
	row(h *api.Head, r *query.Row) error
	end() error
}

// print writes the answer.
func (o *queryCmd) print(body io.Reader) (n int, err error) {
	out := o.form()
	head, tail, err := readAnswer(o.api, body, out.head, func(h *api.Head, r *query.Row) error {
		n++
		return out.row(h, r)
	})
	if err != nil {
		return n, err
	}
	if err := out.end(); err != nil {
		return n, err
	}
	o.farewell(head, tail)
	if tail.Failed {
		return n, fmt.Errorf("%s: the answer broke off after %d rows: %s", o.api.base.Host, n, clean(tail.Why))
	}
	return n, nil
}

// readAnswer reads the answer of /api/v1/query line by line, as it comes. Numbers are
// json.Number.
func readAnswer(c *client, body io.Reader, onHead func(*api.Head) error, onRow func(*api.Head, *query.Row) error) (*api.Head, *api.Tail, error) {
	broken := func(err error) error { return fmt.Errorf("%s: the answer broke off: %w", c.base.Host, err) }
	br := bufio.NewReaderSize(body, 64<<10)
	var head api.Head
	if err := decodeLine(br, &head); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, nil, c.unreadable(err)
		}
		return nil, nil, broken(err)
	}
	if err := onHead(&head); err != nil {
		return nil, nil, err
	}
	for {
		line, err := readLine(br)
		if err != nil {
			return nil, nil, broken(err)
		}
		if bytes.HasPrefix(line, []byte(`{"weir":`)) {
			var t struct{ Weir api.Tail }
			if err := json.Unmarshal(line, &t); err != nil {
				return nil, nil, broken(err)
			}
			return &head, &t.Weir, nil
		}
		var r query.Row
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&r); err != nil {
			return nil, nil, broken(err)
		}
		if len(r.Values) != len(head.Columns) {
			return nil, nil, broken(errors.New("a row has not as many values as there are columns"))
		}
		if err := onRow(&head, &r); err != nil {
			return nil, nil, err
		}
	}
}

func decodeLine(br *bufio.Reader, into any) error {
	line, err := readLine(br)
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// farewell says on standard error what the answer rests on.
func (o *queryCmd) farewell(h *api.Head, t *api.Tail) {
	more := ""
	if t.Cut {
		if more = " of more"; !t.Failed {
			more = fmt.Sprintf(" of more (--limit %d)", o.limit)
		}
	}
	from := ""
	if t.Scanned.Rollups > 0 {
		from = fmt.Sprintf(" and sums of %d roll-ups", t.Scanned.Rollups)
	}
	fmt.Fprintf(o.env.Err, "%d rows%s, %s to %s; scanned %d records%s in %.0f ms\n", t.Rows, more,
		h.Since.Format(time.RFC3339), h.Until.Format(time.RFC3339), t.Scanned.Rows, from, t.TookMs)
	for _, note := range slices.Concat(h.Notes, t.Notes) {
		fmt.Fprintln(o.env.Err, clean(note))
	}
	for i := range t.Partial {
		fmt.Fprintln(o.env.Err, missing(&t.Partial[i]))
	}
	seenOf(o.env.Err, t.Coverage)
}

// seenOf says what the nodes let be seen at all; an aggregator that says nothing of it,
// or a caller who may not know, has none.
func seenOf(w io.Writer, c *api.CoverageBrief) {
	if c != nil {
		fmt.Fprintln(w, clean(c.Summary))
	}
}

// missing names an aggregator that did not answer.
func missing(m *query.Missing) string {
	share := ""
	if m.Share != nil {
		share = fmt.Sprintf(", which holds about %.0f %% of the connections", *m.Share*100)
	}
	return fmt.Sprintf("PARTIAL: no answer from %s%s: %s", clean(m.Name), share, clean(m.Error))
}

func (o *queryCmd) form() rows {
	w := o.env.Out
	switch o.output {
	case "json", "jsonl":
		return &jsonRows{w: w, array: o.output == "json"}
	case "csv":
		return &csvRows{csv.NewWriter(w)}
	case "markdown":
		return &markdownRows{w}
	default:
		return &tableRows{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	}
}

// text is a value as a person reads it; of a number without a value in some connections
// it says so.
func text(h *api.Head, r *query.Row, i int) string {
	s := "-"
	switch v := r.Values[i].(type) {
	case nil:
	case json.Number:
		s = number(v, h.Columns[i].Unit)
	case string:
		s = clean(v)
	default:
		s = fmt.Sprint(v)
	}
	if len(r.Uncounted) > i && r.Uncounted[i] > 0 {
		s += fmt.Sprintf(" + %d uncounted", r.Uncounted[i])
	}
	return s
}

func number(v json.Number, unit string) string {
	f, err := v.Float64()
	if err != nil {
		return clean(v.String())
	}
	switch unit {
	case "bytes", "bytes/s":
		if f >= 0 {
			return size(uint64(f)) + strings.TrimPrefix(unit, "bytes")
		}
	case "us":
		return strconv.FormatFloat(f/1000, 'f', 1, 64) + " ms"
	}
	if strings.ContainsAny(v.String(), ".eE") {
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	return v.String()
}

func titles(h *api.Head) []string {
	out := make([]string, 0, len(h.Columns))
	for _, c := range h.Columns {
		out = append(out, c.Name)
	}
	return out
}

func texts(h *api.Head, r *query.Row) []string {
	out := make([]string, 0, len(r.Values))
	for i := range r.Values {
		out = append(out, text(h, r, i))
	}
	return out
}

type tableRows struct{ w *tabwriter.Writer }

func (t *tableRows) head(h *api.Head) error {
	_, err := fmt.Fprintln(t.w, strings.Join(titles(h), "\t"))
	return err
}

func (t *tableRows) row(h *api.Head, r *query.Row) error {
	_, err := fmt.Fprintln(t.w, strings.Join(texts(h, r), "\t"))
	return err
}
func (t *tableRows) end() error { return t.w.Flush() }

type markdownRows struct{ w io.Writer }

func (m *markdownRows) line(cells []string) error {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	_, err := fmt.Fprintf(m.w, "| %s |\n", strings.Join(cells, " | "))
	return err
}

func (m *markdownRows) head(h *api.Head) error {
	if err := m.line(titles(h)); err != nil {
		return err
	}
	rule := make([]string, len(h.Columns))
	for i, c := range h.Columns {
		rule[i] = "---"
		if c.Type == "number" {
			rule[i] = "---:"
		}
	}
	return m.line(rule)
}
func (m *markdownRows) row(h *api.Head, r *query.Row) error { return m.line(texts(h, r)) }
func (m *markdownRows) end() error                          { return nil }

// csvRows writes plain numbers in the columns' units; absent is empty.
type csvRows struct{ w *csv.Writer }

func (c *csvRows) head(h *api.Head) error { return c.w.Write(titles(h)) }

func (c *csvRows) row(_ *api.Head, r *query.Row) error {
	out := make([]string, 0, len(r.Values))
	for _, v := range r.Values {
		if v == nil {
			out = append(out, "")
			continue
		}
		out = append(out, clean(fmt.Sprint(v)))
	}
	return c.w.Write(out)
}
func (c *csvRows) end() error { c.w.Flush(); return c.w.Error() }

// jsonRows writes an object for each row, absent values left out.
type jsonRows struct {
	w     io.Writer
	array bool
	n     int
}

func (j *jsonRows) head(*api.Head) error { return nil }

func (j *jsonRows) row(h *api.Head, r *query.Row) error {
	var b bytes.Buffer
	switch {
	case j.array && j.n == 0:
		b.WriteString("[\n")
	case j.array:
		b.WriteString(",\n")
	}
	j.n++
	b.WriteByte('{')
	first := true
	put := func(name string, v any) error {
		k, err := json.Marshal(name)
		if err != nil {
			return err
		}
		val, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.Write(k)
		b.WriteByte(':')
		b.Write(cleanJSON(val))
		return nil
	}
	for i, c := range h.Columns {
		if r.Values[i] != nil {
			if err := put(c.Name, r.Values[i]); err != nil {
				return err
			}
		}
		if len(r.Uncounted) > i && r.Uncounted[i] > 0 {
			if err := put(c.Name+" uncounted", r.Uncounted[i]); err != nil {
				return err
			}
		}
	}
	if r.Other {
		if err := put("other", true); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	if !j.array {
		b.WriteByte('\n')
	}
	_, err := j.w.Write(b.Bytes())
	return err
}

func (j *jsonRows) end() error {
	if !j.array {
		return nil
	}
	s := "\n]\n"
	if j.n == 0 {
		s = "[]\n"
	}
	_, err := io.WriteString(j.w, s)
	return err
}
