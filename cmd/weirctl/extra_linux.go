package main

import (
	"github.com/spf13/cobra"

	"github.com/weirnet/weir/internal/demo"
)

// extra are the commands that there are on Linux alone.
func extra() []*cobra.Command { return []*cobra.Command{demo.Command()} }
