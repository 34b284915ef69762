package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestExplainAbsence holds every reason against what the oracle knows about the item. The graph of so small a collection finds
// everything, so an item is never missed; TestExplainMiss has those.
func TestExplainAbsence(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			c := newTestCollection(t, exactDim, metric)
			rng := rand.New(rand.NewPCG(21, uint64(metric)))
			items := rankedItems(rng, 100)
			mustUpsert(t, c, items...)
			profile := []Interest{{Vector: exactVector(rng), Weight: 2}, {Vector: exactVector(rng)}}
			if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "listener", Interests: profile}}); err != nil {
				t.Fatal(err)
			}
			truth := newRequestOracle(t, c, metric, items)
			rapid.Check(t, func(t *rapid.T) {
				req := drawRequest(t, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0)), items)
				req.K = min(req.K, 30)
				req.Candidates = 0
				id := rapid.SampledFrom(append([]Item{{ID: "stranger"}}, items...)).Draw(t, "item").ID
				got, err := c.ExplainAbsence(context.Background(), req, id)
				if err != nil {
					t.Fatal(err)
				}
				if wrong := truth.contradicts(&req, profile, id, got); wrong != "" {
					t.Fatalf("%+v\n%+v: %s", req, got, wrong)
				}
			})
		})
	}
}

// contradicts says what is wrong with an absence.
func (o *requestOracle) contradicts(req *SearchRequest, profile []Interest, id string, got Absence) string {
	answer := o.ask(req, profile)
	it, exists := o.items[id]
	if !exists || o.seed(req, id) {
		if want := map[bool]AbsenceReason{false: NotIndexed, true: IsSeed}[exists]; got.Reason != want {
			return fmt.Sprintf("reason %d, want %d", got.Reason, want)
		}
		return ""
	}
	best := o.bestOf(req, profile, it)
	if float32(best.score) != got.Score || !got.HasScore || got.Detail == "" {
		return fmt.Sprintf("the score is %v", best.score)
	}
	at := slices.IndexFunc(answer.picks, func(x oracleItem) bool { return x.ID == id })
	switch {
	case !o.allows(req, it):
		want := FilteredOut
		if !o.allows(&SearchRequest{Exclusions: req.Exclusions}, it) {
			want = Excluded
		}
		if got.Clause == "" {
			return "no clause"
		}
		return is(got, want, 0)
	case req.HasMinScore && got.Score < req.MinScore:
		return is(got, BelowMinScore, 0)
	case o.nearNegative(req, best):
		return is(got, NearNegative, 0)
	case at >= 0:
		return is(got, Present, at+1)
	}
	rank := 1
	for _, other := range o.items {
		if o.seed(req, other.ID) || !o.allows(req, other) {
			continue
		}
		x := o.bestOf(req, profile, other)
		if !(req.HasMinScore && float32(x.score) < req.MinScore) && !o.nearNegative(req, x) &&
			(x.score > best.score || x.score == best.score && x.ID < id) {
			rank++
		}
	}
	if got.Rank != rank {
		return fmt.Sprintf("rank is %d", rank)
	}
	_, _, each := o.probes(req, profile)
	crowded := overLimit(req, answer.picks, &best)
	pooled := slices.IndexFunc(answer.pool, func(x oracleItem) bool { return x.ID == id })
	before := len(answer.picks) < req.K // all that fits is picked: what is not does not fit
	for _, p := range answer.picks {
		i := slices.IndexFunc(answer.pool, func(x oracleItem) bool { return x.ID == p.ID })
		before = before || i > pooled && (!each || p.group == best.group)
	}
	switch {
	case crowded && before && got.Reason != CrowdedOut:
		return "it is crowded out"
	case got.Reason == CrowdedOut:
		n := 0
		for _, p := range answer.picks {
			if slices.Contains(keywordsOf(p.Item, got.Attribute), got.Value) {
				n++
			}
		}
		if !crowded || !before || !slices.Contains(keywordsOf(it, got.Attribute), got.Value) || n != len(got.CrowdedBy) {
			return "it is not crowded out by that"
		}
	case got.Reason == Outranked && !req.reranked() && !each:
		return "nothing outranks here"
	case got.Reason != Outranked && got.Reason != BeyondK:
		return "that is no reason"
	}
	return ""
}

func is(got Absence, want AbsenceReason, rank int) string {
	if got.Reason != want || got.Rank != rank {
		return fmt.Sprintf("reason %d rank %d, want %d and %d", got.Reason, got.Rank, want, rank)
	}
	return ""
}

