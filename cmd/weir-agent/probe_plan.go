package main

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/sockets"
	"github.com/weirnet/weir/internal/probe"
)

// ways knows where canaries can go beyond this node, and answers those of others.
type ways struct {
	mu       sync.Mutex
	holders  *sockets.Holders
	planner  probe.Planner
	index    lookup
	answerer probe.Answerer
	listen   bool
	netns    string
	turn     int
}

const placesEvery = 5 * time.Second

// plan gives the ways of the present turn; with next, of the one after.
func (w *ways) plan(next bool) probe.Plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	if next {
		w.turn++
	}
	return w.planner.Make(w.turn)
}

// addresses gives this node's own: those of the configuration, else the first of each
// family, as soon as there are any.
func (w *ways) addresses() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.planner.Addresses) == 0 {
		w.planner.Addresses, _ = probe.NodeAddresses(w.netns) // without any, a run says why
	}
	return slices.Clone(w.planner.Addresses)
}

// answer keeps the places open at which canaries of others are answered.
func (w *ways) answer(ctx context.Context) {
	tick := time.NewTicker(placesEvery)
	defer tick.Stop()
	for {
		w.addresses()
		w.answerer.Set(ctx, w.places())
		select {
		case <-ctx.Done():
			w.answerer.Set(ctx, nil)
			return
		case <-tick.C:
		}
	}
}

// places are this node's own addresses, where there may be other nodes, and its canary
// pods'.
func (w *ways) places() (out []probe.Place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.planner
	if !w.listen || p.Cluster == nil && len(p.Peers) == 0 {
		return nil
	}
	for _, a := range p.Addresses {
		out = append(out, probe.Place{NetNS: w.netns, Addr: a})
	}
	if p.Namespace == "" {
		return out
	}
	for _, pod := range p.Cluster.Pods(p.Namespace) {
		if pod.Done || pod.Node() != p.Node {
			continue
		}
		for _, a := range pod.IPs {
			if path, ok := w.holders.Find(a); ok {
				out = append(out, probe.Place{NetNS: path, Addr: a})
			}
		}
	}
	return out
}

// allow says whose canaries are answered: nodes' and canary pods'.
func (w *ways) allow(a netip.Addr) bool {
	if slices.Contains(w.planner.Peers, a) || slices.Contains(w.addresses(), a) {
		return true
	}
	if w.index == nil {
		return false
	}
	id := w.index.Lookup(flow.Addr16(a), 0, 0, time.Now().UnixMilli())
	return id != nil && (id.Kind == flow.EndNode || id.Namespace != "" && id.Namespace == w.planner.Namespace)
}
