//go:build !linux

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// extra says of the commands that there are on Linux alone that they are.
func extra() []*cobra.Command {
	return []*cobra.Command{{
		Use: "demo", Short: "Bring up a small world in network namespaces (on Linux)", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("the demo lives in network namespaces, which need Linux")
		},
	}}
}