// bestOf scores an item as ask does.
func (o *requestOracle) bestOf(req *SearchRequest, profile []Interest, it Item) oracleItem {
	vecs, _, _ := o.probes(req, profile)
	x := oracleItem{Item: it, score: -1e9}
	for g, v := range vecs {
		if s := o.scoreFor(v, it); s > x.score {
			x.score, x.group = s, g
		}
	}
	return x
}

// TestExplainMiss: on a graph searched with the narrowest beam some neighbors are missed; both explanations are of the answer that
// Search serves, find what it missed, and say the same.
func TestExplainMiss(t *testing.T) {
	notUnderRace(t)
	const n, dim, k = 4000, 48, 10
	c := newTestCollection(t, dim, L2)
	rng := rand.New(rand.NewPCG(8, 15))
	mustUpsert(t, c, randomItems(rng, n, dim)...)
	missed := 0
	for range 20 {
		req := SearchRequest{Query: Query{Vector: randomVector(rng, dim)}, K: k, Ef: k}
		e, err := c.ExplainNeighbors(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Result.Neighbors) != k || e.Recall != float64(k-len(e.Missed))/k {
			t.Fatalf("recall %v with %d missed", e.Recall, len(e.Missed))
		}
		served, err := c.Search(t.Context(), req)
		if err != nil || served.Info != e.Result.Info {
			t.Fatalf("served by %+v, explained %+v: %v", served.Info, e.Result.Info, err)
		}
		for i, nb := range e.Result.Neighbors {
			if got := served.Neighbors[i]; got.ItemID != nb.ItemID || got.Score != nb.Score || got.Explanation != nil {
				t.Errorf("neighbor %d is %s in the answer and %s in its explanation", i+1, got.ItemID, nb.ItemID)
			}
			if a, err := c.ExplainAbsence(t.Context(), req, nb.ItemID); err != nil || a.Reason != Present || a.Rank != i+1 {
				t.Errorf("neighbor %d is absent: %+v, %v", i+1, a, err)
			}
			if r := e.ExactRanks[i]; r > 0 && r < i+1 || nb.Explanation == nil ||
				nb.Explanation.CandidateRank != i+1 || nb.Explanation.RankValue != float64(nb.Score) {
				t.Errorf("neighbor %d is number %d of the exact answer", i+1, r)
			}
		}
		for _, m := range e.Missed {
			missed++
			a, err := c.ExplainAbsence(t.Context(), req, m.ItemID)
			if err != nil || a.Reason != MissedBySearch || a.Rank < 1 || a.Rank > k || a.Score != m.Score {
				t.Errorf("%s was missed: %+v, %v", m.ItemID, a, err)
			}
		}
	}
	if missed == 0 {
		t.Error("nothing was missed: the test shows nothing")
	}
}

// TestSumOfVectors: under Sum the score is the sum of the scores for each example, also where examples are vectors and nothing
// else is asked for; explained or not.
func TestSumOfVectors(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		const dim = 5
		c := newTestCollection(t, dim, metric)
		rng := rand.New(rand.NewPCG(4, uint64(metric)))
		mustUpsert(t, c, randomItems(rng, 50, dim)...)
		examples := []Example{{Vector: randomVector(rng, dim)}, {Vector: randomVector(rng, dim), Weight: 2}}
		alone := func(e Example) map[string]float64 {
			r, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: e.Vector}, K: 50})
			if err != nil {
				t.Fatal(err)
			}
			scores := map[string]float64{}
			for _, n := range r.Neighbors {
				scores[n.ItemID] = float64(n.Score)
			}
			return scores
		}
		first, second := alone(examples[0]), alone(examples[1])
		for _, explain := range []bool{false, true} {
			r, err := c.Search(t.Context(), SearchRequest{
				Query: Query{Examples: &Examples{Positive: examples, Strategy: Sum}}, K: 50, Explain: explain,
			})
			if err != nil || len(r.Neighbors) != 50 {
				t.Fatalf("%d neighbors: %v", len(r.Neighbors), err)
			}
			for _, n := range r.Neighbors {
				if want := first[n.ItemID] + 2*second[n.ItemID]; math.Abs(float64(n.Score)-want) > 1e-4*(1+math.Abs(want)) {
					t.Errorf("%v, explained %t: %s scores %v, want %v", metric, explain, n.ItemID, n.Score, want)
				}
			}
		}
	}
}
