package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// diary runs events through a Model and its Journal and writes down what is told.
type diary struct {
	m   *Model
	j   *Journal
	out []string
}

func newDiary() *diary {
	m := NewModel(DefaultLimits())
	return &diary{m: m, j: NewJournal(m)}
}

func (d *diary) do(now int64, e Event) {
	d.m.Apply(now, e)
	for _, c := range d.j.Observe(now, e) {
		bad := ""
		if c.Bad {
			bad = " !"
		}
		d.out = append(d.out, fmt.Sprintf("%d %s %s %s %s%s", c.TimeMs, c.Kind, c.Namespace, c.Object, c.What, bad))
	}
}

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, d.out); diff != "" {
		t.Error(diff)
	}
	d.out = nil
}

func payPod(name, template, image string, port uint16, start int64) *Pod {
	return &Pod{
		Namespace: "shop", Name: name, UID: UID{name[len(name)-1]}, Owner: Owner{"ReplicaSet", "pay-" + template}, TemplateHash: template,
		Images: []string{image}, Ports: []Port{{Proto: ProtoTCP, Number: port}}, StartMs: start,
	}
}

func TestJournalRollouts(t *testing.T) {
	d := newDiary()
	const hour = 3600_000
	d.do(10*hour, Event{Pod: payPod("pay-1-a", "1", "pay:1", 8443, hour)}) // old: no news
	d.do(10*hour, Event{Pod: payPod("pay-1-b", "1", "pay:1", 8443, hour)})
	d.want(t)
	d.j.Synced()
	d.do(10*hour+1000, Event{Pod: payPod("pay-2-c", "2", "pay:2", 8080, 10*hour+500)})
	d.want(t, "36000500 rollout shop Deployment/pay rolled out pay-2-c: image pay:2, port 8080, was image pay:1, port 8443")
	d.do(10*hour+2000, Event{Pod: payPod("pay-2-d", "2", "pay:2", 8080, 10*hour+500)})
	d.do(10*hour+2000, Event{Pod: payPod("pay-1-a", "1", "pay:1", 8443, hour), Delete: true})
	d.do(10*hour+2000, Event{Pod: payPod("pay-1-b", "1", "pay:1", 8443, hour), Delete: true})
	d.want(t)
	p := payPod("pay-2-d", "2", "pay:2", 8080, 10*hour+500)
	p.Restarts = 2
	d.do(10*hour+3000, Event{Pod: p})
	d.do(10*hour+3001, Event{Pod: p})
	d.want(t, "36003000 restart shop Pod/pay-2-d restarted a container (2 restarts) !")
	// A pod of the same template is replaced: no rollout, even if it is the only one.
	d.do(10*hour+4000, Event{Pod: payPod("pay-2-c", "2", "pay:2", 8080, 0), Delete: true})
	d.do(10*hour+4000, Event{Pod: payPod("pay-2-d", "2", "pay:2", 8080, 0), Delete: true})
	d.do(10*hour+4000, Event{Pod: payPod("pay-2-e", "2", "pay:2", 8080, 0)})
	d.want(t)
	// Back to the first template is a rollout again.
	d.do(10*hour+5000, Event{Pod: payPod("pay-1-f", "1", "pay:1", 8443, 0)})
	d.want(t, "36005000 rollout shop Deployment/pay rolled out pay-1-f: image pay:1, port 8443, was image pay:2, port 8080")
	// A bare pod is nobody's rollout; a new workload says so.
	d.do(10*hour+6000, Event{Pod: &Pod{Namespace: "shop", Name: "toolbox", UID: UID{9}}})
	d.do(10*hour+6000, Event{Pod: &Pod{Namespace: "shop", Name: "db-0", UID: UID{8}, Owner: Owner{"StatefulSet", "db"}, TemplateHash: "db-1", Images: []string{"pg"}}})
	d.want(t, "36006000 rollout shop StatefulSet/db first pods: image pg")
	if len(d.j.workloads) > 4 {
		t.Errorf("%d workloads are remembered", len(d.j.workloads))
	}
}

