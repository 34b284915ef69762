package rank

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// oracle selects by the rules of the package documentation, one after the other, in the dumbest way: for every pick it
// counts the values of all picks so far and measures the distances to all of them. agrees compares a selection with it.
type oracle struct {
	cs      []Candidate
	ids     []string   // of each candidate
	values  [][]string // of each candidate, "limit/value"
	most    map[string]int
	weights []float64
	lambda  float64
	vectors [][]float64
	l2      bool
}

func (o *oracle) fits(picked []int, i int) bool {
	taken := map[string]int{}
	for _, p := range picked {
		for _, v := range o.values[p] {
			taken[v]++
		}
	}
	for _, v := range o.values[i] {
		limit, _, _ := strings.Cut(v, "/")
		if taken[v] >= o.most[limit] {
			return false
		}
	}
	return true
}

func (o *oracle) distance(a, b int) float64 {
	d, dot := 0.0, 0.0
	for j, x := range o.vectors[a] {
		y := o.vectors[b][j]
		d += (x - y) * (x - y)
		dot += x * y
	}
	if o.l2 {
		return d
	}
	return 1 - dot
}

// order is the list in rank order, by a sort of its own.
func (o *oracle) order() []int {
	order := make([]int, len(o.cs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := cmp.Compare(o.cs[b].Value, o.cs[a].Value); c != 0 {
			return c
		}
		return cmp.Compare(o.ids[a], o.ids[b])
	})
	return order
}

func (o *oracle) objective(picked []int, i int, low, high, scale float64) (objective, nearness float64) {
	if o.lambda == 0 {
		return o.cs[i].Value, 0
	}
	relevance := 1.0
	if high > low {
		relevance = (o.cs[i].Value - low) / (high - low)
	}
	for _, p := range picked {
		near := 1.0
		if d := o.distance(p, i); d > 1e-9 && scale > 0 {
			near = max(0, 1-d/scale)
		}
		nearness = max(nearness, near)
	}
	return (1-o.lambda)*relevance - o.lambda*nearness, nearness
}

// verdict walks along a selection and says what is wrong with it; "" where nothing is. Objectives may differ by eps, because
// the kernels sum 32-bit floats in another order.
func (o *oracle) verdict(picks []Pick, k int) string {
	const eps = 1e-4
	order := o.order()
	if len(order) == 0 {
		if len(picks) > 0 {
			return "picks from an empty list"
		}
		return ""
	}
	high, low := o.cs[order[0]].Value, o.cs[order[len(order)-1]].Value
	groups := max(1, len(o.weights))
	credit := make([]float64, groups)
	scale := 0.0
	var picked []int
	for n := range k + 1 {
		// Which groups can give something, and whose turn it is.
		can := make([]bool, groups)
		for _, i := range order {
			if !slices.Contains(picked, i) && o.fits(picked, i) {
				can[o.group(i)] = true
			}
		}
		turn, sum := -1, 0.0
		for g := range groups {
			if !can[g] {
				continue
			}
			credit[g] += o.weight(g)
			sum += o.weight(g)
			if turn < 0 || credit[g] > credit[turn] {
				turn = g
			}
		}
		if n == len(picks) {
			if n < k && turn >= 0 {
				return "ends early though something fits"
			}
			return ""
		}
		if n == k {
			return "more than k picks"
		}
		if turn < 0 {
			return "a pick where nothing fits"
		}
		credit[turn] -= sum
		i := picks[n].Index
		switch {
		case slices.Contains(picked, i):
			return "picked twice: " + o.ids[i]
		case !o.fits(picked, i):
			return "a limit is exceeded by " + o.ids[i]
		case o.group(i) != turn:
			return "out of turn: " + o.ids[i]
		}
		mine, nearness := o.objective(picked, i, low, high, scale)
		if math.Abs(mine-picks[n].Objective) > eps*max(1, math.Abs(mine)) || math.Abs(nearness-picks[n].Nearness) > eps {
			return "objective or nearness is wrong of " + o.ids[i]
		}
		for _, j := range order {
			if j == i || slices.Contains(picked, j) || o.group(j) != turn || !o.fits(picked, j) {
				continue
			}
			other, _ := o.objective(picked, j, low, high, scale)
			before := slices.Index(order, j) < slices.Index(order, i)
			if other > mine+eps || (o.lambda == 0 && (other > mine || other == mine && before)) {
				return "passed over " + o.ids[j] + " for " + o.ids[i]
			}
		}
		if n == 0 && o.lambda > 0 {
			for j := range o.cs {
				scale += o.distance(i, j) / float64(len(o.cs))
			}
		}
		picked = append(picked, i)
	}
	return ""
}

func (o *oracle) group(i int) int {
	if len(o.weights) < 2 {
		return 0
	}
	return o.cs[i].Group
}

func (o *oracle) weight(g int) float64 {
	if len(o.weights) < 2 {
		return 1
	}
	return o.weights[g]
}
