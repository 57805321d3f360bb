package store

import (
	"sync/atomic"

	"github.com/weirnet/weir/internal/obs"
)

// Size is what the history holds now.
type Size struct {
	Segments int   `json:"segments"`
	Rows     int   `json:"rows"`
	Bytes    int64 `json:"bytes"`
	HeadRows int   `json:"headRows"` // in memory only
	Memory   int64 `json:"memory"`   // bytes of columns in memory
	Oldest   int64 `json:"oldest"`   // ms; 0 where it is empty
}

// Size counts what the history holds.
func (s *Store) Size() Size {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := Size{Segments: len(s.parts), Bytes: s.bytes, HeadRows: s.head.len(), Memory: s.head.bytes() + s.cache.bytes + s.cache.held + s.seen.bytes()}
	for _, p := range s.parts {
		z.Rows += p.rows()
		if lo, _ := p.span(); z.Oldest == 0 || lo < z.Oldest {
			z.Oldest = lo
		}
	}
	z.Rows += z.HeadRows
	return z
}

// Metrics are the numbers for /metrics.
func (s *Store) Metrics() []obs.Metric {
	counter := func(name, help string, c *atomic.Uint64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Counter, Read: obs.Value(func() float64 { return float64(c.Load()) })}
	}
	gauge := func(name, help string, f func(*Size) float64) obs.Metric {
		return obs.Metric{Name: name, Help: help, Kind: obs.Gauge, Read: obs.Value(func() float64 {
			z := s.Size()
			return f(&z)
		})}
	}
	st := &s.Stats
	return []obs.Metric{
		gauge("weir_history_rows", "Records in the history.", func(z *Size) float64 { return float64(z.Rows) }),
		gauge("weir_history_segments", "Segment files of the history.", func(z *Size) float64 { return float64(z.Segments) }),
		gauge("weir_history_bytes", "Bytes of the segment files.", func(z *Size) float64 { return float64(z.Bytes) }),
		gauge("weir_history_memory_bytes", "Bytes of rows, of columns and of queries that the history holds in memory.", func(z *Size) float64 { return float64(z.Memory) }),
		gauge("weir_history_oldest_seconds", "Time of the oldest record, seconds since the epoch; 0 where there is none.", func(z *Size) float64 { return float64(z.Oldest) / 1000 }),
		counter("weir_history_rows_in_total", "Records that the history took in.", &st.RowsIn),
		counter("weir_history_segments_total", "Segments made of recent rows.", &st.Segments),
		counter("weir_history_segment_bytes_total", "Bytes of segments made of recent rows.", &st.SegmentBytes),
		counter("weir_history_seal_failures_total", "Segments that could not be written; their rows wait in memory and in the spool.", &st.SealFailures),
		counter("weir_history_joins_total", "Times that small segments were joined into one.", &st.Compactions),
		counter("weir_history_joined_rows_total", "Records in segments that were joined.", &st.CompactedRows),
		counter("weir_history_join_failures_total", "Joins that failed; the small segments stay.", &st.CompactFailures),
		{
			Name: "weir_history_removed_segments_total", Help: "Segments that were removed, and why: age, size, or disk_full.", Kind: obs.Counter, Labels: []string{"reason"},
			Read: func(emit func(float64, ...string)) {
				emit(float64(st.RemovedAge.Load()), "age")
				emit(float64(st.RemovedSize.Load()), "size")
				emit(float64(st.RemovedFull.Load()), "disk_full")
			},
		},
		counter("weir_history_removed_rows_total", "Records in segments that were removed.", &st.RemovedRows),
		counter("weir_history_corrupt_segments_total", "Damaged segments that were set aside.", &st.Corrupt),
		counter("weir_history_corrupt_rows_total", "Records in damaged segments whose number was known.", &st.CorruptRows),
		counter("weir_history_rollups_total", "Roll-ups made of segments.", &st.Rollups),
		counter("weir_history_rollup_failures_total", "Roll-ups that could not be made; queries read the records instead.", &st.RollupFailures),
		counter("weir_history_corrupt_rollups_total", "Damaged roll-ups that were removed, to be made again.", &st.CorruptRollups),
		counter("weir_history_scanned_rows_total", "Records that queries looked at.", &st.RowsScanned),
		counter("weir_history_read_bytes_total", "Bytes of segments that queries read.", &st.BytesRead),
		counter("weir_history_cache_hits_total", "Columns that queries found in memory.", &st.CacheHits),
		counter("weir_history_cache_misses_total", "Columns that queries read from segments.", &st.CacheMisses),
	}
}
