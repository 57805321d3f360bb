// Package repotest is the repository testing itself: layers of imports, a doc a
// package, no clock, goroutine or I/O in the pure core, documents that name every
// metric, config key and field and whose links lead somewhere.
//
// In: the source tree. Out: test failures that name the file and what to do. It has
// no code that a program could import.
package repotest
