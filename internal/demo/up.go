package demo

import (
	"fmt"
	"os"
	"path/filepath"
)

// up clears what an earlier demo left, builds the world and starts its traffic.
func up() (*world, error) {
	if err := down(); err != nil {
		return nil, fmt.Errorf("clear what an earlier demo left: %w", err)
	}
	w, err := readWorld()
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"log", "made", "certs"} {
		if err := os.MkdirAll(filepath.Join(runDir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := writeManifests(filepath.Join(runDir, "manifests")); err != nil {
		return nil, err
	}
	return w, build(w)
}

// startTraffic starts one generator in each pod and one outside, servers first:
// a client that comes early would find them refused.
func startTraffic(w *world) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	names := []string{outside}
	for i := range w.pods {
		if w.pods[i].name != frontend && w.pods[i].name != cart {
			names = append(names, w.pods[i].name)
		}
	}
	for _, name := range append(names, cart, frontend) {
		space := prefix + name
		if p := w.pod(name); p != nil && p.host {
			space = prefix + p.node
		}
		if err := start(process{name: "pod-" + name, space: space, path: self, args: []string{"demo", "pod", name}}); err != nil {
			return err
		}
	}
	return nil
}
