package s3

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// state is the file that makes an upload repeatable: which records it has, written before
// the first object is sent, and that it is done, written behind the last. A process that
// was killed in between is followed by one that sends the same objects again.
type state struct {
	Spool string `json:"spool"`
	From  uint64 `json:"from"` // position of the first record
	To    uint64 `json:"to"`   // position behind the last one
	Done  bool   `json:"done"`
}

func readState(path string) (st state, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return state{}, fmt.Errorf("state of the uploads in %s: %w: if it cannot be mended, remove it; the last upload may then be there twice", path, err)
	}
	return st, nil
}

// write replaces the file as a whole, and is on the disk when it returns.
func (st *state) write(path string) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("state of the uploads: %w", err)
	}
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("state of the uploads: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("state of the uploads: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("state of the uploads: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}
