package store

import (
	"container/list"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
)

// cacheKey names one column of one row group.
type cacheKey struct {
	part  *part
	group int
	field flow.FieldID
}

// cache keeps columns in memory, up to a number of bytes with what queries hold; the one that was used longest
// ago goes first. Store.mu guards it.
type cache struct {
	limit, bytes int64
	held         int64      // by queries, of limit
	order        *list.List // of *cached, most recently used first
	byKey        map[cacheKey]*list.Element
	byPart       map[*part]map[cacheKey]struct{}
}

type cached struct {
	key   cacheKey
	col   *column.Column
	bytes int64
}

func (c *cache) init(limit int64) {
	c.limit, c.order = limit, list.New()
	c.byKey = map[cacheKey]*list.Element{}
	c.byPart = map[*part]map[cacheKey]struct{}{}
}

func (c *cache) get(k cacheKey) *column.Column {
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).col
}

func (c *cache) put(k cacheKey, col *column.Column) {
	n := col.Bytes()
	if c.byKey[k] != nil || k.part.gone || n > c.limit {
		return
	}
	c.byKey[k] = c.order.PushFront(&cached{k, col, n})
	if c.byPart[k.part] == nil {
		c.byPart[k.part] = map[cacheKey]struct{}{}
	}
	c.byPart[k.part][k] = struct{}{}
	c.bytes += n
	c.fit()
}

// fit removes what is too much beside what queries hold.
func (c *cache) fit() {
	for c.bytes > 0 && c.bytes+c.held > c.limit {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	x := e.Value.(*cached)
	c.order.Remove(e)
	delete(c.byKey, x.key)
	delete(c.byPart[x.key.part], x.key)
	if len(c.byPart[x.key.part]) == 0 {
		delete(c.byPart, x.key.part)
	}
	c.bytes -= x.bytes
}

// forget removes every column of a part.
func (c *cache) forget(p *part) {
	for k := range c.byPart[p] {
		c.remove(c.byKey[k])
	}
}
