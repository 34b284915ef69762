package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
)

// stepping is a context that runs fn at each look that a search takes at it: writes fall where the test wants them.
type stepping struct {
	context.Context
	look int
	fn   func(look int)
}

func (c *stepping) step() { c.look++; c.fn(c.look) }

func (c *stepping) Err() error            { c.step(); return nil }
func (c *stepping) Done() <-chan struct{} { c.step(); return nil }

// herd is a collection of items that move and change nothing else. Item i is of artist i/2; even ones are ok, and the first of
// five in exclusion set "heard".
type herd struct {
	c     *Collection
	items []Item
}

const (
	herdDim   = 8
	herdItems = 400
	herdHeard = 5
)

func newHerd(t *testing.T, metric Metric) *herd {
	h := &herd{c: newTestCollection(t, herdDim, metric)}
	rng := rand.New(rand.NewPCG(17, uint64(metric)))
	var heard []string
	for i := range herdItems {
		it := Item{ID: fmt.Sprintf("t%03d", i), Vector: randomVector(rng, herdDim), Attributes: Attributes{
			{Name: "artist", Value: Value{Type: Keyword, Keywords: []string{fmt.Sprint("a", i/2)}}},
			{Name: "ok", Value: Value{Type: Bool, Bool: i%2 == 0}},
		}}
		h.items = append(h.items, it)
		if i%herdHeard == 0 {
			heard = append(heard, it.ID)
		}
	}
	mustUpsert(t, h.c, h.items...)
	if err := h.c.AddExclusions(t.Context(), "heard", heard, time.Time{}); err != nil {
		t.Fatal(err)
	}
	return h
}

// move gives n of the items from .. to-1 new vectors.
func (h *herd) move(ctx context.Context, rng *rand.Rand, from, to, n int) error {
	moved := make([]Item, 0, n)
	for _, i := range rng.Perm(to - from)[:n] {
		it := h.items[from+i]
		it.Vector = randomVector(rng, herdDim)
		moved = append(moved, it)
	}
	_, err := h.c.Upsert(ctx, moved)
	return err
}

// herdRequest is a request, and what belongs to its answer where it asks for more than there is.
type herdRequest struct {
	name string
	SearchRequest
	belongs  func(i int) bool
	artists  bool // one of each artist
	complete bool // K is no more than there is
}

// herdRequests are requests of every kind.
func herdRequests() (all []herdRequest) {
	whole := func(int) bool { return true }
	isOK := func(i int) bool { return i%2 == 0 }
	unheard := func(i int) bool { return i%herdHeard != 0 }
	ok := &Filter{Op: filter.In, Attribute: "ok", Values: []attribute.Value{{Type: Bool, Bool: true}}}
	heard := Exclusions{Sets: []string{"heard"}}
	const more = herdItems + 50
	for _, exact := range []bool{false, true} {
		for _, r := range []herdRequest{
			{"plain", SearchRequest{K: more}, whole, false, false},
			{"plain, all", SearchRequest{K: herdItems}, whole, false, true},
			{"filtered", SearchRequest{K: more, Filter: ok}, isOK, false, false},
			{"filtered, all", SearchRequest{K: herdItems / 2, Filter: ok}, isOK, false, true},
			{"excluded set", SearchRequest{K: more, Exclusions: heard}, unheard, false, false},
			{"excluded ids", SearchRequest{K: more, Exclusions: Exclusions{ItemIDs: []string{"t000"}}}, func(i int) bool { return i > 0 }, false, false},
			{"filtered and excluded", SearchRequest{K: more, Filter: ok, Exclusions: heard}, func(i int) bool { return isOK(i) && unheard(i) }, false, false},
			{"pages", SearchRequest{K: more, PageSize: herdItems}, whole, false, false},
			{"partial", SearchRequest{K: more, AllowPartial: true}, whole, false, false},
			{"crowded", SearchRequest{K: more, Crowding: []CrowdingLimit{{"artist", 1}}}, whole, true, false},
			{"crowded, all", SearchRequest{K: herdItems / 2, Crowding: []CrowdingLimit{{"artist", 1}}}, whole, true, true},
			{"crowded, filtered", SearchRequest{K: more, Filter: ok, Crowding: []CrowdingLimit{{"artist", 1}}}, isOK, false, false},
			{"deduplicated", SearchRequest{K: more, Dedupe: "artist", Exclusions: heard}, unheard, true, false},
		} {
			r.Exact = exact
			r.name = fmt.Sprintf("%s, exact %t", r.name, exact)
			all = append(all, r)
		}
	}
	return append(all,
		herdRequest{"interests", SearchRequest{K: more, Query: Query{Interests: []Interest{{}, {}}}}, whole, false, false},
		herdRequest{"examples", SearchRequest{K: more, Query: Query{Examples: &Examples{Positive: []Example{{}, {}}, Strategy: BestScore}}}, whole, false, false},
	)
}

