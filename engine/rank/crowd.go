package rank

// ValueID is a small number that stands for one value of one limited attribute.
type ValueID uint32

// Crowd enforces crowding limits: of each value of each limited attribute at most so many picks. Use one Crowd for one
// result; Reset makes it forget the picks but not the values.
type Crowd struct {
	most   []int // of each limit
	ids    []map[string]ValueID
	values []crowdValue
}

type crowdValue struct {
	limit int
	text  string
	taken int
}

// NewCrowd returns a Crowd with one limit for each number: the most picks that may share a value, at least 1.
func NewCrowd(most ...int) *Crowd {
	c := &Crowd{most: most, ids: make([]map[string]ValueID, len(most))}
	for i := range c.ids {
		c.ids[i] = map[string]ValueID{}
	}
	return c
}

// Value returns the id of a value of the attribute of the limit-th limit. Equal bytes give the same id. It allocates only for
// a value that is new.
func (c *Crowd) Value(limit int, value []byte) ValueID {
	if id, ok := c.ids[limit][string(value)]; ok {
		return id
	}
	id := ValueID(len(c.values))
	text := string(value)
	c.ids[limit][text] = id
	c.values = append(c.values, crowdValue{limit: limit, text: text})
	return id
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
	return c.values[v].limit, c.values[v].text
}

// Reset forgets all picks.
func (c *Crowd) Reset() {
	for i := range c.values {
		c.values[i].taken = 0
	}
}
