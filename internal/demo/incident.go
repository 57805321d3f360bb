package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const (
	// incidentAt is when the incident begins, after the start.
	incidentAt = 45 * time.Second
	// quiet lies between the last connection before the incident and the first after
	// it: so each is told apart by its begin, and the daemons have read the manifests.
	quiet = 4 * time.Second
	// aftermath is what the incident needs to show: its connections and the questions.
	aftermath = 16 * time.Second
	// incidentFor is the shortest demo that has the incident.
	incidentFor = incidentAt + quiet + aftermath + settle
)

// What the incident breaks.
const (
	lossyNode    = "node-b"
	lossyPercent = 3
	oldPayments  = "payments-5bd9-k7x2p"
	newPayments  = "payments-7c4f-d8r5q"
)

// The signs by which the pods' generators know of the incident.
func begunFile() string  { return filepath.Join(runDir, "incident-begun") }
func stagedFile() string { return filepath.Join(runDir, "incident-staged") }

// stage breaks three things at once, as a bad quarter of an hour does: the manifests
// change as the API server's objects would, and the world follows them. It tells
// mark the time that no connection begins at, and returns when all was broken.
func stage(ctx context.Context, old *world, mark func(time.Time)) (staged time.Time, err error) {
	if err := os.WriteFile(begunFile(), nil, 0o644); err != nil {
		return staged, err
	}
	pause(ctx, quiet/2)
	mark(time.Now())
	w, err := readWorld(true)
	if err != nil {
		return staged, err
	}
	if err := writeManifests(filepath.Join(runDir, "manifests"), true); err != nil {
		return staged, err
	}
	if err := rollOut(ctx, old, w); err != nil {
		return staged, err
	}
	for i := range w.nodes {
		n := &w.nodes[i]
		if err := nft(prefix+n.name, again("inet", nodeRules(w, n))); err != nil {
			return staged, err
		}
	}
	if err := nft(prefix+"fabric", again("bridge", fabricRules(true))); err != nil {
		return staged, err
	}
	pause(ctx, quiet/2)
	staged = time.Now()
	return staged, errors.Join(ctx.Err(), os.WriteFile(stagedFile(), nil, 0o644))
}

// rollOut ends the old pod of payments and starts the new one.
func rollOut(ctx context.Context, old, w *world) error {
	if err := stopProcesses(" demo pod "+oldPayments, 5*time.Second); err != nil {
		return err
	}
	p := w.pod(newPayments)
	n, err := openSpace(p.node)
	if err != nil {
		return err
	}
	defer n.close()
	if err := buildPod(n, p, len(old.pods)); err != nil {
		return err
	}
	if err := startPod(w, newPayments); err != nil {
		return err
	}
	return serving(ctx, []string{newPayments})
}

// openSpace opens a namespace that stands.
func openSpace(name string) (*space, error) {
	s := &space{name: prefix + name}
	var err error
	if s.fd, err = netns.GetFromName(s.name); err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", s.name, err)
	}
	if s.nl, err = netlink.NewHandleAt(s.fd); err != nil {
		return nil, errors.Join(fmt.Errorf("open namespace %s: %w", s.name, err), s.fd.Close())
	}
	return s, nil
}

// announce says what was broken, and what shows it.
func announce(out io.Writer, began, staged time.Time, tool string) {
	fmt.Fprintf(out, "\n+%.0f s, %s: an incident. Three things broke at once:\n", staged.Sub(began).Seconds(), staged.Format("15:04:05"))
	for _, q := range breakages(tool) {
		fmt.Fprintf(out, "  %s\n    %s\n", q.text, q.command)
	}
	fmt.Fprintf(out, "ask in another shell:\n")
	for _, q := range questions(tool, staged) {
		fmt.Fprintf(out, "  %s\n    %s\n", q.text, q.command)
	}
	fmt.Fprintln(out)
}
