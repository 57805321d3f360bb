package elastic

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// A data stream writes to its newest backing index, and keeps an id single within each of
// them only. Where a request may have been carried out without an answer, and the data
// stream was rolled over before it came again, a document would be there twice. So after a
// request whose records may have been sent before, the backing indices that could have
// taken them are asked for its ids, and of two copies the younger is deleted.

// skew is how much clocks may differ: those of nodes, of this process and of the server.
const skew = time.Hour

// copyChunk is how many ids are asked for at once.
const copyChunk = 2000

type backing struct {
	name    string
	created int64 // milliseconds since the Unix epoch
}

// backings gives the backing indices of the data stream, oldest first.
func (s *Sink) backings(ctx context.Context) ([]backing, error) {
	var all map[string]struct {
		Settings map[string]string `json:"settings"`
	}
	const date = "index.creation_date"
	path := "/" + s.cfg.Index + "/_settings/" + date + "?flat_settings=true&expand_wildcards=all"
	if err := s.cl.call(ctx, http.MethodGet, path, nil, &all); err != nil {
		return nil, fmt.Errorf("ask for the backing indices: %w", err)
	}
	out := make([]backing, 0, len(all))
	for name, v := range all {
		ms, err := strconv.ParseInt(v.Settings[date], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", date, name, err)
		}
		out = append(out, backing{name, ms})
	}
	slices.SortFunc(out, func(a, b backing) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.name, b.name))
	})
	return out, nil
}

// since leaves the backing indices that were written to at that time or later.
func since(all []backing, ms int64) []backing {
	for len(all) > 1 && all[1].created < ms {
		all = all[1:]
	}
	return all
}

// dropCopies deletes the younger of two documents with the same id, for the ids in landed.
func (s *Sink) dropCopies(ctx context.Context) error {
	b := &s.batch
	all, err := s.backings(ctx)
	if err != nil {
		return err
	}
	from := b.tried.UnixMilli()
	if s.young > 0 { // the process before had the records no earlier than they ended
		from = b.oldest
	}
	all = since(all, from-skew.Milliseconds())
	if len(all) < 2 {
		b.landed = b.landed[:0]
		return nil
	}
	for len(b.landed) > 0 {
		n := min(len(b.landed), max(1, copyChunk/len(all)))
		if err := s.dropCopiesOf(ctx, b.landed[:n], all); err != nil {
			return err
		}
		b.landed = b.landed[n:]
	}
	b.landed = nil
	return nil
}

func (s *Sink) dropCopiesOf(ctx context.Context, ids []flow.UUID, all []backing) error {
	type doc struct {
		Index  string `json:"_index"`
		ID     string `json:"_id"`
		Source bool   `json:"_source"`
	}
	var ask struct {
		Docs []doc `json:"docs"`
	}
	for _, id := range ids {
		for i := range all {
			ask.Docs = append(ask.Docs, doc{all[i].name, string(s.enc.appendID(nil, id)), false})
		}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	var got struct {
		Docs []struct {
			Found bool `json:"found"`
		} `json:"docs"`
	}
	if err := s.cl.call(ctx, http.MethodPost, "/_mget?filter_path=docs.found,docs._id", body, &got); err != nil {
		return fmt.Errorf("look for copies after a rollover: %w", err)
	}
	if len(got.Docs) != len(ask.Docs) {
		return fmt.Errorf("look for copies after a rollover: %d answers for %d documents", len(got.Docs), len(ask.Docs))
	}
	var lines []byte
	for i := range ids {
		there := false
		for k := range all {
			d := i*len(all) + k
			if got.Docs[d].Found && there {
				lines = fmt.Appendf(lines, "{\"delete\":{\"_index\":%q,\"_id\":%q}}\n", all[k].name, s.enc.appendID(nil, ids[i]))
			}
			there = there || got.Docs[d].Found
		}
	}
	return s.deleteAll(ctx, lines)
}

func (s *Sink) deleteAll(ctx context.Context, lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	a, err := s.cl.do(ctx, request{method: http.MethodPost, path: "/_bulk?filter_path=items.*.status,items.*.error", body: lines, lines: true})
	if err == nil && a.status/100 != 2 {
		err = failure(a)
	}
	if err != nil {
		return fmt.Errorf("delete copies after a rollover: %w", err)
	}
	var out struct {
		Items []struct{ Delete item } `json:"items"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		return fmt.Errorf("delete copies after a rollover: %w", err)
	}
	for i := range out.Items {
		it := &out.Items[i].Delete
		if it.Status/100 != 2 && it.Status != http.StatusNotFound {
			return &statusError{status: it.Status, host: a.host, typ: it.Error.Type, reason: "delete copies after a rollover: " + it.reason()}
		}
		s.m.copies.Add(1)
	}
	return nil
}
