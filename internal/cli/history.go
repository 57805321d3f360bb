package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// textFields are the fields that the forms for people print.
var textFields = []flow.FieldID{
	flow.FStart, flow.FEnd, flow.FEndReason, flow.FSrcIP, flow.FDstIP, flow.FSrcPort, flow.FDstPort, flow.FProto, flow.FICMP,
	flow.FPackets, flow.FBytes, flow.FRevPackets, flow.FRevBytes, flow.FSrcPod, flow.FSrcNS, flow.FSrcNode, flow.FDstPod, flow.FDstNS, flow.FDstNode,
	flow.FSvcPortName, flow.FIngressPolicy, flow.FIngressPolicyNS, flow.FIngressRule, flow.FEgressPolicy, flow.FEgressPolicyNS, flow.FEgressRule,
	flow.FTCPState, flow.FOutcome, flow.FEvidence, flow.FSeenBy, flow.FScope, flow.FSrcKind, flow.FDstKind, flow.FSrcWorkload, flow.FDstWorkload,
	flow.FSrcName, flow.FDstName, flow.FRTT, flow.FLossPackets, flow.FLossRevPackets, flow.FConnID, flow.FHalf, flow.FDNSQuery, flow.FDNSRcode, flow.FDNSTime,
	flow.FDstListen, flow.FDstListens, flow.FDstBacklog, flow.FDstBacklogMax, flow.FFinal,
}

// historyFields names the columns to ask for: of all that a record has, a row of the
// history has what is not a delta.
func historyFields(form string) string {
	list := textFields
	if form == "json" || form == "jsonl" || form == "csv" {
		list = flow.AllFields()
	}
	names := make([]string, 0, len(list))
	for _, f := range list {
		if name := flow.Fields[f].Name; !strings.HasSuffix(name, "_delta") {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// spans are how far back is looked for the newest connections where no --since is
// given: a short range is cheap to read, and mostly enough.
var spans = []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour}

// history is what /api/v1/query found, oldest first.
type history struct {
	recs []flow.Record
	cut  bool // there are more than the server gives at once
	tail api.Tail
}

// askHistory asks for connections in the range: the newest o.last, the oldest o.first, or
// all. It gives errNoHistory where the aggregator keeps none.
func (o *observe) askHistory(ctx context.Context, since, until time.Time) (*history, error) {
	if !since.IsZero() {
		return o.askRange(ctx, since, until)
	}
	end := until
	if end.IsZero() {
		end = o.style.now
	}
	if o.first > 0 {
		return o.askRange(ctx, end.Add(-time.Hour), until)
	}
	var h *history
	for _, d := range spans {
		wider, err := o.askRange(ctx, end.Add(-d), until)
		if err != nil {
			if h != nil && ctx.Err() == nil && !o.quiet {
				fmt.Fprintf(o.env.Err, "only the %v before are shown: %s\n", spans[0], clean(err.Error()))
				return h, nil
			}
			return h, err
		}
		if h = wider; len(h.recs) >= o.last {
			break
		}
	}
	return h, nil
}

func (o *observe) askRange(ctx context.Context, since, until time.Time) (*history, error) {
	text := ""
	if o.expr != nil {
		text = query.FormatExpr(o.expr) + " "
	}
	v := url.Values{}
	if o.first > 0 {
		text += "| sort end "
		v.Set("limit", strconv.Itoa(o.first))
	} else if o.last > 0 {
		v.Set("limit", strconv.Itoa(o.last))
	}
	v.Set("q", text+"| fields "+historyFields(o.output))
	putRange(v, since, until)
	body, err := o.api.postQuery(ctx, v)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	h := &history{}
	var ids []flow.FieldID
	_, tail, err := readAnswer(o.api, body, func(head *api.Head) error {
		for _, c := range head.Columns {
			f, ok := flow.FieldByName(c.Name)
			if !ok {
				return fmt.Errorf("unknown column %.60q", c.Name)
			}
			ids = append(ids, f)
		}
		return nil
	}, func(_ *api.Head, r *query.Row) error {
		var rec flow.Record
		if err := setRow(&rec, ids, r.Values); err != nil {
			return err
		}
		h.recs = append(h.recs, rec)
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.tail, h.cut = *tail, tail.Cut && o.last == 0 && o.first == 0
	if o.first == 0 { // they came newest first
		for i, j := 0, len(h.recs)-1; i < j; i, j = i+1, j-1 {
			h.recs[i], h.recs[j] = h.recs[j], h.recs[i]
		}
	}
	return h, nil
}

// setRow makes a record of a row.
func setRow(rec *flow.Record, ids []flow.FieldID, values []any) error {
	for i, v := range values {
		if v == nil {
			continue
		}
		s := fmt.Sprint(v)
		if ids[i] == flow.FProto {
			for _, p := range flow.Protocols {
				if p.Word == s {
					s = strconv.Itoa(int(p.Number))
					break
				}
			}
		}
		if err := rec.SetText(ids[i], s); err != nil {
			return err
		}
	}
	return nil
}

// keepsNone reports whether err is an aggregator's that answers no queries.
func keepsNone(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusNotFound
}