// ask draws the vectors of a request, asks it and says what is wrong with the answer.
func (h *herd) ask(ctx context.Context, rng *rand.Rand, r *herdRequest) string {
	req := r.SearchRequest
	switch q := &req.Query; {
	case q.Interests != nil:
		q.Interests = []Interest{{Vector: randomVector(rng, herdDim)}, {Vector: randomVector(rng, herdDim)}}
	case q.Examples != nil:
		q.Examples = &Examples{Positive: []Example{{Vector: randomVector(rng, herdDim)}, {Vector: randomVector(rng, herdDim)}}, Strategy: BestScore}
	default:
		q.Vector = randomVector(rng, herdDim)
	}
	res, err := h.c.Search(ctx, req)
	if err != nil {
		return err.Error()
	}
	seen, artists := map[string]bool{}, map[int]bool{}
	for _, n := range res.Neighbors {
		var i int
		if _, err := fmt.Sscanf(n.ItemID, "t%d", &i); err != nil || !r.belongs(i) {
			return fmt.Sprintf("%s does not belong there: %v", n.ItemID, err)
		}
		if seen[n.ItemID] {
			return n.ItemID + " comes twice"
		}
		seen[n.ItemID] = true
		if r.artists && artists[i/2] {
			return fmt.Sprintf("artist %d comes twice", i/2)
		}
		artists[i/2] = true
	}
	missing := 0
	for i := range h.items {
		if r.belongs(i) && !seen[h.items[i].ID] && !(r.artists && artists[i/2]) {
			missing++
		}
	}
	if missing > 0 && r.PageSize == 0 || len(res.Neighbors) > req.K {
		return fmt.Sprintf("%d are missing among %d: %+v", missing, len(res.Neighbors), res.Info)
	}
	if r.PageSize > 0 && len(res.Neighbors) != r.PageSize {
		return fmt.Sprintf("a page of %d", len(res.Neighbors))
	}
	completeness, shortfall := Exhausted, ShortOfItems
	switch {
	case r.complete:
		completeness, shortfall = Complete, NoShortfall
	case r.artists:
		shortfall = ShortByCrowding
	}
	if res.Info.Completeness != completeness || res.Info.Shortfall != shortfall {
		return fmt.Sprintf("%d neighbors, want %d, %d: %+v", len(res.Neighbors), completeness, shortfall, res.Info)
	}
	return ""
}

// TestMovesDuringSearch: at whatever look at its context items move under a search, it answers with every one of them that belongs to
// the answer, each once, and says of a short answer what it would say if nothing moved.
func TestMovesDuringSearch(t *testing.T) {
	h := newHerd(t, L2)
	rng := rand.New(rand.NewPCG(23, 1))
	for _, r := range herdRequests() {
		for at := 1; ; at++ {
			ctx := &stepping{t.Context(), 0, func(look int) {
				if look < at || look >= at+3 { // by some of them for the second time
					return
				}
				if err := h.move(t.Context(), rng, 0, herdItems, herdItems/2); err != nil {
					t.Fatal(err)
				}
			}}
			if wrong := h.ask(ctx, rng, &r); wrong != "" {
				t.Errorf("%s, moves from look %d: %s", r.name, at, wrong)
				break
			}
			if ctx.look < at {
				break
			}
		}
	}
	if err := h.c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
}

// TestMovesHideNothing: of items that stay where they are an exact search answers all that are nearer than the last of its answer,
// while others move at every look.
func TestMovesHideNothing(t *testing.T) {
	h := newHerd(t, L2)
	rng := rand.New(rand.NewPCG(29, 1))
	const still, k = herdItems / 2, 30
	for _, r := range herdRequests() {
		if !r.Exact || r.artists || r.PageSize > 0 {
			continue
		}
		r.K = k
		r.Query.Vector = randomVector(rng, herdDim)
		ctx := &stepping{t.Context(), 0, func(int) {
			if err := h.move(t.Context(), rng, still, herdItems, still/2); err != nil {
				t.Fatal(err)
			}
		}}
		res, err := h.c.Search(ctx, r.SearchRequest)
		if err != nil || len(res.Neighbors) != k || res.Info.Completeness != Complete {
			t.Fatalf("%s: %d neighbors, %+v, %v", r.name, len(res.Neighbors), res.Info, err)
		}
		last := res.Neighbors[k-1].Distance
		for i := range still {
			there := slices.ContainsFunc(res.Neighbors, func(n Neighbor) bool { return n.ItemID == h.items[i].ID })
			d := 0.0
			for j, x := range r.Query.Vector {
				d += math.Pow(float64(x-h.items[i].Vector[j]), 2)
			}
			if r.belongs(i) && !there && d < float64(last)*(1-1e-5) {
				t.Errorf("%s: %s at %g is missing, the last is at %g", r.name, h.items[i].ID, d, last)
			}
		}
	}
}

