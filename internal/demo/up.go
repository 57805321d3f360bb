package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
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

// startTraffic starts one generator in each pod and one outside, those that only
// serve first: a client that comes early would find them refused.
func startTraffic(ctx context.Context, w *world) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var servers []string
	for i := range w.pods {
		if w.pods[i].name != frontend && w.pods[i].name != cart {
			servers = append(servers, w.pods[i].name)
		}
	}
	for _, names := range [][]string{servers, {outside}, {cart}, {frontend}} {
		for _, name := range names {
			space := prefix + name
			if p := w.pod(name); p != nil && p.host {
				space = prefix + p.node
			}
			if err := start(process{name: "pod-" + name, space: space, path: self, args: []string{"demo", "pod", name}}); err != nil {
				return err
			}
		}
		if err := serving(ctx, names); err != nil {
			return err
		}
	}
	return nil
}

// stopTraffic ends the generators, those that dial first: what they close, the
// others still answer.
func stopTraffic() error {
	for _, name := range []string{frontend, cart, outside, ""} {
		if name == "" {
			time.Sleep(2 * time.Second) // the servers of the vanished let go a second later
		}
		if err := stopProcesses(" demo pod "+name, 15*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// serving waits until the generators of those pods have opened their servers.
func serving(ctx context.Context, names []string) error {
	deadline := time.Now().Add(10 * time.Second)
	for _, name := range names {
		for !isFile(madeFile(name)) {
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("the traffic of %s does not start: %s", name, logTail("pod-"+name))
			}
			pause(ctx, 5*time.Millisecond)
		}
	}
	return nil
}
