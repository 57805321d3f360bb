// Command ctrecord records the conntrack of a network namespace for a while, for
// weir-agent --replay and for tests. It needs CAP_NET_ADMIN.
//
//	go run ./internal/gen/ctrecord -netns /run/netns/weir-demo-node-a -for 20s -out FILE
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/weirnet/weir/exporter/conntrack"
)

func main() {
	netns := flag.String("netns", "", "path of the network namespace; empty for this one")
	out := flag.String("out", "", "file to write")
	length := flag.Duration("for", 20*time.Second, "how long")
	flag.Parse()
	if err := run(*netns, *out, *length); err != nil {
		fmt.Fprintln(os.Stderr, "ctrecord:", err)
		os.Exit(1)
	}
}

func run(netns, out string, length time.Duration) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	if err := conntrack.Record(ctx, f, conntrack.Options{NetNS: netns}, 2*time.Second); err != nil {
		return err
	}
	return f.Close()
}
