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
