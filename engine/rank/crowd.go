package rank

import "hash/maphash"

// ValueID is a small number that stands for one value of one limited attribute.
type ValueID uint32

// Crowd enforces crowding limits: of each value of each limited attribute at most so many picks. Use one Crowd for one
// result; Reset makes it forget the picks but not the values, and Begin everything but its memory.
type Crowd struct {
	most   []int // of each limit
	values []crowdValue
	texts  []byte // of all values, one after the other
	seed   maphash.Seed
	// table is open addressing with linear probing, a ValueID and 1 a word, 0 where it is empty. Its length is a power of two, the load
	// at most one half. A map of strings took a seventh of a search for one of each artist.
	table []uint32
}

type crowdValue struct {
	hash     uint64
	from, to int // of its text in texts
	limit    int
	taken    int
}

// crowdTable is how many words the table has at first.
const crowdTable = 512

// NewCrowd returns a Crowd with one limit for each number: the most picks that may share a value, at least 1.
func NewCrowd(most ...int) *Crowd {
	c := &Crowd{seed: maphash.MakeSeed(), table: make([]uint32, crowdTable)}
	c.Begin(most...)
	return c
}

// Begin makes c what NewCrowd returns, in the memory that it has.
func (c *Crowd) Begin(most ...int) {
	c.most = append(c.most[:0], most...)
	c.values, c.texts = c.values[:0], c.texts[:0]
	clear(c.table)
}

// Value returns the id of a value of the attribute of the limit-th limit. Equal bytes give the same id. The bytes are not kept; it
// allocates only where a value is new.
func (c *Crowd) Value(limit int, value []byte) ValueID {
	h := maphash.Bytes(c.seed, value)
	mask := uint64(len(c.table) - 1)
	at := h & mask
	for ; c.table[at] != 0; at = (at + 1) & mask {
		id := c.table[at] - 1
		if v := &c.values[id]; v.hash == h && v.limit == limit && string(c.texts[v.from:v.to]) == string(value) {
			return ValueID(id)
		}
	}
	from := len(c.texts)
	c.texts = append(c.texts, value...)
	c.values = append(c.values, crowdValue{hash: h, from: from, to: len(c.texts), limit: limit})
	c.table[at] = uint32(len(c.values))
	if 2*len(c.values) > len(c.table) {
		c.grow()
	}
	return ValueID(len(c.values) - 1)
}

func (c *Crowd) grow() {
	c.table = make([]uint32, 2*len(c.table))
	mask := uint64(len(c.table) - 1)
	for id := range c.values {
		at := c.values[id].hash & mask
		for c.table[at] != 0 {
			at = (at + 1) & mask
		}
		c.table[at] = uint32(id + 1)
	}
}

// Blocked returns the first value of a candidate that has no room left.
func (c *Crowd) Blocked(values []ValueID) (ValueID, bool) {
	for _, v := range values {
		if cv := &c.values[v]; cv.taken >= c.most[cv.limit] {
			return v, true
		}
	}
	return 0, false
}

// Take counts a pick. It reports whether one of its values is full now.
func (c *Crowd) Take(values []ValueID) (filled bool) {
	for _, v := range values {
		cv := &c.values[v]
		cv.taken++
		filled = filled || cv.taken >= c.most[cv.limit]
	}
	return filled
}

// Describe returns which limit a value belongs to and the value itself.
func (c *Crowd) Describe(v ValueID) (limit int, value string) {
	cv := &c.values[v]
	return cv.limit, string(c.texts[cv.from:cv.to])
}

// Reset forgets all picks.
func (c *Crowd) Reset() {
	for i := range c.values {
		c.values[i].taken = 0
	}
}
