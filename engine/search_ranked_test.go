package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const exactDim = 16

// exactVector draws 16 components of 1 and -1: its norm is 4, its normal form has components of 1/4, and every dot product,
// distance and score is a sum of dyadic fractions without rounding. Few patterns, so equal vectors and ties are common.
func exactVector(rng *rand.Rand) []float32 {
	v := make([]float32, exactDim)
	for i := range v {
		v[i] = 1
		if i < 6 && rng.IntN(2) == 0 {
			v[i] = -1
		}
	}
	return v
}

// rankedItems draws items with what limits and boosts read.
func rankedItems(rng *rand.Rand, n int) []Item {
	items := make([]Item, n)
	for i, name := range rng.Perm(n) {
		it := Item{ID: fmt.Sprintf("t%04d", name), Vector: exactVector(rng)}
		if rng.IntN(10) > 0 {
			artists := []string{fmt.Sprint("artist-", rng.IntN(1+n/4))}
			if rng.IntN(3) == 0 {
				artists = append(artists, fmt.Sprint("artist-", rng.IntN(1+n/4)))
			}
			it.Attributes = append(it.Attributes, Attribute{Name: "artists", Value: Value{Type: Keyword, Keywords: artists}})
		}
		if rng.IntN(2) == 0 {
			it.Attributes = append(it.Attributes, Attribute{Name: "isrc", Value: Value{Type: Keyword, Keywords: []string{fmt.Sprint("isrc-", rng.IntN(1+n/2))}}})
		}
		it.Attributes = append(it.Attributes, Attribute{Name: "plays", Value: Value{Type: Int, Int: int64(rng.IntN(1000))}},
			Attribute{Name: "released", Value: Value{Type: Timestamp, Time: oracleTime().AddDate(0, 0, -rng.IntN(1000))}})
		items[i] = it
	}
	return items
}

func drawRequest(t *rapid.T, rng *rand.Rand, items []Item) SearchRequest {
	req := SearchRequest{
		K: rapid.IntRange(1, len(items)+5).Draw(t, "k"), Exact: rapid.Bool().Draw(t, "exact"),
		IncludeSeeds: rapid.Bool().Draw(t, "include seeds"), Explain: rapid.Bool().Draw(t, "explain"),
	}
	id := func() string {
		if rng.IntN(5) == 0 {
			return "nobody"
		}
		return items[rng.IntN(len(items))].ID
	}
	switch rapid.IntRange(0, 5).Draw(t, "form") {
	case 0:
		req.Query.Vector = exactVector(rng)
	case 1:
		req.Query.ItemID = items[rng.IntN(len(items))].ID
	case 2:
		req.Query.UserID = "listener"
	case 3:
		for range rapid.IntRange(1, 3).Draw(t, "interests") {
			req.Query.Interests = append(req.Query.Interests, Interest{Vector: exactVector(rng), Weight: float32(rng.IntN(3))})
		}
	case 4, 5:
		e := &Examples{Strategy: rapid.SampledFrom([]Strategy{BestScore, Each}).Draw(t, "strategy")}
		e.Positive = append(e.Positive, Example{Vector: exactVector(rng)})
		for range rapid.IntRange(0, 2).Draw(t, "positive") {
			x := Example{ItemID: id()}
			if e.Strategy == Each {
				x.Weight = float32(rng.IntN(4))
			}
			e.Positive = append(e.Positive, x)
		}
		for range rapid.IntRange(0, 2).Draw(t, "negative") {
			e.Negative = append(e.Negative, Example{ItemID: id()})
		}
		req.Query.Examples = e
	}
	if rapid.Bool().Draw(t, "min score") {
		req.HasMinScore, req.MinScore = true, rapid.SampledFrom([]float32{-20, 0, 0.5, 0.75}).Draw(t, "min")
	}
	if rapid.Bool().Draw(t, "crowding") {
		req.Crowding = append(req.Crowding, CrowdingLimit{"artists", rapid.IntRange(1, 3).Draw(t, "most")})
	}
	if rapid.Bool().Draw(t, "dedupe") {
		req.Dedupe = "isrc"
	}
	if rapid.IntRange(0, 2).Draw(t, "boosted") == 0 {
		req.Boosts = []Boost{
			{Attribute: "plays", Transform: rapid.SampledFrom([]Transform{Linear, Log}).Draw(t, "transform"), Weight: 0.125},
			{Attribute: "released", Transform: TimeDecay, Weight: -2, HalfLife: 240 * time.Hour, Reference: oracleTime()},
			{Attribute: "artists", Transform: Linear, Weight: 100}, // no number: nothing
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "explore") == 0 {
		req.Temperature, req.Seed = 0.3, rapid.Uint64Min(1).Draw(t, "seed")
	}
	if rapid.Bool().Draw(t, "few candidates") {
		req.Candidates = req.K + rng.IntN(5)
	}
	drawAllowed(t, rng, items, &req)
	return req
}

// TestRequestOracle holds whole requests against an oracle that scores every item by the definitions: filter, exclusions, seeds,
// negatives, minimum score, limits, turns, boosts, exploration, candidates and the reason of a shortfall, to the last bit;
// diversity to within rounding. The pages of the same request, one after the other, are the same neighbors, and so is a second
// answer.
func TestRequestOracle(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			c := newTestCollection(t, exactDim, metric)
			rng := rand.New(rand.NewPCG(11, uint64(metric)))
			items := rankedItems(rng, 150)
			mustUpsert(t, c, items...)
			profile := []Interest{{Vector: exactVector(rng), Weight: 2}, {Vector: exactVector(rng)}}
			if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "listener", Interests: profile}}); err != nil {
				t.Fatal(err)
			}
			truth := newRequestOracle(t, c, metric, items)
			rapid.Check(t, func(t *rapid.T) {
				req := drawRequest(t, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0)), items)
				if rapid.IntRange(0, 3).Draw(t, "diverse") == 0 {
					req.Diversity, req.Explain = rapid.SampledFrom([]float64{0.1, 0.5, 1}).Draw(t, "mmr"), true
				}
				res, err := c.Search(context.Background(), req)
				if err != nil {
					t.Fatal(err)
				}
				if n, filtered := truth.matching(&req); res.Info.Matching != n || res.Info.Filtered != filtered {
					t.Fatalf("%+v: %+v, %d match", req, res.Info, n)
				}
				if req.Diversity > 0 {
					err = truth.differsDiverse(&req, profile, res)
				} else {
					err = truth.differs(&req, profile, res)
				}
				if err != nil {
					t.Fatalf("%+v: %v", req, err)
				}
				checkPages(t, c, req, res)
			})
		})
	}
}

