package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/weirnet/weir/aggregator/api"
)

const (
	// settle is how long the last connections of the traffic take to die and to be
	// told: the longest timeout of the nodes' conntrack and of the aggregator's halves.
	settle = 24 * time.Second
	// minFor leaves the traffic some time before that.
	minFor = settle + 16*time.Second
)

// run brings the demo up, streams its flows to out, and takes it down again: at
// Ctrl-C, or after length with a report. Its error is the verdict.
func run(ctx context.Context, out io.Writer, length time.Duration, e engine) (err error) {
	if length != 0 && length < minFor {
		return fmt.Errorf("--for %s is too short: the last connections alone take %s to end and be told, so give it %s or more", length, settle, minFor)
	}
	began := time.Now()
	only, err := lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, only.Close()) }()
	defer func() {
		err = errors.Join(err, down())
		if left, e := residue(); e != nil || len(left) != 0 {
			err = errors.Join(err, e, fmt.Errorf("left behind: %v", left))
		}
	}()
	w, err := bringUp(ctx, out, e)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "up in %.1f s; flows follow, Ctrl-C ends all\n\n", time.Since(began).Seconds())
	v := &viewing{out: out, w: w, t: newTally(), began: began, length: length, engine: e}
	return v.run(ctx)
}

// viewing is one run of the demo, from its first flow on.
type viewing struct {
	out    io.Writer
	w      *world
	t      *tally
	began  time.Time
	length time.Duration // 0: until Ctrl-C
	engine engine
}

func (v *viewing) run(ctx context.Context) error {
	counting, stopCounting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCounting()
	v.t.follow(counting, flowsFile)
	watch, err := observe(v.out)
	if err != nil {
		return err
	}
	answers, err := v.incident(ctx)
	if err != nil && ctx.Err() == nil { // an interrupted incident is no fault
		return err
	}
	if err := v.engine.show(ctx, v.out); err != nil && ctx.Err() == nil {
		return err
	}
	if v.length == 0 {
		<-ctx.Done()
		end([]int{watch.Process.Pid}, time.Second)
		fmt.Fprintln(v.out, "\nstopping")
		return nil
	}
	pause(ctx, v.length-settle-time.Since(v.began))
	if ctx.Err() != nil {
		return errors.New("interrupted before its time: nothing is proven")
	}
	if err := stopTraffic(); err != nil {
		return err
	}
	made, err := readMade()
	if err != nil {
		return err
	}
	pause(ctx, settle-4*time.Second)
	books, err := balanced(ctx, len(v.w.nodes))
	if err != nil {
		return err
	}
	var changes api.Changes
	if err := get("changes", &changes); err != nil {
		return err
	}
	if err := stopProcesses("weir-agent ", 20*time.Second); err != nil {
		return err
	}
	end([]int{watch.Process.Pid}, 5*time.Second) // while there is somebody to tell it what was lost
	if err := stopProcesses("weir-aggregator ", 30*time.Second); err != nil {
		return err
	}
	stopCounting()
	if err := v.t.wait(); err != nil {
		return err
	}
	faults := v.t.printReport(v.out, made)
	if v.t.incident.Load() != 0 {
		faults += v.t.printIncident(v.out, &changes) + printAsked(v.out, answers)
	}
	return errors.Join(v.verdict(faults, books), v.engine.count(ctx, v.out, v.t.records))
}

// incident stages the incident, if it is to be, and says so; in a demo that reports it
// asks every question that it printed. An interrupted demo has none.
func (v *viewing) incident(ctx context.Context) ([]asked, error) {
	if v.length != 0 && v.length < incidentFor {
		fmt.Fprintf(v.out, "no incident: it comes at +%.0f s and needs --for %s or more\n", incidentAt.Seconds(), incidentFor)
		return nil, nil
	}
	pause(ctx, incidentAt-time.Since(v.began))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	staged, err := stage(ctx, v.w, func(at time.Time) { v.t.incident.Store(at.UnixMilli()) })
	if err != nil {
		return nil, fmt.Errorf("stage the incident: %w", err)
	}
	tool := self()
	announce(v.out, v.began, staged, tool)
	if v.length == 0 {
		return nil, nil
	}
	return ask(ctx, append(breakages(tool), questions(tool, staged)...), staged), nil
}

// self is how a person calls this program.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return "weirctl"
	}
	return path
}

// bringUp starts all and says what is there.
func bringUp(ctx context.Context, out io.Writer, e engine) (*world, error) {
	w, err := up()
	if err != nil {
		return nil, err
	}
	if err := makeCerts(w); err != nil {
		return nil, err
	}
	if err := startDaemons(ctx, w, e); err != nil {
		return nil, err
	}
	if err := startTraffic(ctx, w); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d nodes, %d pods, %d Services, an outside; %d shapes of traffic; one agent a node, one aggregator\n", len(w.nodes), len(w.pods), len(w.services), len(shapesOf(false)))
	hints(out, w)
	return w, nil
}

// hints prints what to run next.
func hints(out io.Writer, w *world) {
	host, err := os.Hostname()
	if err != nil {
		host = "HOST"
	}
	_, port, _ := net.SplitHostPort(apiAddr)
	fmt.Fprintf(out, `
in another shell:
  %[1]s observe -f --outcome refused        what was refused, live
  %[1]s observe --last 20 -o wide           the latest flows, all columns
  %[1]s ledger                              what came in, went out, was lost, and why
  curl -s http://%[2]s/metrics | grep ^weir_
  ip netns exec %[3]s%[4]s conntrack -L
from your own machine:
  ssh -N -L %[5]s:%[6]s root@%[7]s          then weirctl observe there

`, self(), aggMetrics, prefix, w.nodes[0].name, port, apiAddr, host)
}

// observe streams the flows to out, in a process group of its own.
func observe(out io.Writer) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "observe", "-f", "-o", "compact")
	cmd.Env = append(os.Environ(), markEnv)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait() }() // it ends when the demo ends
	return cmd, nil
}

// verdict prints the books and fails where they do not balance, or a line had a fault.
func (v *viewing) verdict(faults int, books *api.Books) error {
	printBooks(v.out, books)
	records, conns, bytes := difference(books)
	fmt.Fprintf(v.out, "difference: %d records, %d connections, %d bytes\n", records, conns, bytes)
	if !v.t.first.IsZero() {
		fmt.Fprintf(v.out, "first flow %.1f s after the start\n", v.t.first.Sub(v.began).Seconds())
	}
	var errs []error
	if faults != 0 {
		errs = append(errs, fmt.Errorf("%d lines of the report are marked <--", faults))
	}
	if records != 0 || conns != 0 || bytes != 0 {
		errs = append(errs, errors.New("the books do not balance"))
	}
	return errors.Join(errs...)
}
