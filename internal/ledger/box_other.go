//go:build !linux

package ledger

import (
	"errors"
	"os"
)

// Agents and aggregators run on Linux; elsewhere books are only read, by weirctl.
var errSystem = errors.New("books in a file need Linux")

func lock(*os.File) error { return errSystem }

func mapped(*os.File, int) ([]byte, error) { return nil, errSystem }
