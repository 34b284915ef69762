package hnsw

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/distance"
)

// linkPlan is what the read-only phase of Link found, level by level. It belongs to a searcher, which keeps its memory.
type linkPlan struct {
	level   int    // of the new node
	found   int    // candidates were looked for on levels 0..found; -1 in an empty index
	codes   *codes // what the node was coded under, or nil
	clipped int    // components that the codec clipped
	seen    uint64 // commits when the search began: later ones it may have missed
	cands   [maxLevel + 1][]uint64
	reach   [maxLevel + 1]uint64 // entries at or beyond it are no candidates: the beam was full of better ones
	links   [maxLevel + 1][]uint32
	picker  neighborPicker
	victims victims
	expect  []expectedVictim
}

// expectedVictim is the link that the row of v on a level will give up for the new node, unless the row changes until then.
type expectedVictim struct {
	v, out uint32
	level  int
}

// maxEqualCands is the most candidates at one distance in the beam of an insert; see pool.maxEqual.
const maxEqualCands = 2 * maxEqualLinks

// Insert stores vec and links it: Allocate, then Link. Errors are theirs.
func (x *Index) Insert(vec []float32) (uint32, error) {
	slot, err := x.Allocate(vec)
	if err != nil {
		return 0, err
	}
	return slot, x.Link(slot)
}

// Link makes an allocated slot live: searches that start after Link returns can find it.
//
// The search for neighbours runs in the caller's goroutine and any number of them at once; the commit that follows is one
// at a time. Errors: ErrNotAllocated, ErrClosed. Cost: O(EfConstruction * M) distances. Source: Malkov & Yashunin 2018,
// Algorithm 1; the two phases are Vespa's.
func (x *Index) Link(slot uint32) error {
	// Held until the commit is done, so that candidates may die meanwhile but are not reused.
	s := x.Acquire()
	defer s.Release()
	if s.closed {
		return ErrClosed
	}
	if !x.beginLink(slot) {
		return ErrNotAllocated
	}
	s.planLinks(slot)
	x.lockForCommit()
	defer x.mu.Unlock()
	x.commit(slot, s)
	x.linked(slot)
	return nil
}

// commitYields is how often a Link yields before it sleeps until its commit's turn.
const commitYields = 200

// lockForCommit takes mu. A commit takes microseconds, less than putting a goroutine to sleep and waking it, where a fifth of the
// time of two goroutines went that link 62,461 tracks.
func (x *Index) lockForCommit() {
	for range commitYields {
		if x.mu.TryLock() {
			return
		}
		runtime.Gosched()
	}
	x.mu.Lock()
}

// beginLink moves slot from allocated to linking.
func (x *Index) beginLink(slot uint32) bool {
	return slot < x.slots.Load() && atomic.CompareAndSwapUint32(&x.parents[slot], stateAllocated, stateLinking)
}

// planLinks finds the candidates of a new node and picks its links among them, on every level it shares with the graph.
func (s *Searcher) planLinks(slot uint32) {
	x, p := s.x, &s.plan
	p.level, p.found = x.level(slot), -1
	p.seen = x.commits.Load()
	s.scorer.bindSlot(slot)
	vec := s.scorer.query[:x.o.Dim]
	s.bindWalk(vec)
	if p.codes = s.walking; p.codes != nil {
		p.clipped = p.codes.encode(p.codes.row(slot), vec)
	}
	if p.picker.scorer.vectors == nil {
		p.picker.scorer.init(x)
		p.victims.init(x)
	}
	p.picker.scorer.codes, p.victims.scorer.codes = x.linkCodes(p.codes), x.linkCodes(p.codes)
	p.expect = p.expect[:0]
	s.scorer.count, s.code.count, s.hops, s.passed = 0, 0, 0, s.passed[:0]
	defer func() { x.distances.Add(uint64(s.scorer.count + s.code.count)) }()
	entry := x.entry.Load()
	if entry == noEntry {
		return
	}
	_, top := unpackEntryPoint(entry)
	p.found = min(top, p.level)
	s.descend(entry, p.found)
	for level := p.found; level >= 0; level-- {
		// The background context is never done, so beam cannot fail.
		_ = s.beam(context.Background(), level, reach{width: x.o.EfConstruction}, maxEqualCands)
		p.cands[level] = s.candidates(p.cands[level][:0], s.pool.sorted())
		p.reach[level] = 1<<64 - 1
		if n := len(p.cands[level]); n >= x.o.EfConstruction {
			p.reach[level] = p.cands[level][n-1]
		}
		if level == 0 {
			s.lookFurther()
		}
		s.pickLinks(level)
		s.starts = append(s.starts[:0], s.pool.items...)
	}
	s.expectVictims(slot)
}

