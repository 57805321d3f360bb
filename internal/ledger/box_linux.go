package ledger

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps other processes from opening f as a book.
func lock(f *os.File) error {
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return errors.New("is in use by another process: stop it, or use another directory")
	}
	return nil
}

// mapped is the first bytes of f as memory that the kernel writes back.
func mapped(f *os.File, bytes int) ([]byte, error) {
	return syscall.Mmap(int(f.Fd()), 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}
