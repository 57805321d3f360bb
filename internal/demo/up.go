package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// up clears what an earlier demo left, builds the world and starts its traffic.
func up() (*world, error) {
	if err := down(); err != nil {
		return nil, fmt.Errorf("clear what an earlier demo left: %w", err)
	}
	w, err := readWorld(false)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"log", "made", "certs"} {
		if err := os.MkdirAll(filepath.Join(runDir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := writeManifests(filepath.Join(runDir, "manifests"), false); err != nil {
		return nil, err
	}
	if err := writeProposed(); err != nil {
		return nil, err
	}
	return w, build(w)
}

// startTraffic starts one generator in each pod and one outside, those that only
// serve first: a client that comes early would find them refused.
func startTraffic(ctx context.Context, w *world) error {
	var servers []string
	for i := range w.pods {
		if !slices.Contains(clients(), w.pods[i].name) {
			servers = append(servers, w.pods[i].name)
		}
	}
	for _, names := range [][]string{servers, {outside}, {checkout}, {cart}, {frontend}} {
		for _, name := range names {
			if err := startPod(w, name); err != nil {
				return err
			}
		}
		if err := serving(ctx, names); err != nil {
			return err
		}
	}
	return nil
}

// clients are the pods that dial, in the order in which they stop.
func clients() []string { return []string{frontend, cart, checkout} }

// startPod starts the generator of a pod, or of the outside, in its namespace.
func startPod(w *world, name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	space := prefix + name
	if p := w.pod(name); p != nil && p.host {
		space = prefix + p.node
	}
	return start(process{name: "pod-" + name, space: space, path: self, args: []string{"demo", "pod", name}})
}

// stopTraffic ends the generators, those that dial first: what they close, the
// others still answer.
func stopTraffic() error {
	for _, name := range append(clients(), outside, "") {
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
