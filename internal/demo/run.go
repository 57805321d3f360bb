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
func run(ctx context.Context, out io.Writer, length time.Duration) (err error) {
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
	w, err := bringUp(ctx, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "up in %.1f s; flows follow, Ctrl-C ends all\n\n", time.Since(began).Seconds())
	counting, stopCounting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCounting()
	t := follow(counting, flowsFile)
	watch, err := observe(out)
	if err != nil {
		return err
	}
	if length == 0 {
		<-ctx.Done()
		end([]int{watch.Process.Pid}, time.Second)
		fmt.Fprintln(out, "\nstopping")
		return nil
	}
	pause(ctx, length-settle-time.Since(began))
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
	books, err := readBooks(len(w.nodes))
	if err != nil {
		return err
	}
	if err := drain(); err != nil {
		return err
	}
	end([]int{watch.Process.Pid}, time.Second)
	stopCounting()
	if err := t.wait(); err != nil {
		return err
	}
	return verdict(out, t, made, books, began)
}

// bringUp starts all and says what is there.
func bringUp(ctx context.Context, out io.Writer) (*world, error) {
	w, err := up()
	if err != nil {
		return nil, err
	}
	if err := makeCerts(w); err != nil {
		return nil, err
	}
	if err := startDaemons(ctx, w); err != nil {
		return nil, err
	}
	if err := startTraffic(ctx, w); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d nodes, %d pods, %d Services, an outside; %d shapes of traffic; one agent a node, one aggregator\n", len(w.nodes), len(w.pods), len(w.services), len(shapes()))
	hints(out, w)
	return w, nil
}

// hints prints what to run next.
func hints(out io.Writer, w *world) {
	self, err := os.Executable()
	if err != nil {
		self = "weirctl"
	}
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

`, self, aggMetrics, prefix, w.nodes[0].name, port, apiAddr, host)
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

// drain stops the agents and then the aggregator, each in good order, so that all
// they hold arrives.
func drain() error {
	if err := stopProcesses("weir-agent ", 20*time.Second); err != nil {
		return err
	}
	return stopProcesses("weir-aggregator ", 30*time.Second)
}

// verdict prints the report and fails where a shape or the books do.
func verdict(out io.Writer, t *tally, made map[string]int, books *api.Books, began time.Time) error {
	faults := t.printReport(out, made)
	printBooks(out, books)
	records, conns, bytes := difference(books)
	fmt.Fprintf(out, "difference: %d records, %d connections, %d bytes\n", records, conns, bytes)
	if !t.first.IsZero() {
		fmt.Fprintf(out, "first flow %.1f s after the start\n", t.first.Sub(began).Seconds())
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
