package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/segue-ann/segue/engine/rank"
)

// requestOracle answers whole requests by scoring every item, in float64 and by the definitions of the API. Vectors of the
// tests have few components of few values, so that both sides compute the same numbers to the last bit and ties abound.
type requestOracle struct {
	*oracle
	heard map[string]bool // the ids of exclusion set "heard"
}

// oracleItem is an item as the oracle ranks it.
type oracleItem struct {
	Item
	score, value float64
	scores       []float64 // for each probe
	group        int
}

func (o *requestOracle) scoreFor(v []float32, it Item) float64 {
	if d := o.distance(v, it.Vector); o.metric == Cosine {
		return 1 - d
	} else { //nolint:revive // the two belong together
		return 0 - d
	}
}

// oracleAnswer is what the engine must answer, where the order does not depend on diversity.
type oracleAnswer struct {
	picks     []oracleItem
	pool      []oracleItem // in rank order
	shortfall Shortfall
}

// probes returns the query vectors of a request and whether each has its own share.
func (o *requestOracle) probes(req *SearchRequest, profile []Interest) (vecs [][]float32, weights []float64, each bool) {
	interests := req.Query.Interests
	if req.Query.UserID != "" {
		interests = profile
	}
	for _, i := range interests {
		vecs, weights = append(vecs, i.Vector), append(weights, float64(max(i.Weight, 1)))
	}
	if req.Query.Vector != nil {
		vecs = append(vecs, req.Query.Vector)
	}
	if req.Query.ItemID != "" {
		vecs = append(vecs, o.items[req.Query.ItemID].Vector)
	}
	if e := req.Query.Examples; e != nil {
		for _, x := range e.Positive {
			if v := o.vectorOf(x); v != nil {
				vecs, weights = append(vecs, v), append(weights, float64(max(x.Weight, 1)))
			}
		}
		each = e.Strategy == Each
	}
	return vecs, weights, each || len(interests) > 1
}

func (o *requestOracle) vectorOf(x Example) []float32 {
	if x.Vector != nil {
		return x.Vector
	}
	return o.items[x.ItemID].Vector
}

func (o *requestOracle) seed(req *SearchRequest, id string) bool {
	if req.IncludeSeeds {
		return false
	}
	named := id == req.Query.ItemID
	if e := req.Query.Examples; e != nil {
		for _, x := range slices.Concat(e.Positive, e.Negative) {
			named = named || x.ItemID == id
		}
	}
	return named
}

// ask answers for strategies in which an item's score is its best probe's.
func (o *requestOracle) ask(req *SearchRequest, profile []Interest) oracleAnswer {
	return o.askFrom(req, profile, 0, false)
}

// askFrom is ask where fewer than least candidates are known not to suffice, and with suffices that so many do: who picks for
// diversity too may find K that fit among candidates of which the best in order block each other.
func (o *requestOracle) askFrom(req *SearchRequest, profile []Interest, least int, suffices bool) oracleAnswer {
	vecs, weights, each := o.probes(req, profile)
	var allowed []oracleItem
	for _, it := range o.items {
		if o.seed(req, it.ID) || !o.allows(req, it) {
			continue
		}
		x := oracleItem{Item: it, score: math.Inf(-1)}
		for g, v := range vecs {
			s := o.scoreFor(v, it)
			x.scores = append(x.scores, s)
			if s > x.score {
				x.score, x.group = s, g
			}
		}
		allowed = append(allowed, x)
	}
	depth := o.depth(req, each)
	for {
		answer, deeper := o.atDepth(req, allowed, vecs, weights, each, depth)
		if (suffices || !deeper) && len(answer.pool) >= min(least, len(allowed)) {
			return answer
		}
		depth *= 2
	}
}

// depth is the documented number of candidates, of each probe that takes turns; by the score alone any number that suffices.
func (o *requestOracle) depth(req *SearchRequest, each bool) int {
	switch {
	case !req.reranked() && !each:
		return len(o.items) + 1
	case req.Candidates > 0:
		return req.Candidates
	}
	return max(200, 4*req.K)
}