func checkPages(t *rapid.T, c *Collection, req SearchRequest, whole SearchResult) {
	req.PageSize = rapid.IntRange(1, 40).Draw(t, "page size")
	var got []Neighbor
	for {
		page, err := c.Search(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Neighbors) > req.PageSize {
			t.Fatalf("%d neighbors on a page of %d", len(page.Neighbors), req.PageSize)
		}
		if got = append(got, page.Neighbors...); page.Next == nil {
			break
		}
		req.After = *page.Next
	}
	same := func(a, b Neighbor) bool { return a.ItemID == b.ItemID && a.Score == b.Score && a.Match == b.Match }
	if !slices.EqualFunc(got, whole.Neighbors, same) {
		t.Fatalf("pages give %+v, the whole is %+v", got, whole.Neighbors)
	}
}

// TestSumAndAverage: the score of SUM is the weighted sum of the scores for each example, AVERAGE has the same order, and both
// are what a search for everything finds.
func TestSumAndAverage(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			c := newTestCollection(t, 6, metric)
			rng := rand.New(rand.NewPCG(5, uint64(metric)))
			items := randomItems(rng, 80, 6)
			mustUpsert(t, c, items...)
			truth := &requestOracle{oracle: oracleOf(metric, items)}
			rapid.Check(t, func(t *rapid.T) {
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0))
				e := &Examples{Strategy: Sum}
				for i := range rapid.IntRange(1, 4).Draw(t, "positive") {
					e.Positive = append(e.Positive, Example{ItemID: items[rng.IntN(len(items))].ID, Weight: float32(1 + 2*i)})
				}
				for range rapid.IntRange(0, 2).Draw(t, "negative") {
					e.Negative = append(e.Negative, Example{Vector: randomVector(rng, 6), Weight: 0.25})
				}
				req := SearchRequest{Query: Query{Examples: e}, K: len(items), Exact: true}
				sum, err := c.Search(context.Background(), req)
				if err != nil {
					t.Fatal(err)
				}
				seeds := map[string]bool{}
				for _, x := range e.Positive {
					seeds[x.ItemID] = true
				}
				if len(sum.Neighbors) != len(items)-len(seeds) {
					t.Fatalf("%d neighbors of %d items with %d seeds", len(sum.Neighbors), len(items), len(seeds))
				}
				for i, n := range sum.Neighbors {
					want := 0.0
					for _, x := range e.Positive {
						want += float64(x.Weight) * truth.scoreFor(truth.vectorOf(x), truth.items[n.ItemID])
					}
					for _, x := range e.Negative {
						want -= float64(x.Weight) * truth.scoreFor(truth.vectorOf(x), truth.items[n.ItemID])
					}
					if math.Abs(want-float64(n.Score)) > 2e-3*max(1, math.Abs(want)) || seeds[n.ItemID] {
						t.Fatalf("%s has score %v, the sum is %v", n.ItemID, n.Score, want)
					}
					if i > 0 && n.Score > sum.Neighbors[i-1].Score {
						t.Fatal("not in order")
					}
				}
				e.Strategy = 0
				average, err := c.Search(context.Background(), req)
				if err != nil || !slices.EqualFunc(average.Neighbors, sum.Neighbors, func(a, b Neighbor) bool { return a.ItemID == b.ItemID }) {
					t.Fatalf("average orders otherwise than sum: %v", err)
				}
			})
		})
	}
}

