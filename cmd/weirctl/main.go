// Command weirctl shows the flows of a cluster. Installed as kubectl-weir it is
// `kubectl weir`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/weirnet/weir/internal/cli"
)

var version string // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, version, os.Args, extra()...)
	stop()
	os.Exit(code)
}
