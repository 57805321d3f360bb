package outcome

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// BenchmarkJoin is what an export through a Service costs, with so many attempts and
// resets held, of other connections or of its own: one of a live connection, and the
// last one of a connection that was reset.
func BenchmarkJoin(b *testing.B) {
	for _, held := range []int{0, 1000, 60_000} {
		for _, mine := range []bool{false, true} {
			if held == 0 && mine {
				continue
			}
			b.Run(fmt.Sprintf("held=%d/reset=%t", held, mine), func(b *testing.B) {
				j := New(Config{}, func(*track.Export) {})
				other := tuple("10.9.0.1:1", v4pod, 6)
				for i := range held {
					binary.BigEndian.PutUint32(other.Src[12:], uint32(i))
					j.Observe(t0, &Observation{Kind: Denial, TimeMs: t0, Tuple: other, Action: flow.RuleActionDrop})
					j.Observe(t0, &Observation{Kind: Reset, TimeMs: t0, Tuple: other})
				}
				if mine {
					j.Observe(t0, &Observation{Kind: Denial, TimeMs: t0, Tuple: tuple(v4client, v4pod, 6), Action: flow.RuleActionDrop})
					j.Observe(t0, &Observation{Kind: Reset, TimeMs: t0, Tuple: tuple(v4pod, v4client, 6)})
				}
				conn := track.Conn{Orig: tuple(v4client, v4vip, 6), Reply: tuple(v4pod, v4client, 6), Start: t0 * 1e6}
				b.ReportAllocs()
				for b.Loop() {
					x := track.Export{Conn: &conn, StartMs: t0, Outcome: flow.OutcomeOK}
					if mine {
						x.Outcome, x.Final = flow.OutcomeReset, true
					}
					j.Join(&x)
				}
			})
		}
	}
}
