package query

import "github.com/weirnet/weir/api/flow"

// Holds compiles a plain condition, or a part of one, to a function on one record, as
// Predicate does. A store asks it about each value of a dictionary once.
func Holds(n Node) func(*flow.Record) bool { return n2f(n) }
