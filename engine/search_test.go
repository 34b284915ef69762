package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestSearchRecall: the graph's answers at the default effort against the exact ones, for every metric.
func TestSearchRecall(t *testing.T) {
	notUnderRace(t)
	const n, dim, k, queries = 3000, 24, 10, 60
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(5, 5))
			items := randomItems(rng, n, dim)
			c := newTestCollection(t, dim, metric)
			mustUpsert(t, c, items...)
			truth := oracleOf(metric, items)
			hits := 0
			for range queries {
				q := randomVector(rng, dim)
				exact, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: k, Exact: true})
				if err != nil {
					t.Fatal(err)
				}
				if err := truth.agrees(q, k, "", exact.Neighbors); err != nil {
					t.Fatal(err)
				}
				if exact.Info.Plan != PlanExact || exact.Info.Distances != n || exact.Info.EfUsed != 0 {
					t.Fatalf("exact search reports %+v", exact.Info)
				}
				got, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: k})
				if err != nil {
					t.Fatal(err)
				}
				if got.Info.Plan != PlanGraph || got.Info.EfUsed != DefaultEf(k) || got.Info.Distances == 0 || got.Info.Distances >= n {
					t.Fatalf("graph search reports %+v", got.Info)
				}
				worst := exact.Neighbors[k-1].Distance
				for _, nb := range got.Neighbors {
					if nb.Distance <= worst+1e-6 {
						hits++
					}
				}
			}
			if recall := float64(hits) / (queries * k); recall < 0.95 {
				t.Errorf("recall@%d = %.3f, want >= 0.95", k, recall)
			}
		})
	}
}

// TestSearchMoreThanExist: asking for more than there is gives all there is, and says so.
func TestSearchMoreThanExist(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := newTestCollection(t, 6, Cosine)
	empty, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: randomVector(rng, 6)}, K: 5})
	if err != nil || len(empty.Neighbors) != 0 || empty.Info.Completeness != Exhausted {
		t.Fatalf("search of an empty collection: %+v, %v", empty, err)
	}
	items := randomItems(rng, 30, 6)
	mustUpsert(t, c, items...)
	truth := oracleOf(Cosine, items)
	for _, k := range []int{29, 30, 31, 10_000} {
		for _, exact := range []bool{false, true} {
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{ItemID: items[3].ID}, K: k, Exact: exact})
			if err != nil {
				t.Fatal(err)
			}
			if err := truth.agrees(items[3].Vector, k, items[3].ID, res.Neighbors); err != nil {
				t.Errorf("k %d: %v", k, err)
			}
			if want := map[bool]Completeness{true: Complete, false: Exhausted}[k <= 29]; res.Info.Completeness != want {
				t.Errorf("k %d: completeness %v", k, res.Info.Completeness)
			}
		}
	}
}

// TestSearchDuplicates: many equal vectors come in order of id, the seed left out, none twice.
func TestSearchDuplicates(t *testing.T) {
	const n = 200
	c := newTestCollection(t, 4, L2)
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: fmt.Sprintf("dup-%03d", (i*37)%n), Vector: []float32{1, 2, 3, 4}}
	}
	mustUpsert(t, c, items...)
	res, err := c.Search(t.Context(), SearchRequest{Query: Query{ItemID: "dup-050"}, K: n - 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Neighbors) != n-1 {
		t.Fatalf("%d neighbors, want %d", len(res.Neighbors), n-1)
	}
	next := 0
	for i, nb := range res.Neighbors {
		if next == 50 {
			next++
		}
		if nb.ItemID != fmt.Sprintf("dup-%03d", next) || nb.Score != 0 {
			t.Fatalf("neighbor %d is %+v, want dup-%03d", i, nb, next)
		}
		next++
	}
}

