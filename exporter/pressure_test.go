package exporter_test

import (
	"bytes"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	timo "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/exporter"
	"github.com/weirnet/weir/exporter/conntrack"
	"github.com/weirnet/weir/exporter/enrich"
	"github.com/weirnet/weir/exporter/pressure"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/testenv"
)

// TestForecastOfAFillingTable fills the conntrack table of a namespace by real
// inserts at a steady rate and compares what the forecaster says at two fifths with
// when the table really holds that many. The size of the table is the kernel's for
// all namespaces, so a smaller one is given to the forecaster.
func TestForecastOfAFillingTable(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.NeedTool(t, "nft")
	// A machine that lets this process wait makes no steady rate, and then there is
	// nothing to compare with: another table is filled.
	for try := 1; ; try++ {
		forecast, took, gap := fillTable(t)
		t.Logf("forecast %d ms, took %d, longest wait between two samples %v", forecast, took, gap)
		if gap > 250*time.Millisecond && try < 6 {
			continue
		}
		if math.Abs(float64(forecast-took)) > 0.2*float64(took) {
			t.Errorf("the forecast was %d ms and it took %d: more than a fifth off", forecast, took)
		}
		return
	}
}

// fillTable fills the table of a new namespace, and gives what was forecast at two
// fifths, what it took from there, and the longest time without a sample, all in ms.
func fillTable(t *testing.T) (forecast, took int64, gap time.Duration) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	// the kernel counts in a namespace once a rule of it uses conntrack
	if out, err := exec.Command("nft", "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new").CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	kernel, err := timo.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kernel.Close() }()
	const capacity, perSecond = 3000, 300
	f := pressure.New(0)
	began := time.Now()
	made := 0
	var told time.Time // when the forecast was made
	last := began
	for made < capacity {
		for due := int(time.Since(began).Seconds() * perSecond); made < min(due, capacity); made++ {
			src := netip.AddrFrom4([4]byte{10, 9, byte(made >> 8), byte(made)})
			fl := timo.NewFlow(6, 0, src, netip.AddrFrom4([4]byte{10, 8, 0, 1}), uint16(1024+made), 80, 600, 0)
			fl.ProtoInfo.TCP = &timo.ProtoInfoTCP{State: 3}
			if err := kernel.Create(fl); err != nil {
				t.Fatalf("entry %d: %v", made, err)
			}
		}
		s, err := conntrack.ReadSysctls("")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		gap, last = max(gap, now.Sub(last)), now
		f.Add(pressure.Sample{AtMs: now.UnixMilli(), Count: s.Count, Max: capacity})
		if st := f.State(); told.IsZero() && s.Count >= capacity*2/5 {
			if !st.Known || st.FullInMs <= 0 {
				t.Fatalf("no forecast at %d entries: %+v", s.Count, st)
			}
			told, forecast = time.Now(), st.FullInMs
		}
		time.Sleep(50 * time.Millisecond)
	}
	took = time.Since(told).Milliseconds()
	if s, err := conntrack.ReadSysctls(""); err != nil || s.Count < capacity {
		t.Errorf("the kernel holds %d entries (%v), want %d", s.Count, err, capacity)
	}
	return forecast, took, gap
}

// TestOwnersOfTheTable: the largest clients and servers of a recorded node are named,
// and a source without a table of a known size gives no fill.
func TestOwnersOfTheTable(t *testing.T) {
	raw, err := os.ReadFile("../internal/demo/recorded/node-a.ct.gz")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		src, err := conntrack.NewReplay(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		names := enrich.New(enrich.Config{Node: "node-a"}, cluster.NewModel(cluster.DefaultLimits()).Index())
		e, err := exporter.New(exporter.Config{
			Source: src, Poll: time.Second, Enrich: names.Fill, Sink: &sums{byID: map[uint64]*told{}},
			Owner: func(a [16]byte, nowMs int64) string {
				if nowMs == 0 {
					t.Error("no time was given")
				}
				return "at " + netip.AddrFrom16(a).Unmap().String()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := e.State().Pressure
		for _, list := range [][]pressure.Owner{p.Clients, p.Servers} {
			if len(list) < 2 || len(list) > 6 || !strings.HasPrefix(list[0].Name, "at ") || list[0].Entries < list[1].Entries {
				t.Errorf("largest owners: %v", list)
			}
		}
		for _, m := range e.Metrics() {
			m.Read(func(v float64, labels ...string) {
				if m.Name == "weir_conntrack_fill_ratio" || m.Name == "weir_conntrack_full_in_seconds" {
					t.Errorf("%s is %v of a source without a size", m.Name, v)
				}
			})
		}
	})
}
