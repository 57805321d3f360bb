package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// errPipes are what a write meets whose reader has gone.
var errPipes = []error{windows.ERROR_BROKEN_PIPE, windows.ERROR_NO_DATA}

// prepare has the console obey the sequences that paint (ENABLE_VIRTUAL_TERMINAL_PROCESSING).
// What is no console stays as it is.
func prepare(out *os.File) {
	var mode uint32
	if h := windows.Handle(out.Fd()); windows.GetConsoleMode(h, &mode) == nil {
		_ = windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	}
}