// TestMovesAndSearchesConcurrently has items move without end, in groups of one and of many, while searches of every kind run.
func TestMovesAndSearchesConcurrently(t *testing.T) {
	h := newHerd(t, Cosine)
	rounds := 150
	if testing.Short() {
		rounds = 50
	}
	var writing, reading sync.WaitGroup
	var stop atomic.Bool
	const writers = 2
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(31, uint64(w)))
			for range rounds {
				n := 1 + rng.IntN(2)*rng.IntN(herdItems/writers)
				if err := h.move(t.Context(), rng, w*herdItems/writers, (w+1)*herdItems/writers, n); err != nil {
					t.Error(err)
					return
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	for n := range 3 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(37, uint64(n)))
			for requests := herdRequests(); !stop.Load(); {
				r := &requests[rng.IntN(len(requests))]
				if wrong := h.ask(t.Context(), rng, r); wrong != "" {
					t.Errorf("%s: %s", r.name, wrong)
					return
				}
			}
		})
	}
	writing.Wait()
	stop.Store(true)
	reading.Wait()
	if err := h.c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
}

// poles are two items of a herd that never move, each the farthest from the other by far.
func (h *herd) poles(t *testing.T) (north, south string) {
	for i, id := range []string{"north", "south"} {
		v := make([]float32, herdDim)
		v[0] = float32(1000 * (1 - 2*i))
		mustUpsert(t, h.c, Item{ID: id, Vector: v, Attributes: h.items[0].Attributes})
	}
	return "north", "south"
}

// movingFrom is a context at whose looks from at to at+2 half of the herd moves.
func (h *herd) movingFrom(t *testing.T, rng *rand.Rand, at int) *stepping {
	return &stepping{t.Context(), 0, func(look int) {
		if look < at || look >= at+3 {
			return
		}
		if err := h.move(t.Context(), rng, 0, herdItems, herdItems/2); err != nil {
			t.Fatal(err)
		}
	}}
}

// TestMovesAreCountedOnce: whatever counts items by searches counts each once, also where it moves meanwhile: the place of an item
// that is absent, the lists of hubs, and the true neighbors that recall is measured by.
func TestMovesAreCountedOnce(t *testing.T) {
	notUnderRace(t)
	h := newHerd(t, L2)
	north, south := h.poles(t)
	rng := rand.New(rand.NewPCG(41, 1))
	const others = herdItems + 1 // of either pole
	r := h.c.published.Load()
	pole := make([]float32, herdDim)
	pole[0] = 1000
	example := func(id string) Example { return Example{ItemID: id} }
	absences := []struct {
		name string
		id   string
		req  SearchRequest
		rank int
	}{
		{"vector", south, SearchRequest{Query: Query{Vector: pole}}, others + 1},
		{"item that stays", south, SearchRequest{Query: Query{ItemID: north}}, others},
		{"examples that move", south, SearchRequest{Query: Query{Examples: &Examples{
			Positive: []Example{example(north), example("t001"), example("t002")}, Strategy: BestScore}}}, others - 2},
		{"filtered", south, SearchRequest{Query: Query{Vector: pole}, Filter: &Filter{Op: filter.In, Attribute: "ok",
			Values: []attribute.Value{{Type: Bool, Bool: true}}}}, herdItems/2 + 2},
		{"excluded", south, SearchRequest{Query: Query{Vector: pole}, Exclusions: Exclusions{Sets: []string{"heard"}}},
			herdItems - herdItems/herdHeard + 2},
	}
	for _, c := range absences {
		c.req.K = 1
		for at := 1; ; at++ {
			ctx := h.movingFrom(t, rng, at)
			got, err := h.c.ExplainAbsence(ctx, c.req, c.id)
			if err != nil {
				t.Fatal(err)
			}
			if got.Reason != BeyondK || got.Rank != c.rank {
				t.Errorf("%s, moves from look %d: reason %d, rank %d, want %d", c.name, at, got.Reason, got.Rank, c.rank)
				break
			}
			if ctx.look < at {
				break
			}
		}
	}
	for at := 1; ; at++ {
		ctx, counts := h.movingFrom(t, rng, at), map[string]int{}
		for _, id := range []string{north, h.items[0].ID} {
			if ok, err := r.countNeighbors(ctx, id, others, counts); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		for id, n := range counts {
			if want := map[bool]int{false: 2, true: 1}[id == north || id == h.items[0].ID]; n != want {
				t.Fatalf("moves from look %d: %s is on %d lists, want %d", at, id, n, want)
			}
		}
		if len(counts) != others+1 {
			t.Fatalf("moves from look %d: %d items are on lists, want %d", at, len(counts), others+1)
		}
		if ctx.look < at {
			break
		}
	}
	for at := 1; ; at++ {
		ctx := h.movingFrom(t, rng, at)
		ok, err := r.measure(ctx, north, others, []int{others, 2 * others}, func(i int, recall float64, _ int) {
			if recall != 1 {
				t.Errorf("moves from look %d: point %d has recall %v of all there are", at, i, recall)
			}
		})
		if !ok || err != nil || t.Failed() {
			t.Fatal(ok, err)
		}
		sample := sampled{id: north, vector: pole}
		if err := r.ask(ctx, &sample, []int{DefaultEf(reportK)}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(sample.list)
		if sample.truth != reportK || len(slices.Compact(sample.list)) != reportK {
			t.Fatalf("moves from look %d: %d true neighbors, found %v", at, sample.truth, sample.list)
		}
		if ctx.look < at {
			break
		}
	}
}
