package cli

import (
	"context"
	"net/netip"

	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/exporter/inspect"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/probe"
)

// hereIsNoNode is why this machine can be no node.
const hereIsNoNode = ""

type probePlan = probe.Plan

func inspectHere(ctx context.Context, host, netns string) coverage.Table {
	f := inspect.New(inspect.Options{Node: host, NetNS: netns}).Look(ctx)
	t := coverage.Decide(&f)
	if f.Denied == "" {
		t.Pressure, _ = inspect.Pressure(ctx, netns) // what stands in the way is in the table
	}
	return t
}

func openCanaries(ctx context.Context, netns string, addrs []netip.Addr, plan probePlan) ([]canary.Sent, []canary.Skipped, error) {
	return probe.Open(ctx, probe.Options{NetNS: netns, Addresses: addrs, Plan: plan})
}
