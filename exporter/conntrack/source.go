package conntrack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// Source is where connections are read. One goroutine owns it.
type Source interface {
	// Dump gives all entries there are.
	Dump(ctx context.Context, fn func(*track.Conn)) (DumpStats, error)
	// Events gives the DESTROY events, or nil where there are none. It is closed
	// after Stop, or when a recording is over.
	Events() <-chan *Batch
	// Recycle takes back a batch from Events.
	Recycle(*Batch)
	// Stop ends Events; what had arrived is still handed over.
	Stop()
	// Close frees what the source holds. Call it after Events is closed.
	Close() error
	// Vitals gives what the source says about itself.
	Vitals() Vitals
}

// Finder is a Source that can be asked for one connection.
type Finder interface {
	// Has tells whether a zone has an entry, one of whose directions is t or its reverse.
	Has(ctx context.Context, t flow.Tuple, zones []uint16) (bool, error)
}

// Vitals is what a source knows besides connections; zero where it knows nothing.
type Vitals struct {
	Count, Max uint64 // entries in the kernel's table, and how many fit
	CPU        CPUStats
	Listen     ListenStats
}

// KernelOptions of a Kernel.
type KernelOptions struct {
	Options
	Filter   Filter
	Events   bool // listen for DESTROY events
	MaxDying int
	Log      *slog.Logger
}

// Kernel is nf_conntrack of one network namespace as a Source.
type Kernel struct {
	o    KernelOptions
	r    *Reader
	l    *Listener
	vit  *socket
	buf  []byte
	last Vitals
}

// NewKernel opens the source; with Events it listens from now on.
func NewKernel(o KernelOptions) (*Kernel, error) {
	k := &Kernel{o: o, buf: make([]byte, maxReply)}
	var err error
	if o.Events {
		if k.l, err = Listen(ListenOptions{Options: o.Options, Filter: o.Filter, MaxDying: o.MaxDying, Log: o.Log}); err != nil {
			return nil, err
		}
	}
	if k.r, err = NewReader(o.Options); err == nil {
		k.vit, err = dial(Options{NetNS: o.NetNS, Receive: maxReply})
	}
	if err != nil {
		k.Stop()
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Dump gives the entries that the filter wants.
func (k *Kernel) Dump(ctx context.Context, fn func(*track.Conn)) (DumpStats, error) {
	return k.r.Dump(ctx, k.o.Filter, fn)
}

// Events gives the DESTROY events.
func (k *Kernel) Events() <-chan *Batch {
	if k.l == nil {
		return nil
	}
	return k.l.Events()
}

// Recycle takes back a batch.
func (k *Kernel) Recycle(b *Batch) { k.l.Recycle(b) }

// Stop ends Events.
func (k *Kernel) Stop() {
	if k.l != nil {
		k.l.Stop()
	}
}

// Close closes the sockets.
func (k *Kernel) Close() error {
	var errs []error
	if k.r != nil {
		errs = append(errs, k.r.Close())
	}
	if k.vit != nil {
		errs = append(errs, k.vit.close())
	}
	return errors.Join(errs...)
}

// Has asks the kernel: two system calls a zone, and two more where there is translation.
func (k *Kernel) Has(ctx context.Context, t flow.Tuple, zones []uint16) (bool, error) {
	for _, zone := range zones {
		for _, x := range [...]flow.Tuple{t, t.Reverse()} {
			found := false
			_, err := k.vit.exchange(ctx, tupleRequest(msgGet, x, zone), k.buf, func(_ []byte, h header, _ []byte) error {
				found = found || h.typ == msgNew
				return nil
			})
			switch {
			case found:
				return true, nil
			case err != nil && !errors.Is(err, unix.ENOENT):
				return false, fmt.Errorf("look for the connection: %w", err)
			}
		}
	}
	return false, nil
}

// Vitals asks the kernel; what it does not answer stays as it was.
func (k *Kernel) Vitals() Vitals {
	v := &k.last
	if s, err := ReadSysctls(k.o.NetNS); err == nil {
		v.Count, v.Max = s.Count, s.Max
	}
	if c, err := readCPUStats(context.Background(), k.vit, k.buf); err == nil {
		v.CPU = c
	}
	if k.l != nil {
		v.Listen = k.l.Stats()
	}
	return *v
}
