package rank

import (
	"context"
	"math"
)

// Options say how to select.
type Options struct {
	// K is the most picks wanted.
	K int
	// Crowd holds the limits; nil for none. Select counts its picks in it.
	Crowd *Crowd
	// Limited returns the values of a candidate that the limits count, as Crowd.Value gave them, each once. It is asked about
	// the candidates that Select comes to, and may be asked again. Only with Crowd.
	Limited func(row uint32) []ValueID
	// Weights holds a positive weight for each group; with fewer than two groups it may be nil.
	Weights []float64
	// Diversity is 0 (none) to 1 (most). Above 0, Vectors has the row of every candidate.
	Diversity float64
	Vectors   *Matrix
}

// Pick is one pick.
type Pick struct {
	// Index is the position of the candidate in the list.
	Index int
	// Nearness is how near the candidate was to the nearest pick before it, 0 to 1; 0 without diversity.
	Nearness float64
	// Objective is what the candidate was picked by: its rank value without diversity.
	Objective float64
}

// Select picks up to o.K of the candidates, which are in rank order. Fewer come back only where no other candidate can be
// taken without exceeding a limit. The package documentation has the rules.
//
// Errors: ctx.Err(), looked at before every pick under diversity; without it nothing takes long. Cost: O(n) without diversity,
// n being the number of candidates looked at; with it one distance for every pick and candidate left.
func Select(ctx context.Context, cs []Candidate, o Options) ([]Pick, error) {
	if o.K <= 0 || len(cs) == 0 {
		return nil, nil
	}
	if o.Diversity > 0 {
		return newSelector(cs, &o).diverse(ctx, cs)
	}
	return inTurn(cs, &o), nil
}

// inTurn selects without diversity: every group has a cursor into the list.
func inTurn(cs []Candidate, o *Options) []Pick {
	picks := make([]Pick, 0, min(o.K, len(cs)))
	groups := max(1, len(o.Weights))
	cursors := make([]int, groups)
	// has moves the cursor of a group to its next candidate that fits.
	has := func(g int) bool {
		for ; cursors[g] < len(cs); cursors[g]++ {
			c := &cs[cursors[g]]
			if groups > 1 && c.Group != g {
				continue
			}
			if o.blocked(c) {
				continue
			}
			return true
		}
		return false
	}
	t := turnsOf(o)
	for len(picks) < o.K {
		g := t.next(has)
		if g < 0 {
			break
		}
		i := cursors[g]
		cursors[g]++
		o.take(&cs[i])
		picks = append(picks, Pick{Index: i, Objective: cs[i].Value})
	}
	return picks
}

// blocked says whether a limit has no room for a candidate.
func (o *Options) blocked(c *Candidate) bool {
	if o.Crowd == nil {
		return false
	}
	_, blocked := o.Crowd.Blocked(o.Limited(c.Row))
	return blocked
}

// take counts a pick, and reports whether that left a value without room.
func (o *Options) take(c *Candidate) (filled bool) {
	return o.Crowd != nil && o.Crowd.Take(o.Limited(c.Row))
}

func turnsOf(o *Options) *turns {
	if len(o.Weights) > 1 {
		return newTurns(o.Weights)
	}
	return newTurns([]float64{1})
}

// selector is the state of a selection with diversity. Candidates that can still be picked stand first in its slices, in rank
// order; a candidate is known by its index in the list.
type selector struct {
	o         *Options
	left      []int
	rows      []uint32 // rows[j] is the row of left[j]
	relevance []float64
	nearest   []float32 // nearest[i]: distance of candidate i to the nearest pick
	buffer    []float32
	perGroup  []int // how many of left belong to each group
	scale     float64
}

func newSelector(cs []Candidate, o *Options) *selector {
	n := len(cs)
	s := &selector{
		o: o, left: make([]int, n), rows: make([]uint32, n), relevance: make([]float64, n), nearest: make([]float32, n),
		buffer: make([]float32, n), perGroup: make([]int, max(1, len(o.Weights))),
	}
	low, high := cs[n-1].Value, cs[0].Value
	for i := range cs {
		s.left[i], s.rows[i], s.nearest[i] = i, cs[i].Row, float32(math.Inf(1))
		s.relevance[i] = 1
		if high > low {
			// Halves, because high-low may overflow.
			s.relevance[i] = (cs[i].Value/2 - low/2) / (high/2 - low/2)
		}
		s.perGroup[s.group(&cs[i])]++
	}
	return s
}

func (s *selector) group(c *Candidate) int {
	if len(s.perGroup) == 1 {
		return 0
	}
	return c.Group
}

func (s *selector) diverse(ctx context.Context, cs []Candidate) ([]Pick, error) {
	picks := make([]Pick, 0, min(s.o.K, len(cs)))
	t := turnsOf(s.o)
	has := func(g int) bool { return s.perGroup[g] > 0 }
	s.drop(cs, -1) // a Crowd may hold picks of before
	for len(picks) < s.o.K {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		g := t.next(has)
		if g < 0 {
			break
		}
		best := s.best(cs, g)
		picks = append(picks, best)
		s.approach(cs[best.Index].Row, len(picks) == 1)
		if s.o.take(&cs[best.Index]) {
			s.drop(cs, best.Index)
		} else {
			s.remove(cs, best.Index)
		}
	}
	return picks, nil
}

// best returns the candidate of a group with the highest objective. The group has one.
func (s *selector) best(cs []Candidate, g int) Pick {
	best := Pick{Index: -1}
	d := s.o.Diversity
	for _, i := range s.left {
		if s.group(&cs[i]) != g {
			continue
		}
		near := s.nearness(s.nearest[i])
		if v := (1-d)*s.relevance[i] - d*near; best.Index < 0 || v > best.Objective {
			best = Pick{Index: i, Nearness: near, Objective: v}
		}
	}
	return best
}

// nearness turns a distance into 1 for none and 0 for the scale or more. Before the first pick everything is far.
func (s *selector) nearness(d float32) float64 {
	switch {
	case math.IsInf(float64(d), 1):
		return 0
	case d <= 0 || s.scale <= 0:
		return 1
	}
	return max(0, 1-float64(d)/s.scale)
}

// approach lowers the distances to the nearest pick by a new pick's. The first pick sets the scale.
func (s *selector) approach(row uint32, first bool) {
	out := s.buffer[:len(s.rows)]
	s.o.Vectors.distances(row, s.rows, out)
	for j, i := range s.left {
		s.nearest[i] = min(s.nearest[i], out[j])
	}
	if !first {
		return
	}
	for _, d := range out {
		s.scale += float64(d) / float64(len(out))
	}
}

// remove takes one candidate off the list.
func (s *selector) remove(cs []Candidate, index int) {
	for j, i := range s.left {
		if i == index {
			s.perGroup[s.group(&cs[i])]--
			s.left = append(s.left[:j], s.left[j+1:]...)
			s.rows = append(s.rows[:j], s.rows[j+1:]...)
			return
		}
	}
}

// drop takes one candidate and all that exceed a limit off the list.
func (s *selector) drop(cs []Candidate, index int) {
	n := 0
	for j, i := range s.left {
		if i == index || s.o.blocked(&cs[i]) {
			s.perGroup[s.group(&cs[i])]--
			continue
		}
		s.left[n], s.rows[n] = i, s.rows[j]
		n++
	}
	s.left, s.rows = s.left[:n], s.rows[:n]
}
