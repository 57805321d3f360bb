//go:build !windows

package cli

import (
	"os"
	"syscall"
)

// errPipes are what a write meets whose reader has gone.
var errPipes = []error{syscall.EPIPE}

// prepare has the terminal obey the sequences that paint: here every one does.
func prepare(*os.File) {}
