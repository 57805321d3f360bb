package elastic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// verdict is what becomes of an item.
type verdict uint8

const (
	taken verdict = iota // it is in the index
	later                // the server has no room for it now
	never                // it can never go in
)

// item is the answer for one document.
type item struct {
	Status int `json:"status"`
	Error  struct {
		Type     string `json:"type"`
		Reason   string `json:"reason"`
		CausedBy struct {
			Reason string `json:"reason"`
		} `json:"caused_by"`
	} `json:"error"`
}

func (i *item) verdict() verdict {
	switch {
	case i.Status/100 == 2, i.Status == http.StatusConflict:
		return taken
	case i.Status == http.StatusBadRequest:
		return never
	default: // too many requests, a block, a shard that is not there, no rights: the server's state
		return later
	}
}

// reason is all that the server says.
func (i *item) reason() string {
	if c := i.Error.CausedBy.Reason; c != "" {
		return i.Error.Reason + ": " + c
	}
	return i.Error.Reason
}

// reply is the answer for a request.
type reply struct {
	host           string
	unsure         bool
	items          []item
	created, there uint64
}

// wanted is what of the answer is read.
const wanted = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"

// bulk sends the request that the encoder holds.
func (s *Sink) bulk(ctx context.Context) (reply, error) {
	body, err := s.enc.compress()
	if err != nil {
		return reply{}, err
	}
	path := wanted
	if s.enc.elk == "" {
		path = "/" + s.cfg.Index + path
	}
	s.m.bytes.Add(uint64(len(body)))
	a, err := s.cl.do(ctx, request{method: http.MethodPost, path: path, body: body, gzip: true, lines: true})
	if err != nil {
		return reply{}, err
	}
	if a.status/100 != 2 {
		return reply{}, failure(a)
	}
	out := reply{host: a.host, unsure: a.unsure}
	if bytes.HasPrefix(a.body, []byte(`{"errors":false`)) {
		out.items = make([]item, len(s.enc.docs))
		for i := range out.items {
			out.items[i].Status = http.StatusCreated
		}
		out.created = uint64(len(out.items))
		return out, nil
	}
	var full struct {
		Items []map[string]item `json:"items"`
	}
	if err := json.Unmarshal(a.body, &full); err != nil {
		// It may have been carried out.
		return reply{}, unsureError{fmt.Errorf("answer of %s to _bulk: %w", a.host, err)}
	}
	for _, m := range full.Items {
		for _, it := range m {
			out.items = append(out.items, it)
			switch {
			case it.Status/100 == 2:
				out.created++
			case it.Status == http.StatusConflict:
				out.there++
			}
		}
	}
	return out, nil
}
