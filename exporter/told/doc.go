// Package told remembers across a kill what an agent told of each connection.
//
// Idea: a killed agent's successor finds the same connections in the kernel, and tells
// them anew with their totals. Which part of those was told before, an aggregator knows
// that heard both agents; one that was killed as well does not, and would count it
// twice. So the tracker writes what it told into a mapped file, and the successor begins
// from there: its first record of a connection has only what is new as its delta.
//
// In: for each slot of the tracker's table, the connection's number, its totals as told
// and how many records it had. Out: at the start, all that the process before left, by
// number. A store into a shared mapping needs no system call and outlives the process
// however it ends; it does not outlive the machine, after which no connection does
// either. A slot that was being written has a wrong checksum and is left out.
//
// The file of the process before is kept until the first walk of the table was told, so
// that a kill in between forgets nothing. If the file cannot be written, the agent goes
// on without it.
package told
