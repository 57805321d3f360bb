package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/internal/cluster"
)

func TestChanges(t *testing.T) {
	s, h := server(t, 8)
	if code, body := get(t, h.URL+"/api/v1/changes"); code != 404 || !strings.Contains(body, "keeps no changes") {
		t.Errorf("without a journal: %d %s", code, body)
	}
	all := []cluster.Change{
		{TimeMs: 1000, Kind: cluster.ChangeRollout, Namespace: "shop", Object: "Deployment/pay"},
		{TimeMs: 2000, Kind: cluster.ChangePolicy, Namespace: "mon", Object: "NetworkPolicy/in"},
		{TimeMs: 3000, Kind: cluster.ChangeNode, Object: "Node/n1"},
	}
	var asked ChangeQuery
	s.Changes = func(q ChangeQuery) Changes {
		asked = q
		c := Changes{Source: "test"}
		for i := range all {
			if q.Wants(&all[i]) {
				c.Changes = append(c.Changes, all[i])
			}
		}
		return c
	}
	for _, c := range []struct {
		query string
		code  int
		want  string
	}{
		{"", 200, "Deployment/pay NetworkPolicy/in Node/n1"},
		{"kind=policy&kind=node", 200, "NetworkPolicy/in Node/n1"},
		{"ns=shop", 200, "Deployment/pay Node/n1"},
		{"kind=restart", 200, ""},
		{"kind=rollouts", 400, `kind: "rollouts" is unknown: use one of [rollout policy endpoints node restart agent conntrack]`},
		{"since=1h&until=2h", 400, "until: it is before since"},
		{"since=noon", 400, `since: "noon" is no time`},
		{"limit=0", 400, `limit: "0" is out of range`},
		{"namespace=x", 400, `unknown parameter "namespace": use since, until, kind, ns, limit`},
	} {
		code, body := get(t, h.URL+"/api/v1/changes?"+c.query)
		if code != 200 {
			var f Failure
			if err := json.Unmarshal([]byte(body), &f); err != nil || code != c.code || !strings.HasPrefix(f.Error, c.want) {
				t.Errorf("%s: %d %s, want %d %s", c.query, code, body, c.code, c.want)
			}
			continue
		}
		var got Changes
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, x := range got.Changes {
			names = append(names, x.Object)
		}
		if d := cmp.Diff(c.want, strings.Join(names, " ")); d != "" || code != c.code || strings.Contains(body, "null") {
			t.Errorf("%s: %d %s", c.query, code, d)
		}
	}
	now := time.UnixMilli(10_000_000_000)
	q, err := parseChanges(url.Values{}, now)
	if err != nil || q.FromMs != now.UnixMilli()-3600_000 || q.ToMs != now.UnixMilli()+1 || q.Limit != changesLimit {
		t.Errorf("defaults: %+v %v, asked %+v", q, err, asked)
	}
}
