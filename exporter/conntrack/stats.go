package conntrack

import (
	"context"
	"errors"
)

// CPUStats are the kernel's own counts, summed over its CPUs (conntrack -S).
type CPUStats struct {
	Found, Invalid, Insert     uint64
	InsertFailed               uint64 // lost the race for a tuple
	Drop                       uint64 // packets of new connections dropped for lack of room
	EarlyDrop                  uint64 // entries that were thrown out to make room
	Error, SearchRestart       uint64
	ClashResolve, ChainTooLong uint64
}

// enum ctattr_stats_cpu.
const (
	ctaStatsFound         = 2
	ctaStatsInvalid       = 4
	ctaStatsInsert        = 8
	ctaStatsInsertFailed  = 9
	ctaStatsDrop          = 10
	ctaStatsEarlyDrop     = 11
	ctaStatsError         = 12
	ctaStatsSearchRestart = 13
	ctaStatsClashResolve  = 14
	ctaStatsChainTooLong  = 15
)

// ReadStats asks the kernel for its counts in the namespace of o. It needs
// CAP_NET_ADMIN there.
func ReadStats(ctx context.Context, o Options) (CPUStats, error) {
	o.Receive = maxReply
	s, err := dial(o)
	if err != nil {
		return CPUStats{}, err
	}
	t, err := readCPUStats(ctx, s, make([]byte, maxReply))
	return t, errors.Join(err, s.close())
}

func readCPUStats(ctx context.Context, s *socket, buf []byte) (CPUStats, error) {
	var t CPUStats
	_, err := s.exchange(ctx, request(msgGetStatsCPU, nlmFDump, 0).finish(0), buf, func(_ []byte, _ header, payload []byte) error {
		return decodeCPUStats(payload, &t)
	})
	return t, err
}

// decodeCPUStats adds one CPU's counts to t.
func decodeCPUStats(b []byte, t *CPUStats) error {
	if len(b) < nfHdrLen {
		return ErrMalformed
	}
	for b = b[nfHdrLen:]; len(b) >= nlaHdrLen; {
		typ, v, rest, ok := nextAttr(b)
		var n uint32
		if !ok || !u32(v, &n) {
			return ErrMalformed
		}
		b = rest
		for _, f := range [...]struct {
			typ uint16
			p   *uint64
		}{
			{ctaStatsFound, &t.Found},
			{ctaStatsInvalid, &t.Invalid},
			{ctaStatsInsert, &t.Insert},
			{ctaStatsInsertFailed, &t.InsertFailed},
			{ctaStatsDrop, &t.Drop},
			{ctaStatsEarlyDrop, &t.EarlyDrop},
			{ctaStatsError, &t.Error},
			{ctaStatsSearchRestart, &t.SearchRestart},
			{ctaStatsClashResolve, &t.ClashResolve},
			{ctaStatsChainTooLong, &t.ChainTooLong},
		} {
			if f.typ == typ {
				*f.p += uint64(n)
			}
		}
	}
	return nil
}
