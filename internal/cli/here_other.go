//go:build !linux

package cli

import (
	"context"
	"net/netip"
	"runtime"

	"github.com/weirnet/weir/exporter/coverage"
	"github.com/weirnet/weir/internal/canary"
)

// hereIsNoNode is why this machine can be no node: conntrack, network namespaces and
// what else a look needs are Linux's.
const hereIsNoNode = "it looks at the kernel of the machine that it runs on, which has to be Linux, and this is " + runtime.GOOS

type probePlan struct{}

func inspectHere(context.Context, string, string) coverage.Table { return coverage.Table{} }

func openCanaries(context.Context, string, []netip.Addr, probePlan) ([]canary.Sent, []canary.Skipped, error) {
	return nil, nil, nil
}
