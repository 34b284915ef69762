package rank

import (
	"cmp"
	"slices"
	"strings"
)

// Candidate is one item that may be picked.
type Candidate struct {
	// Value is the rank value, finite.
	Value float64
	// Group is the index of the example or interest that brought the candidate; 0 where there is only one.
	Group int
	// Row is the candidate's number: what Sort and Options.Limited ask by, and its row of the Matrix.
	Row uint32
}

// Sort puts candidates into rank order: higher values first, then lower ids, which are unique. id is asked only about candidates
// that share a value. Cost: O(n log n), less where they nearly are in order.
func Sort(cs []Candidate, id func(row uint32) string) {
	slices.SortFunc(cs, func(a, b Candidate) int { return cmp.Compare(b.Value, a.Value) })
	for len(cs) > 0 {
		run := 1
		for run < len(cs) && cs[run].Value == cs[0].Value {
			run++
		}
		if run > 1 {
			sortByID(cs[:run], id)
		}
		cs = cs[run:]
	}
}

func sortByID(cs []Candidate, id func(row uint32) string) {
	slices.SortFunc(cs, func(a, b Candidate) int { return strings.Compare(id(a.Row), id(b.Row)) })
}