func TestJournalOthers(t *testing.T) {
	d := newDiary()
	slice := func(name string, port uint16, ready, unready int) Event {
		s := &EndpointSlice{Namespace: "shop", Name: name, Service: "pay", Ports: []Port{{Proto: ProtoTCP, Number: port}}}
		for i := range ready + unready {
			a := netip.AddrFrom4([4]byte{10, 0, name[0], byte(i)})
			s.Addresses = append(s.Addresses, a)
			if i >= ready {
				s.Unready = append(s.Unready, a)
			}
		}
		return Event{Endpoints: s}
	}
	d.do(1000, slice("a", 8443, 2, 0))
	d.do(1000, Event{Node: &Node{Name: "n1", StartMs: 1}})
	d.do(1000, Event{NetworkPolicy: named("shop", "in", 1, 1, "v1")})
	d.want(t)
	d.j.Synced()

	d.do(2000, slice("b", 8443, 1, 0)) // another slice
	d.do(2001, slice("a", 8443, 0, 2)) // one is left
	d.want(t)
	d.do(2002, slice("b", 8443, 0, 1))
	d.want(t, "2002 endpoints shop Service/pay has no ready endpoint (had 1) !")
	d.do(2003, slice("a", 8443, 1, 1))
	d.want(t, "2003 endpoints shop Service/pay has 1 ready endpoints again")
	d.do(2004, slice("a", 8080, 1, 1))
	d.want(t, "2004 endpoints shop Service/pay endpoints moved to port 8080, 8443, was 8443")

	d.do(3000, Event{Node: &Node{Name: "n1", StartMs: 1, NotReady: true}})
	d.do(3001, Event{Node: &Node{Name: "n1", StartMs: 1, NotReady: true}})
	d.do(3002, Event{Node: &Node{Name: "n1", StartMs: 1}})
	d.do(3003, Event{Node: &Node{Name: "n2", StartMs: 2900}})
	d.do(3004, Event{Node: &Node{Name: "n1"}, Delete: true})
	d.want(t, "3000 node  Node/n1 is not ready !", "3002 node  Node/n1 is ready again", "2900 node  Node/n2 joined the cluster", "3004 node  Node/n1 removed from the cluster !")

	p := named("shop", "in", 1, 1, "v1")
	d.do(4000, Event{NetworkPolicy: p}) // told again
	p = named("shop", "in", 1, 1, "v2")
	p.IngressRules = []PolicyRule{{Peers: []PolicyPeer{{Pods: &Selector{{"app", In, []string{"web"}}}}, {Block: netip.MustParsePrefix("10.0.0.0/8"), Except: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}, Ports: []PolicyPort{{Proto: ProtoTCP, From: 80, To: 81}, {Proto: ProtoUDP, Name: "dns"}}}}
	d.do(4001, Event{NetworkPolicy: p})
	d.do(4002, Event{NetworkPolicy: p, Delete: true})
	d.do(4003, Event{NetworkPolicy: p, Delete: true})
	d.want(t,
		"4001 policy shop NetworkPolicy/in changed: v2: ingress app=web or 10.0.0.0/8 without 10.1.0.0/16 at TCP 80-81 or UDP dns; was: v1: no ingress",
		"4002 policy shop NetworkPolicy/in deleted")
}

// TestJournalAfterARestart: what is young at the start is told with its own time,
// and has the same number as when it was told before.
func TestJournalAfterARestart(t *testing.T) {
	live, again := newDiary(), newDiary()
	live.j.Synced()
	e := Event{NetworkPolicy: named("shop", "in", 1, 5_000_000, "v1")}
	a := live.j.Observe(5_000_300, e)
	b := again.j.Observe(6_000_000, e)
	if len(a) != 1 || len(b) != 1 || a[0].ID == 0 || a[0] != b[0] {
		t.Errorf("live %+v, after a restart %+v", a, b)
	}
	if c := newDiary().j.Observe(5_000_000+recent+1, e); len(c) != 0 {
		t.Errorf("an old object is news: %+v", c)
	}
}

// TestChangeIDsAreText: a number of 64 bits survives a reader that has 53, and files of
// former versions are read.
func TestChangeIDsAreText(t *testing.T) {
	c := Change{ID: 0xfedcba9876543210, Kind: ChangeNode}
	b, err := json.Marshal(c)
	if err != nil || !bytes.Contains(b, []byte(`"id":"fedcba9876543210"`)) {
		t.Fatalf("%s, %v", b, err)
	}
	for _, text := range []string{string(b), `{"id":18364758544493064720,"kind":"node"}`} {
		var back Change
		if err := json.Unmarshal([]byte(text), &back); err != nil || back.ID != c.ID {
			t.Errorf("%s is %x, %v", text, uint64(back.ID), err)
		}
	}
	for _, text := range []string{`{"id":"x"}`, `{"id":-1}`, `{"id":""}`, `{"id":"1fedcba9876543210"}`} {
		if err := json.Unmarshal([]byte(text), &Change{}); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
