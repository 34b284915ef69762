package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
)

// TestWritesDuringSearch: what is deleted, moved away or changed so that the filter does not allow it, between being found and
// being picked, is not answered, and others take its place; what is written anew with the same vector is answered once.
func TestWritesDuringSearch(t *testing.T) {
	c := newTestCollection(t, exactDim, L2)
	rng := rand.New(rand.NewPCG(3, 1))
	items := make([]Item, 200)
	for i := range items {
		v := make([]float32, exactDim)
		v[0] = float32(i)
		items[i] = Item{ID: fmt.Sprintf("t%03d", i), Vector: v, Attributes: Attributes{
			{Name: "artists", Value: Value{Type: Keyword, Keywords: []string{fmt.Sprint("a", i/2)}}},
			{Name: "ok", Value: Value{Type: Bool, Bool: true}},
		}}
	}
	rng.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	mustUpsert(t, c, items...)
	for _, each := range []bool{false, true} {
		req := SearchRequest{
			Query:    Query{Vector: make([]float32, exactDim)},
			K:        20,
			Crowding: []CrowdingLimit{{Attribute: "artists", Most: 1}},
			Filter:   &Filter{Op: filter.In, Attribute: "ok", Values: []attribute.Value{{Type: Bool, Bool: true}}},
		}
		r := c.published.Load()
		s := r.index.Acquire()
		allowed, err := r.allowed(t.Context(), req.Filter, &req.Exclusions)
		if err != nil {
			t.Fatal(err)
		}
		a := oneProbe(req.Query.Vector, noSeed)
		if each {
			a = aimAtInterests([]Interest{{Vector: req.Query.Vector}, {Vector: req.Query.Vector, Weight: 2}})
		}
		q := newRanked(r, s, &a, &req, &allowed, new(SearchInfo))
		if err := q.seek(t.Context(), 60, false); err != nil {
			t.Fatal(err)
		}
		before := q.pickIDs()
		if len(before) != req.K {
			t.Fatalf("%d picks", len(before))
		}
		away := byID(items, before[1])
		away.Vector = slices.Clone(away.Vector)
		away.Vector[5] = 1000
		denied := byID(items, before[2])
		denied.Attributes = Attributes{{Name: "ok", Value: Value{Type: Bool, Bool: false}}}
		if _, _, err := c.Delete(t.Context(), []string{before[0]}); err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, c, away, denied, byID(items, before[3]))

		if err := q.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := q.pickIDs()
		if len(after) != req.K {
			t.Errorf("each %v: %d picks after the writes", each, len(after))
		}
		for i, id := range before {
			// An old version may stand for one that was written anew and not found.
			if there := slices.Contains(after, id); i < 3 && i != 1 && there || i > 3 && i < req.K-3 && !there {
				t.Errorf("each %v: %s, pick %d, is there: %v", each, id, i+1, there)
			}
		}
		artists := map[string]bool{}
		for _, id := range after {
			if artist := keywordsOf(byID(items, id), "artists")[0]; artists[artist] {
				t.Errorf("each %v: %s comes twice in %v", each, artist, after)
			} else {
				artists[artist] = true
			}
		}
		allowed.release()
		s.Release()
		mustUpsert(t, c, items...)
	}
}

func (q *ranked) pickIDs() (ids []string) {
	for _, p := range q.picks {
		ids = append(ids, q.idOf(q.cands[p.Index].Row))
	}
	return ids
}

func byID(items []Item, id string) Item {
	return items[slices.IndexFunc(items, func(it Item) bool { return it.ID == id })]
}
