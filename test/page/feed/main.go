// Command feed is a made-up cluster that tells its flows to an aggregator as agents do:
// over IPFIX, both ends of each connection by the node that would see it, with books and
// coverage. The tests of the page ask the aggregator that is fed by it.
//
// In: flags. Out: IPFIX over TCP. Its traffic is the same for the same flags, but for the
// time. It ends by SIGTERM or SIGINT, or by -for.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weirnet/weir/api/ipfix"
	"github.com/weirnet/weir/exporter/send"
	"github.com/weirnet/weir/internal/ledger"
)

type options struct {
	to       string
	nodes    int
	apps     int           // workloads beside those of the shop, of five pods each
	live     int           // connections that stay
	rate     float64       // connections that begin and end, a second
	history  time.Duration // told at the start, as of before now
	incident time.Duration // from the start; negative for none
	hostile  bool
	outside  bool
	silent   string // a node that stops telling
	skewed   string // a node whose clock is off by skew
	skew     time.Duration
	last     time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.to, "to", "127.0.0.1:4739", "where the aggregator collects over TCP")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes")
	flag.IntVar(&o.apps, "apps", 0, "workloads beside those of the shop, five pods each")
	flag.IntVar(&o.live, "live", 0, "connections that stay open")
	flag.Float64Var(&o.rate, "rate", 20, "short connections a second")
	flag.DurationVar(&o.history, "history", 0, "history that is told at the start")
	flag.DurationVar(&o.incident, "incident", -1, "when the incident begins, from the start; negative for none")
	flag.BoolVar(&o.hostile, "hostile", false, "with names that mean harm")
	flag.BoolVar(&o.outside, "outside", false, "with ends outside the cluster that have no name, and nodes that probe pods")
	flag.StringVar(&o.silent, "silent", "", "a node that falls silent at once")
	flag.StringVar(&o.skewed, "skewed", "", "a node whose clock is off")
	flag.DurationVar(&o.skew, "skew", 0, "by how much: below 0 it is behind")
	flag.DurationVar(&o.last, "for", 0, "how long; 0 until it is ended")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.last > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.last)
		defer cancel()
	}
	w := newWorld(o)
	var wg sync.WaitGroup
	for i := range w.agents {
		a, err := newAgent(o, w.nodeName(i))
		if err != nil {
			return err
		}
		w.agents[i] = a
		agentCtx, end := context.WithCancel(ctx)
		defer end()
		if a.name == o.silent {
			time.AfterFunc(2*time.Second, end)
		}
		wg.Go(func() { _ = a.sender.Run(agentCtx) }) // it ends as it is told to
	}
	w.begin(time.Now())
	fmt.Println("told")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return nil
		case now := <-tick.C:
			w.step(now)
		}
	}
}

// agent is one node's.
type agent struct {
	name   string
	sender *send.Sender
	skew   time.Duration // of its clock
}

func newAgent(o *options, name string) (*agent, error) {
	cfg := send.DefaultConfig()
	cfg.Aggregators, cfg.Transport, cfg.Observer = []string{o.to}, "tcp", name
	cfg.Instance = strconv.FormatInt(time.Now().UnixNano(), 16)
	cfg.Queue = 1 << 20
	a := &agent{name: name}
	if name == o.skewed {
		a.skew = o.skew
	}
	var err error
	a.sender, err = send.New(cfg, send.Deps{Log: slog.New(slog.DiscardHandler), Book: ledger.NewBook(), Facts: func(string) []ipfix.FactRow { return facts(time.Now().Add(a.skew)) }})
	return a, err
}

// facts are what a healthy node says of itself.
func facts(at time.Time) []ipfix.FactRow {
	now := at.UnixMilli()
	var out []ipfix.FactRow
	for _, class := range []string{"same-node", "cross-node", "service", "host", "external"} {
		for _, family := range []string{"v4", "v6"} {
			out = append(out, ipfix.FactRow{Topic: "coverage", Key: class + "/" + family, State: "yes", AtMs: now})
		}
	}
	return append(out, ipfix.FactRow{Topic: "evidence", Key: "conntrack", State: "on", Reason: "the kernel's entries and their ends", AtMs: now})
}
