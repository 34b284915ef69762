package rank

import (
	"cmp"
	"slices"
	"strings"
)

// Candidate is one item that may be picked.
type Candidate struct {
	// ID breaks ties; ids of a list are unique.
	ID string
	// Value is the rank value, finite.
	Value float64
	// Group is the index of the example or interest that brought the candidate; 0 where there is only one.
	Group int
	// Limited are the values that crowding limits count, as Crowd.Value gave them; each once.
	Limited []ValueID
	// Row is the candidate's row of the Matrix; unused without diversity.
	Row uint32
}

// Compare orders by rank: higher values first, then lower ids.
func Compare(a, b *Candidate) int {
	if c := cmp.Compare(b.Value, a.Value); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// Sort puts candidates into rank order. Cost: O(n log n), less where they nearly are.
func Sort(cs []Candidate) {
	slices.SortFunc(cs, func(a, b Candidate) int { return Compare(&a, &b) })
}
