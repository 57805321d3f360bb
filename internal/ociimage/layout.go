package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"time"
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor points at a blob (image-spec, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *target           `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type target struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

type blob struct {
	digest string
	data   []byte
}

// image is one image of several platforms, in the making.
type image struct {
	name, version string
	blobs         []blob
	manifests     []descriptor
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (m *image) put(mediaType string, data []byte) descriptor {
	d := digest(data)
	m.blobs = append(m.blobs, blob{d, data})
	return descriptor{MediaType: mediaType, Digest: d, Size: len(data)}
}

func (m *image) putJSON(mediaType string, v any) (descriptor, error) {
	raw, err := json.Marshal(v)
	return m.put(mediaType, raw), err
}

// add adds the image of one platform: a layer with the binary and what it needs.
func (m *image) add(p platform, bin []byte) error {
	plain, err := archive([]file{
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\n")},
		{m.name, 0o755, bin},
	})
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	gz := gzip.NewWriter(&packed)
	if _, err := gz.Write(plain); err != nil {
		return err
	}
	if err := gz.Close(); err != nil {
		return err
	}
	layer := m.put(typeLayer, packed.Bytes())
	on := &target{Architecture: p.arch, OS: "linux", Variant: p.variant}
	config, err := m.putJSON(typeConfig, map[string]any{
		"architecture": on.Architecture, "os": on.OS, "variant": on.Variant,
		"config": map[string]any{
			"Entrypoint": []string{"/" + m.name}, "User": "65534:65534", "WorkingDir": "/",
			"Labels": map[string]string{"org.opencontainers.image.title": m.name, "org.opencontainers.image.version": m.version, "org.opencontainers.image.licenses": "Apache-2.0"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(plain)}},
	})
	if err != nil {
		return err
	}
	d, err := m.putJSON(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{layer}})
	if err != nil {
		return err
	}
	d.Platform = on
	m.manifests = append(m.manifests, d)
	return nil
}

// write writes the layout as a tar archive.
func (m *image) write(path string) error {
	index, err := m.putJSON(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": m.manifests})
	if err != nil {
		return err
	}
	index.Annotations = map[string]string{"org.opencontainers.image.ref.name": m.version, "io.containerd.image.name": "weir/" + strings.TrimPrefix(m.name, "weir-") + ":" + m.version}
	top, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}})
	if err != nil {
		return err
	}
	files := []file{{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", 0o644, top}}
	for _, b := range m.blobs {
		files = append(files, file{"blobs/sha256/" + b.digest[len("sha256:"):], 0o644, b.data})
	}
	raw, err := archive(files)
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o644)
}

type file struct {
	name string
	mode int64
	data []byte
}

// archive makes a tar of files without a date.
func archive(files []file) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}