// TestDiverseSearch: what package rank promises holds for the vectors of the index under every metric: every pick has the
// highest objective of what fits, computed here from the vectors as they were written.
func TestDiverseSearch(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			c := newTestCollection(t, exactDim, metric)
			rng := rand.New(rand.NewPCG(12, uint64(metric)))
			items := rankedItems(rng, 300)
			for i := range items { // of different lengths: inner product must not take them for differences
				for j := range items[i].Vector {
					items[i].Vector[j] *= float32(1 + i%3)
				}
			}
			mustUpsert(t, c, items...)
			truth := &requestOracle{oracle: oracleOf(metric, items)}
			for _, lambda := range []float64{0.2, 0.7, 1} {
				req := SearchRequest{
					Query: Query{Vector: exactVector(rng)}, K: 25, Candidates: 60, Diversity: lambda, Explain: true,
					Crowding: []CrowdingLimit{{"artists", 2}},
				}
				res, err := c.Search(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Neighbors) != req.K {
					t.Fatalf("%d neighbors", len(res.Neighbors))
				}
				if err := truth.differsDiverse(&req, nil, res); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// differsDiverse walks along an answer with diversity, and says where a neighbor is not the one with the best objective of those
// whose turn it is and that fit, among the candidates of the depth that the answer says it was chosen from; or ends too early.
// Objectives may differ by rounding.
func (o *requestOracle) differsDiverse(req *SearchRequest, profile []Interest, res SearchResult) error {
	const eps = 1e-5
	pool := o.askFrom(req, profile, res.Info.Candidates, len(res.Neighbors) == req.K).pool
	if res.Info.Candidates != len(pool) {
		return fmt.Errorf("chosen from %d candidates, want %d", res.Info.Candidates, len(pool))
	}
	_, weights, each := o.probes(req, profile)
	if !each {
		weights = []float64{1}
	}
	shape := &oracle{metric: o.metric}
	if o.metric == InnerProduct {
		shape.metric = Cosine
	}
	var picks []oracleItem
	credit, scale := make([]float64, len(weights)), 0.0
	objective := func(x oracleItem) float64 {
		near, relevance := 0.0, 1.0
		if high, low := pool[0].value, pool[len(pool)-1].value; high > low {
			relevance = (x.value - low) / (high - low)
		}
		for _, p := range picks {
			if d := shape.distance(p.Vector, x.Vector); d <= 0 || scale <= 0 {
				near = 1
			} else {
				near = max(near, 1-d/scale)
			}
		}
		return (1-req.Diversity)*relevance - req.Diversity*near
	}
	for n := range req.K {
		var fit []oracleItem
		for i := range pool {
			if x := &pool[i]; !overLimit(req, picks, x) && !slices.ContainsFunc(picks, func(p oracleItem) bool { return p.ID == x.ID }) {
				fit = append(fit, *x)
			}
		}
		turn, sum := -1, 0.0
		for g, w := range weights {
			if slices.ContainsFunc(fit, func(x oracleItem) bool { return !each || x.group == g }) {
				credit[g] += w
				sum += w
				if turn < 0 || credit[g] > credit[turn] {
					turn = g
				}
			}
		}
		if n == len(res.Neighbors) {
			if turn >= 0 || res.Info.Completeness != Exhausted {
				return fmt.Errorf("%d neighbors of %d, %+v, and %d candidates fit", n, req.K, res.Info, len(fit))
			}
			return nil
		}
		if turn < 0 {
			return fmt.Errorf("%s comes where nothing fits", res.Neighbors[n].ItemID)
		}
		credit[turn] -= sum
		at := slices.IndexFunc(fit, func(x oracleItem) bool { return x.ID == res.Neighbors[n].ItemID && (!each || x.group == turn) })
		if at < 0 {
			return fmt.Errorf("%s does not belong at %d", res.Neighbors[n].ItemID, n)
		}
		mine := objective(fit[at])
		if math.Abs(mine-res.Neighbors[n].Explanation.Objective) > eps {
			return fmt.Errorf("objective of %s is %v, not %v", fit[at].ID, mine, res.Neighbors[n].Explanation.Objective)
		}
		for _, x := range fit {
			if (!each || x.group == turn) && objective(x) > mine+eps {
				return fmt.Errorf("%s was passed over for %s", x.ID, fit[at].ID)
			}
		}
		if n == 0 {
			for _, x := range pool {
				scale += shape.distance(fit[at].Vector, x.Vector) / float64(len(pool))
			}
		}
		picks = append(picks, fit[at])
	}
	if res.Info.Completeness != Complete || len(res.Neighbors) > req.K {
		return fmt.Errorf("%d neighbors of %d, %+v", len(res.Neighbors), req.K, res.Info)
	}
	return nil
}