func (o *requestOracle) atDepth(req *SearchRequest, allowed []oracleItem, vecs [][]float32, weights []float64, each bool, depth int) (oracleAnswer, bool) {
	// The floor of each list: the score of the first item beyond the depth.
	lists := 1
	if each {
		lists = len(vecs)
	}
	floors := make([]float64, lists)
	for g := range lists {
		floors[g] = math.Inf(-1)
		of := func(x oracleItem) float64 {
			if each {
				return x.scores[g]
			}
			return x.score
		}
		list := slices.Clone(allowed)
		slices.SortFunc(list, func(a, b oracleItem) int { return cmp.Compare(of(b), of(a)) })
		if len(list) > depth {
			floors[g] = of(list[depth])
		}
	}
	highest := slices.Max(floors)
	var pool []oracleItem
	belowMin, nearNegative := false, false
	for _, x := range allowed {
		if req.HasMinScore && float32(x.score) < req.MinScore {
			belowMin = true
			continue
		}
		if o.nearNegative(req, x) {
			nearNegative = true
			continue
		}
		if each && x.score > floors[x.group] || !each && x.score > highest {
			x.value = x.score + o.extra(req, x)
			pool = append(pool, x)
		}
	}
	slices.SortFunc(pool, func(a, b oracleItem) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.ID, b.ID))
	})
	answer := oracleAnswer{pool: pool, shortfall: ShortOfItems}
	if !each {
		weights = []float64{1}
	}
	o.greedy(req, pool, weights, each, &answer.picks)
	bottom := req.HasMinScore && !math.IsInf(highest, -1) && float32(highest) < req.MinScore
	if !bottom && len(answer.picks) < req.K && !math.IsInf(highest, -1) {
		return answer, true
	}
	switch {
	case len(answer.picks) == req.K:
		answer.shortfall = NoShortfall
	case len(answer.picks) < len(pool):
		answer.shortfall = ShortByCrowding
	case nearNegative:
		answer.shortfall = ShortByNegatives
	case belowMin || bottom:
		answer.shortfall = ShortByMinScore
	}
	return answer, false
}

func (o *requestOracle) nearNegative(req *SearchRequest, x oracleItem) bool {
	if req.Query.Examples == nil {
		return false
	}
	for _, n := range req.Query.Examples.Negative {
		if v := o.vectorOf(n); v != nil && o.scoreFor(v, x.Item) >= x.score {
			return true
		}
	}
	return false
}

// extra is what boosts and exploration add.
func (o *requestOracle) extra(req *SearchRequest, x oracleItem) float64 {
	sum := 0.0
	for _, b := range req.Boosts {
		for _, a := range x.Attributes {
			if a.Name != b.Attribute {
				continue
			}
			switch {
			case b.Transform == TimeDecay && a.Value.Type == Timestamp:
				age := max(0, b.Reference.Sub(a.Value.Time).Seconds())
				sum += b.Weight * math.Exp2(-age/b.HalfLife.Seconds())
			case b.Transform == Linear && a.Value.Type == Int:
				sum += b.Weight * float64(a.Value.Int)
			case b.Transform == Log && a.Value.Type == Int:
				sum += b.Weight * math.Log1p(float64(max(a.Value.Int, 0)))
			}
		}
	}
	if req.Temperature > 0 {
		sum += req.Temperature * rank.Noise(req.Seed, x.ID)
	}
	return sum
}

// overLimit says whether an item does not fit beside the picks.
func overLimit(req *SearchRequest, picks []oracleItem, x *oracleItem) bool {
	limits := slices.Clone(req.Crowding)
	if req.Dedupe != "" {
		limits = append(limits, CrowdingLimit{Attribute: req.Dedupe, Most: 1})
	}
	for _, l := range limits {
		for _, v := range keywordsOf(x.Item, l.Attribute) {
			n := 0
			for _, p := range picks {
				if slices.Contains(keywordsOf(p.Item, l.Attribute), v) {
					n++
				}
			}
			if n >= l.Most {
				return true
			}
		}
	}
	return false
}

func keywordsOf(it Item, name string) []string {
	for _, a := range it.Attributes {
		if a.Name == name {
			return a.Value.Keywords
		}
	}
	return nil
}

// greedy picks in rank order, groups in turns.
func (o *requestOracle) greedy(req *SearchRequest, pool []oracleItem, weights []float64, each bool, picks *[]oracleItem) {
	credit := make([]float64, len(weights))
	taken := map[string]bool{}
	next := func(g int) *oracleItem {
		for i := range pool {
			if x := &pool[i]; (!each || x.group == g) && !taken[x.ID] && !overLimit(req, *picks, x) {
				return x
			}
		}
		return nil
	}
	for len(*picks) < req.K {
		turn, sum := -1, 0.0
		for g, w := range weights {
			if next(g) == nil {
				continue
			}
			credit[g] += w
			sum += w
			if turn < 0 || credit[g] > credit[turn] {
				turn = g
			}
		}
		if turn < 0 {
			return
		}
		credit[turn] -= sum
		x := next(turn)
		taken[x.ID] = true
		*picks = append(*picks, *x)
	}
}

// differs compares an answer with the oracle's.
func (o *requestOracle) differs(req *SearchRequest, profile []Interest, res SearchResult) error {
	a := o.ask(req, profile)
	var want, got []string
	for _, x := range a.picks {
		want = append(want, fmt.Sprintf("%s %v", x.ID, float32(x.score)))
	}
	for _, n := range res.Neighbors {
		got = append(got, fmt.Sprintf("%s %v", n.ItemID, n.Score))
	}
	if !slices.Equal(want, got) {
		return fmt.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	complete := map[bool]Completeness{true: Complete, false: Exhausted}[len(want) == req.K]
	if res.Info.Shortfall != a.shortfall || res.Info.Completeness != complete {
		return fmt.Errorf("%d of %d neighbors: %v, shortfall %d, want %d", len(got), req.K, res.Info.Completeness, res.Info.Shortfall, a.shortfall)
	}
	return nil
}

// oracleTime is the reference of decays in the tests.
func oracleTime() time.Time { return time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) }
