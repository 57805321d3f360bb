//go:build !linux

package obs

import (
	"errors"
	"os"
)

// A character device is close enough where there is no TIOCGWINSZ in x/sys for us.
func winsize(f *os.File) (int, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if st.Mode()&os.ModeCharDevice == 0 {
		return 0, errors.New("not a terminal")
	}
	return 80, nil
}
