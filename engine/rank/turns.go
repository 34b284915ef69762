package rank

// turns deals picks out to groups in proportion to their weights: smooth weighted round robin, as nginx does it. Every round
// each group that still has candidates gains its weight; the group with the most takes the turn and pays the sum of weights.
// After n turns a group of weight w has had within one of n*w/sum, as long as no group runs out.
type turns struct {
	weights []float64
	credit  []float64
}

func newTurns(weights []float64) *turns {
	return &turns{weights: weights, credit: make([]float64, len(weights))}
}

// next returns the group whose turn it is, of those that has reports; -1 where it reports none. Ties go to the lower index.
func (t *turns) next(has func(group int) bool) int {
	best, sum := -1, 0.0
	for g, w := range t.weights {
		if !has(g) {
			continue
		}
		t.credit[g] += w
		sum += w
		if best < 0 || t.credit[g] > t.credit[best] {
			best = g
		}
	}
	if best >= 0 {
		t.credit[best] -= sum
	}
	return best
}
