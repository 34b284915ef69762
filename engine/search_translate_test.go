package engine

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// TestTranslateAgainstDefinition: of what was found, sorted by distance and then id, those come that stand for their items and are not the
// seed, K of them at most, and more only to be cut. Items have moved and were deleted, distances tie, and there are more and fewer than are
// looked up together. Ids are of any length.
func TestTranslateAgainstDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(16, 14))
	for round := range 3000 {
		r := &release{table: newTable(), cfg: &CollectionConfig{Metric: []Metric{Cosine, InnerProduct, L2}[round%3]}}
		var (
			found  []hnsw.Candidate
			stands = map[uint32]string{} // by slot
			slots  = uint32(0)
		)
		items, ties := rng.IntN(4*lookAhead), 1+rng.IntN(30)
		for i := range items {
			id := fmt.Sprintf("%d-%s", rng.IntN(10), strings.Repeat(string(rune('a'+i%26)), 1+rng.IntN(100))+fmt.Sprint(i))
			last, deleted, moves := uint32(noSeed), rng.IntN(10) == 0, rng.IntN(3)
			for move := range moves + 1 {
				slot := slots
				slots++
				r.table.entries.set(slot, id, LSN(slot+1), nil)
				if move > 0 {
					r.table.replace(slot-1, slot)
				}
				if rng.IntN(3) > 0 {
					found = append(found, hnsw.Candidate{Slot: slot, Distance: float32(rng.IntN(ties))})
					last = slot
				}
			}
			if deleted {
				r.table.drop(slots - 1)
			} else if last != noSeed {
				stands[last] = id
			}
		}
		rng.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		slices.SortStableFunc(found, func(a, b hnsw.Candidate) int { return cmp.Compare(a.Distance, b.Distance) })
		seed, seedID := uint32(noSeed), ""
		if len(found) > 0 && rng.IntN(2) == 0 {
			seed = found[rng.IntN(len(found))].Slot
			seedID = r.table.entries.at(seed).id()
		}

		var want []Neighbor
		for _, c := range found {
			if id, ok := stands[c.Slot]; ok && id != seedID {
				want = append(want, Neighbor{ItemID: id, Distance: c.Distance, revision: LSN(c.Slot + 1)})
			}
		}
		slices.SortFunc(want, func(a, b Neighbor) int {
			return cmp.Or(cmp.Compare(a.Distance, b.Distance), strings.Compare(a.ItemID, b.ItemID))
		})
		req := &SearchRequest{K: 1 + rng.IntN(3*lookAhead)}
		want = want[:min(len(want), req.K)]

		got, err := r.translate(found, seed, seedID, req, &allowance{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, want, func(g, w Neighbor) bool {
			return g.ItemID == w.ItemID && g.Distance == w.Distance && g.revision == w.revision && g.Score == r.score(w.Distance)
		}) {
			t.Fatalf("round %d, k %d, %d found:\n%v, want\n%v", round, req.K, len(found), got, want)
		}
	}
}

// TestTranslateAllocations: two pieces of memory, one of neighbors and one of ids, however many there are.
func TestTranslateAllocations(t *testing.T) {
	r := &release{table: newTable(), cfg: &CollectionConfig{Metric: L2}}
	found := make([]hnsw.Candidate, 4*lookAhead)
	for i := range found {
		found[i] = hnsw.Candidate{Slot: uint32(i), Distance: float32(i)}
		r.table.entries.set(uint32(i), fmt.Sprintf("item-%03d", i), 1, nil)
	}
	for _, k := range []int{1, lookAhead - 1, lookAhead, lookAhead + 1, len(found)} {
		n := testing.AllocsPerRun(100, func() {
			if got, err := r.translate(found, noSeed, "", &SearchRequest{K: k}, &allowance{}); err != nil || len(got) != k {
				t.Fatalf("%d of %d, %v", len(got), k, err)
			}
		})
		if n > 2 {
			t.Errorf("k %d: %v allocations, want 2", k, n)
		}
	}
}

// BenchmarkTranslate looks up ten neighbors that are anywhere among a million: nothing of them is in the caches.
func BenchmarkTranslate(b *testing.B) {
	const items, k = 1 << 20, 10
	r := &release{table: newTable(), cfg: &CollectionConfig{Metric: L2}}
	for i := range items {
		r.table.entries.set(uint32(i), fmt.Sprintf("item-%07d", i), 1, nil)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	queries := make([][k]hnsw.Candidate, 1<<12)
	for i := range queries {
		for j := range queries[i] {
			queries[i][j] = hnsw.Candidate{Slot: rng.Uint32N(items), Distance: float32(j)}
		}
	}
	req := &SearchRequest{K: k}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if _, err := r.translate(queries[n%len(queries)][:], noSeed, "", req, &allowance{}); err != nil {
			b.Fatal(err)
		}
	}
}
