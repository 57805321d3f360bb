// Command ociimage writes container images without a container engine: one OCI
// image layout (image-spec v1.1) a binary, as a tar archive, with a manifest for
// each platform. An image is the static binary alone, from scratch, run as
// nobody; deployments that need more say so in their manifests.
//
// In: cmd/* of this module. Out: DIR/NAME.tar, which podman, docker, skopeo and
// crane load. The same input gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// platform is a target of the Go compiler and its name in an image index.
type platform struct{ arch, variant, goarm string }

func platforms() []platform {
	return []platform{{arch: "amd64"}, {arch: "arm64"}, {arch: "arm", variant: "v7", goarm: "7"}}
}

func main() {
	out := flag.String("out", "bin/images", "directory of the archives")
	version := flag.String("version", "dev", "tag of the images")
	flag.Parse()
	if err := run(*out, *version); err != nil {
		fmt.Fprintln(os.Stderr, "ociimage:", err)
		os.Exit(1)
	}
}

func run(out, version string) error {
	dirs, err := filepath.Glob("cmd/*")
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return fmt.Errorf("no cmd/* here: run it at the top of the module")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		img := image{name: name, version: version}
		for _, p := range platforms() {
			bin, err := compile(dir, version, p)
			if err != nil {
				return fmt.Errorf("%s for %s%s: %w", name, p.arch, p.variant, err)
			}
			if err := img.add(p, bin); err != nil {
				return err
			}
		}
		path := filepath.Join(out, name+".tar")
		if err := img.write(path); err != nil {
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %d platforms, %.1f MB\n", path, len(img.manifests), float64(st.Size())/1e6)
	}
	return nil
}

// compile builds one static binary and gives its bytes.
func compile(dir, version string, p platform) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "weir-image")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "bin")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", bin, "./"+dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.arch, "GOARM="+p.goarm)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(text)))
	}
	return os.ReadFile(bin)
}
