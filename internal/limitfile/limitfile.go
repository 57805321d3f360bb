// Package limitfile reads files that an operator names: configuration, certificates,
// tokens, manifests.
//
// In: a path and how large such a file may be. Out: its bytes, or an error that
// names it. A path that was mistaken for another, /dev/zero or a disk image, is refused
// instead of filling the memory. It keeps nothing; if we die here, nothing is lost.
package limitfile

import (
	"fmt"
	"io"
	"os"
)

// Read reads the file at path, pipes too, if it has at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s holds more than the %d KiB that are read: is it the right file?", path, limit>>10)
	}
	return b, nil
}
