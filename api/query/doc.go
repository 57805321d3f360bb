// Package query is Weir's query language: text to a checked tree (Parse), back to
// text (Format), to a predicate on one record (Predicate), to a plain form for
// stores (Lower), and to aggregates that merge (Table).
//
// A query says what to show and never when: the range stands beside it. Its rows
// are connections, one each, as they are within the range [since, until):
//
//   - A record covers the time from its field since to its end; where since is
//     absent, the instant of its end. It belongs to the range if the two overlap. The
//     records of one conn_id in the range are one row; a record without conn_id is
//     a row of its own.
//   - The row has the fields of its newest record in the range (by end, final, seq,
//     records), whatever its other records said.
//   - Each counter that comes as a total and a delta (bytes, reverse.packets,
//     src.bytes ...) holds in the row what moved within the range: the sum of the
//     deltas, each spread evenly over the time its record covers (Share). It is
//     absent where no record in the range has the delta.
//   - first says whether the connection was opened in the range: by start, or, where
//     that is absent, by the time from which its first record counts.
//
// Fold does this. A live filter and a sink's filter see one record at a time: there
// the range is the connection's life so far, and bytes is the record's total.
//
// A comparison with a field that is absent is false, whatever the operator, and not
// is the complement. A bare end field (ns, pod, ip, label.x) is that of either end;
// bare != means that it is there and neither end has the value.
//
// Inputs and outputs are values; there is no I/O, clock or goroutine. Hostile text
// costs little: length, depth, lists and regular expressions are bounded. No state
// is kept that could be lost.
package query