func TestSearchReturnsAttributesAndVectors(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	c := newTestCollection(t, 5, Cosine)
	items := randomItems(rng, 20, 5)
	mustUpsert(t, c, items...)
	truth := oracleOf(Cosine, items)
	res, err := c.Search(t.Context(), SearchRequest{
		Query: Query{Vector: items[0].Vector}, K: 20, WithAttributes: true, AttributeNames: []string{"title"}, WithVectors: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, nb := range res.Neighbors {
		want := truth.items[nb.ItemID]
		if !sameVector(nb.Vector, want.Vector) {
			t.Errorf("%s: vector %v, written %v", nb.ItemID, nb.Vector, want.Vector)
		}
		if len(nb.Attributes) != 1 || nb.Attributes[0].Value.Keywords[0] != want.Attributes[1].Value.Keywords[0] {
			t.Errorf("%s: attributes %v", nb.ItemID, nb.Attributes)
		}
	}
}

// TestUserQuery: a profile is asked with like a vector, and is never a neighbor.
func TestUserQuery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		c := newTestCollection(t, 5, InnerProduct)
		items := randomItems(rng, rapid.IntRange(1, 30).Draw(rt, "n"), 5)
		mustUpsert(t, c, items...)
		user := Profile{UserID: items[0].ID, Interests: []Interest{{Vector: randomVector(rng, 5)}}} // the same name as an item
		if _, err := c.UpsertProfiles(t.Context(), []Profile{user}); err != nil {
			rt.Fatal(err)
		}
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{UserID: user.UserID}, K: 40})
		if err != nil {
			rt.Fatal(err)
		}
		if err := oracleOf(InnerProduct, items).agrees(user.Interests[0].Vector, 40, "", res.Neighbors); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestSearchUnknown(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	for kind, q := range map[string]Query{"item": {ItemID: "nobody"}, "user": {UserID: "nobody"}} {
		_, err := c.Search(t.Context(), SearchRequest{Query: q, K: 1})
		var nf *NotFoundError
		if !errors.As(err, &nf) || nf.Kind != kind || nf.Name != "nobody" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, err := c.engine.Collection("other"); !errors.As(err, new(*NotFoundError)) {
		t.Errorf("unknown collection: %v", err)
	}
}

func TestSearchHonoursContext(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	c := newTestCollection(t, 8, L2)
	mustUpsert(t, c, randomItems(rng, 500, 8)...)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, exact := range []bool{false, true} {
		_, err := c.Search(ctx, SearchRequest{Query: Query{Vector: randomVector(rng, 8)}, K: 10, Exact: exact})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("exact %v: %v", exact, err)
		}
	}
}

// BenchmarkSearch is the engine's own cost: one query, k 10, default effort.
func BenchmarkSearch(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	c := newTestCollection(b, 64, Cosine)
	items := randomItems(rng, 10_000, 64)
	mustUpsert(b, c, items...)
	b.ReportAllocs()
	distances, n := 0, 0
	for b.Loop() {
		res, err := c.Search(context.Background(), SearchRequest{Query: Query{ItemID: items[n%len(items)].ID}, K: 10})
		if err != nil {
			b.Fatal(err)
		}
		distances += res.Info.Distances
		n++
	}
	b.ReportMetric(float64(distances)/float64(n), "distances/op")
}

// TestTiesAtTheCut: of many items at one distance those with the lowest ids are returned, though more tie than
// are fetched at first.
func TestTiesAtTheCut(t *testing.T) {
	const n, k = 60, 5
	c := newTestCollection(t, 3, L2)
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: fmt.Sprintf("tie-%02d", (i*23)%n), Vector: []float32{0, 0, 2}}
	}
	mustUpsert(t, c, items...)
	mustUpsert(t, c, Item{ID: "zz-nearest", Vector: []float32{0, 0, 1}})
	for _, exact := range []bool{false, true} {
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{0, 0, 0}}, K: k, Exact: exact})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"zz-nearest", "tie-00", "tie-01", "tie-02", "tie-03"}
		for i, nb := range res.Neighbors {
			if nb.ItemID != want[i] {
				t.Errorf("exact %v: neighbor %d is %s, want %s", exact, i, nb.ItemID, want[i])
			}
		}
	}
}

// TestScoreIsNeverMinusZero: a client that prints scores should not see -0.
func TestScoreIsNeverMinusZero(t *testing.T) {
	for _, metric := range []Metric{L2, InnerProduct} {
		c := newTestCollection(t, 2, metric)
		mustUpsert(t, c, Item{ID: "a", Vector: []float32{1, 0}})
		q := map[Metric][]float32{L2: {1, 0}, InnerProduct: {0, 1}}[metric]
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 1})
		if err != nil {
			t.Fatal(err)
		}
		if s := res.Neighbors[0].Score; s != 0 || math.Signbit(float64(s)) {
			t.Errorf("%v: score %g", metric, s)
		}
	}
}
