package rank

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestCrowdValues: equal bytes of one limit have one id, others another, however many there are; also in a Crowd that was used before.
func TestCrowdValues(t *testing.T) {
	c := NewCrowd(1)
	rapid.Check(t, func(t *rapid.T) {
		limits := rapid.IntRange(1, 3).Draw(t, "limits")
		c.Begin([]int{1, 2, 3}[:limits]...)
		type value struct {
			limit int
			text  string
		}
		ids, values := map[value]ValueID{}, map[ValueID]value{}
		n, most := rapid.IntRange(0, 3000).Draw(t, "values"), rapid.IntRange(1, 2000).Draw(t, "different")
		buffer := make([]byte, 0, 16)
		for i := range n {
			v := value{i * 7 % limits, fmt.Sprint(i * 31 % most)}
			buffer = append(buffer[:0], v.text...) // Crowd must not keep it
			id := c.Value(v.limit, buffer)
			if known, again := ids[v]; again && known != id {
				t.Fatalf("%v has ids %d and %d", v, known, id)
			}
			if other, taken := values[id]; taken && other != v {
				t.Fatalf("%v and %v have id %d", v, other, id)
			}
			ids[v], values[id] = id, v
		}
		for v, id := range ids {
			if limit, text := c.Describe(id); limit != v.limit || text != v.text {
				t.Fatalf("%v is described as %d %q", v, limit, text)
			}
			for taken := range v.limit + 1 {
				if _, blocked := c.Blocked([]ValueID{id}); blocked {
					t.Fatalf("%v is blocked after %d", v, taken)
				}
				if filled := c.Take([]ValueID{id}); filled != (taken == v.limit) {
					t.Fatalf("%v filled by %d: %v", v, taken+1, filled)
				}
			}
			if by, blocked := c.Blocked([]ValueID{id}); !blocked || by != id {
				t.Fatalf("%v is not blocked", v)
			}
		}
		c.Reset()
		for v, id := range ids {
			if _, blocked := c.Blocked([]ValueID{id}); blocked || c.Value(v.limit, []byte(v.text)) != id {
				t.Fatalf("%v after Reset", v)
			}
		}
	})
}