// expectVictims chooses, where the rows of the new node's neighbours are full, which links they will give up, as far as can be
// seen now. It is most of the work of linking back, and the committer, which does one node at a time, is spared it.
func (s *Searcher) expectVictims(slot uint32) {
	x, p := s.x, &s.plan
	before := p.victims.scorer.count
	for level := 0; level <= p.found; level++ {
		for _, v := range p.links[level] {
			distance.Prefetch(x.row(v, level))
		}
		for _, v := range p.links[level] {
			if !x.hasRoom(v, level) {
				p.expect = append(p.expect, expectedVictim{v, p.victims.victim(v, slot, level, false), level})
			}
		}
	}
	s.scorer.count += p.victims.scorer.count - before
}

// expectedVictim returns what expectVictims chose, or nilSlot.
func (p *linkPlan) expectedVictim(v uint32, level int) uint32 {
	for _, e := range p.expect {
		if e.v == v && e.level == level {
			return e.out
		}
	}
	return nilSlot
}

// lookFurther adds to the candidates of level 0 what the walk saw of level 1, which it has paid for: nodes from all around,
// where the beam holds the nearest. Without them a node that comes into a cluster larger than the beam has links within
// the cluster only, and churn wears the links between clusters out until searches are trapped in the wrong one.
//
// Vamana (Subramanya et al. 2019, Algorithm 3) picks among all that its search visited, to the same end.
func (s *Searcher) lookFurther() {
	p := &s.plan
	if p.found > 0 {
		p.cands[0] = append(p.cands[0], p.cands[1][:min(len(p.cands[1]), s.x.m0)]...)
	} else {
		p.cands[0] = s.candidates(p.cands[0], s.passed)
	}
	slices.Sort(p.cands[0])
	p.cands[0] = slices.Compact(p.cands[0])
}

// candidates appends entries of the walk to dst, not expanded, with the keys of true distances, and sorts dst.
func (s *Searcher) candidates(dst, entries []uint64) []uint64 {
	if s.walking == nil || s.plan.picker.scorer.codes != nil {
		for _, e := range entries {
			dst = append(dst, e&^1)
		}
		slices.Sort(dst)
		return dst
	}
	for len(entries) > 0 {
		n := min(len(entries), scoreBatch)
		for i, e := range entries[:n] {
			s.ids[i] = entrySlot(e)
		}
		s.scorer.keys(s.ids[:n], s.keys[:n])
		for i, k := range s.keys[:n] {
			dst = append(dst, packEntry(k, s.ids[i]))
		}
		entries = entries[n:]
	}
	slices.Sort(dst)
	return dst
}

// pickLinks picks the new node's links on a level among the plan's candidates.
func (s *Searcher) pickLinks(level int) {
	p := &s.plan
	diverse, most := s.x.linkBudget(level)
	before := p.picker.scorer.count
	p.links[level] = p.picker.pick(p.links[level][:0], p.cands[level], diverse, most)
	s.scorer.count += p.picker.scorer.count - before
}

// linkBudget returns how many links at most a new node picks on a level by the heuristic, and how many it fills them up to
// with the nearest of those that the heuristic pruned.
//
// Measured at M = 16, recall per distance: filling to 32 is best on tracks and evenly spread data by a few percent, but on
// well-separated clusters the cluster mates then drive out the links between clusters (at ef 64, recall .94 for .98). To 8
// keeps nearly all of the gain and costs a third of the distances in building. Filling the upper levels only costs. Inner
// products want more links, because the heuristic prunes everything behind a large norm.
func (x *Index) linkBudget(level int) (diverse, most int) {
	switch {
	case level > 0:
		return x.m, 0
	case x.oneWayLinks:
		return x.m0, x.m
	default:
		return x.m, max(x.m/2, minLinks)
	}
}
