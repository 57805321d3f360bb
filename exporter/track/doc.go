// Package track turns observations of conntrack entries into exports: a state
// machine with time as argument (Observe, Sweep, Expire), no I/O, no clock.
//
// Idea: a connection is its tuple, zone, conntrack id and start time, so a tuple
// that is used again is another connection and never merged. Every entry that has
// something new to tell sits in a timer wheel at its own phase of the active
// timeout, so exports are spread and an entry with nothing new costs nothing.
//
// In: Conn values from a dump or a DESTROY event. Out: Export values with deltas,
// through the function given to New. Entries lie in pointer-free chunks with an
// open-addressing index; a steady state allocates nothing. The number of entries
// is bounded; an eviction exports what was pending and is counted.
//
// It does not name anything and does not know where a Conn was read from.
//
// If we die here, the entries are still in the kernel; the next process reads
// them again and the correlator takes their totals, so nothing counts twice.
package track
