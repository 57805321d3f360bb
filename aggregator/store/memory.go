package store

import (
	"errors"
	"fmt"
)

// Config.Memory is shared out so: a quarter for the rows in memory, a sixteenth for what
// is remembered of connections, the rest for queries, and for columns as far as queries
// leave room. A column that is being written, read or joined comes on top.
const (
	headShare = 4
	seenShare = 16
)

// ErrMemory is the error of a query that needs more memory than there is.
var ErrMemory = errors.New("the query needs more memory than there is: take a shorter range or a narrower condition, or raise history.memory")

func (c *Config) forQueries() int64 { return c.Memory - c.Memory/headShare - c.Memory/seenShare }

// rowsOfGroup are the most rows of a row group, so that two queries' columns of one fit.
func (c *Config) rowsOfGroup() int {
	n := groupRows
	for n > 1<<12 && int64(n) > c.Memory>>11 {
		n /= 2
	}
	return n
}

// Hold takes n bytes of the memory for queries until Done; columns in memory make room. The
// error is ErrMemory.
func (v *View) Hold(n int64) error {
	c := &v.s.cache
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if c.held+n > c.limit {
		return fmt.Errorf("%w (%d MiB are held by this and other queries of %d)", ErrMemory, (c.held+n)>>20, c.limit>>20)
	}
	c.held += n
	v.memory += n
	c.fit()
	return nil
}

// Room is how many bytes a query may have at most.
func (v *View) Room() int64 { return v.s.cache.limit }

// free gives back what the view holds.
func (v *View) free() {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.cache.held -= v.memory
	v.memory = 0
}
