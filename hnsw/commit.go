package hnsw

import (
	"slices"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/invariants"
)

const (
	// recentLinks is how many of the newest nodes a commit can compare with: those committed since its search began.
	recentLinks = 64

	// fewLive is the number of live nodes up to which a commit takes all of them as candidates. It must be more than
	// minLinks: up to minLinks+1 nodes everyone is linked with everyone, and no search may miss one.
	fewLive = 2 * minLinks
)

// committer holds the memory of commits. mu guards it.
type committer struct {
	x       *Index
	scorer  scorer
	victims victims // its scorer reads what links are judged by now; see Index.linkCodes
	ids     []uint32
	keys    []uint32
	poor    []uint32 // nodes that may have fewer than minLinks links on level 0
	wave    []uint32
	visited visited
	matrix  []uint32 // keys between the neighbours of a deleted node
	had     []int    // their degrees before
	parts   []int    // their components
}

func (c *committer) init(x *Index) {
	c.x = x
	c.scorer.init(x)
	c.victims.init(x)
	c.ids = make([]uint32, 0, 2*x.m0)
	c.keys = make([]uint32, 2*x.m0)
	c.matrix = make([]uint32, x.m0*x.m0)
	c.had = make([]int, x.m0)
	c.parts = make([]int, x.m0)
}

// computed returns how many distances the committer has computed.
func (c *committer) computed() int { return c.scorer.count + c.victims.scorer.count }

// commit links slot as s has planned it. The caller holds mu.
//
// Order of publication: the vector is written; then the node's own rows, the live bit, the links of its neighbours, and
// the entry point, all atomic. A reader who loads the id of the node therefore finds the rest of it.
func (x *Index) commit(slot uint32, s *Searcher) {
	c, p := &x.c, &s.plan
	before := c.computed()
	live := x.Len()
	if live == 0 {
		x.setParent(slot, slot)
		x.setLive(slot, true)
		x.entry.Store(packEntryPoint(slot, p.level))
		x.logCommit(slot)
		return
	}
	x.encodeForCommit(slot, p)
	x.refreshPlan(slot, s)
	parent := c.adopter(p.links[0])
	if !slices.Contains(p.links[0], parent) {
		p.links[0] = append(p.links[0][:min(len(p.links[0]), x.m0-1)], parent)
	}
	for level := min(p.level, p.found); level >= 0; level-- {
		setRow(x.rowForWrite(slot, level), p.links[level])
	}
	x.links.Add(int64(len(p.links[0])))
	x.setParent(slot, parent)
	x.setLive(slot, true)
	for level := 0; level <= min(p.level, p.found); level++ {
		for _, v := range p.links[level] {
			c.linkBack(v, slot, level, p)
		}
	}
	c.poor = append(c.poor, slot)
	c.enrich()
	if _, top := unpackEntryPoint(x.entry.Load()); p.level > top {
		x.entry.Store(packEntryPoint(slot, p.level))
	}
	x.logCommit(slot)
	x.reclaim()
	x.refit()
	x.distances.Add(uint64(c.computed() - before))
	if invariants.Enabled {
		x.checkNode(slot)
	}
}

// logCommit makes slot known to the commits of searches that are under way.
func (x *Index) logCommit(slot uint32) {
	n := x.commits.Load()
	x.recent[n%recentLinks] = slot
	x.commits.Store(n + 1)
}

// refreshPlan brings a plan up to date: candidates that died are dropped, nodes committed since the search began are
// added, and where that changes the candidates that matter, links are picked again.
func (x *Index) refreshPlan(slot uint32, s *Searcher) {
	c, p := &x.c, &s.plan
	if now := x.codes.Load(); now != p.codes {
		p.rescore(slot, x.linkCodes(now))
	}
	_, top := unpackEntryPoint(x.entry.Load())
	if x.Len() <= fewLive {
		p.found = min(top, p.level)
		c.ids = x.appendLive(c.ids[:0])
		for level := 0; level <= p.found; level++ {
			p.cands[level], p.reach[level] = p.cands[level][:0], 1<<64-1
			c.mergeCands(slot, p, level)
			s.pickLinks(level)
		}
		return
	}
	c.ids = c.ids[:0]
	newest := x.commits.Load()
	for n := max(p.seen, newest-min(newest, recentLinks)); n < newest; n++ {
		if v := x.recent[n%recentLinks]; x.isLive(v) && !slices.Contains(c.ids, v) {
			c.ids = append(c.ids, v)
		}
	}
	for level := 0; level <= p.found; level++ {
		changed := slices.ContainsFunc(p.links[level], func(v uint32) bool { return !x.isLive(v) })
		// Also where no link died: picking again must not come upon a dead candidate that was passed over before.
		p.cands[level] = slices.DeleteFunc(p.cands[level], func(e uint64) bool { return !x.isLive(entrySlot(e)) })
		if c.mergeCands(slot, p, level) || changed {
			s.pickLinks(level)
		}
	}
	if len(p.links[0]) == 0 {
		// Everything the search found is dead, or it found an empty index. Nothing changes now, so search again.
		s.planLinks(slot)
	}
}

// rescore gives the candidates of a plan the keys that they have by to: walks have come to read something else since.
func (p *linkPlan) rescore(slot uint32, to *codes) {
	p.picker.scorer.codes = to
	p.picker.scorer.bindSlot(slot)
	for level := 0; level <= p.found; level++ {
		cands := p.cands[level]
		for i, e := range cands {
			cands[i] = packEntry(p.picker.scorer.key(entrySlot(e)), entrySlot(e))
		}
		slices.Sort(cands)
		p.reach[level] = 1<<64 - 1
	}
}

// mergeCands adds those of c.ids that have the level and are within the reach of a plan to its candidates, and reports
// whether there are any.
func (c *committer) mergeCands(slot uint32, p *linkPlan, level int) bool {
	x := c.x
	p.picker.scorer.bindSlot(slot)
	n := len(p.cands[level])
	for _, v := range c.ids {
		if x.level(v) < level {
			continue
		}
		e := packEntry(p.picker.scorer.key(v), v)
		if e < p.reach[level] && !slices.Contains(p.cands[level][:n], e) {
			p.cands[level] = append(p.cands[level], e)
		}
	}
	slices.Sort(p.cands[level])
	return len(p.cands[level]) > n
}

// linkBack adds u, which already links to v, to the row of v. If the row is full, the link that v can best do without is
// dropped at both ends; that may be the new one, unless it is an edge of the tree of links. The plan expects which it is.
func (c *committer) linkBack(v, u uint32, level int, p *linkPlan) {
	x := c.x
	if x.hasRoom(v, level) {
		x.addLink(v, u, level)
		return
	}
	out := p.expectedVictim(v, level)
	switch {
	case out == u && (level > 0 || !x.isTreeLink(v, u)):
	case out == u || out == nilSlot || linkIndex(x.row(v, level), out) < 0 || !x.mayDrop(v, out, level):
		out = c.victims.victim(v, u, level, false)
	}
	if out == u {
		x.letGo(u, v, level)
		return
	}
	c.replaceLink(v, out, u, level)
}

// replaceLink puts u in the place of out in the row of v, and takes v out of the row of out.
func (c *committer) replaceLink(v, out, u uint32, level int) {
	row := c.x.rowForWrite(v, level)
	atomic.StoreUint32(&row[linkIndex(row, out)], u)
	c.x.letGo(out, v, level)
	if level == 0 {
		c.poor = append(c.poor, out)
	}
}
