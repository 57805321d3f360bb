package limitfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 2048), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path, 2048); err != nil || len(b) != 2048 {
		t.Errorf("a file of the limit: %d bytes, %v", len(b), err)
	}
	for _, c := range []struct {
		path string
		want string
	}{
		{path, "holds more than the 1 KiB that are read"},
		{"/dev/zero", "/dev/zero holds more"},
		{path + "x", "no such file"},
		{filepath.Dir(path), "is a directory"},
	} {
		limit := int64(1024)
		if _, err := Read(c.path, limit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
	}
}
