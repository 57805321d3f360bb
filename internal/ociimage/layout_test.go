package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLayout walks an archive as a reader does: index, manifests, blobs, each with
// the digest by which it is named.
func TestLayout(t *testing.T) {
	img := image{name: "weirctl", version: "v1"}
	for _, p := range platforms() {
		if err := img.add(p, []byte("binary for "+p.arch)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := img.write(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	blobs := 0
	for name, data := range files {
		if sum, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			blobs++
			if digest(data) != "sha256:"+sum {
				t.Errorf("%s holds %s", name, digest(data))
			}
		}
	}
	if blobs != 3*3+1 {
		t.Errorf("%d blobs, want a layer, a config and a manifest for 3 platforms, and the index", blobs)
	}
	var top, index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(files["index.json"], &top); err != nil {
		t.Fatal(err)
	}
	read := func(d descriptor) []byte {
		b := files["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if len(b) != d.Size {
			t.Errorf("%s has %d bytes, its descriptor says %d", d.Digest, len(b), d.Size)
		}
		return b
	}
	if err := json.Unmarshal(read(top.Manifests[0]), &index); err != nil {
		t.Fatal(err)
	}
	for i, p := range platforms() {
		if got := index.Manifests[i].Platform; got.Architecture != p.arch || got.Variant != p.variant {
			t.Errorf("manifest %d is for %+v, want %+v", i, got, p)
		}
		read(index.Manifests[i])
	}
}
