package filter

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/hnsw"
)

// ErrTooManyAttributes says that an expression names an attribute without a column, in an index that had no column left
// for some attribute: the answer is not known.
var ErrTooManyAttributes = errors.New("items have more different attributes than can be filtered by: declare a schema")

// Result is a set of slots. It must not be changed, and not be used after Release.
type Result struct {
	Set *hnsw.SlotSet
	// Version is that of the state which Set is of.
	Version uint64
	x       *Index
	shared  bool // kept for others too
}

// Scratch returns an empty set for short use.
func (x *Index) Scratch() *hnsw.SlotSet {
	s, ok := x.sets.Get().(*hnsw.SlotSet)
	if !ok {
		return new(hnsw.SlotSet)
	}
	s.Reset()
	return s
}

// Recycle gives back a set that Scratch returned.
func (x *Index) Recycle(s *hnsw.SlotSet) { x.sets.Put(s) }

// Release gives back the memory of the set where nobody else has it.
func (r Result) Release() {
	if r.Set != nil && !r.shared {
		r.x.Recycle(r.Set)
	}
}

// Evaluate returns the slots of the items that fulfil p, of all items where p is nil. Errors: ErrTooManyAttributes, and that
// of ctx where it ends before Load does. Cost: linear in the slots that each condition alone holds for, less where a result
// was kept.
func (x *Index) Evaluate(ctx context.Context, p *Program) (Result, error) {
	if !x.isReady() {
		select {
		case <-x.ready:
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	e := evaluation{x: x, v: x.view.Load()}
	if p == nil {
		p = &everyItem
	}
	root := e.prepare(&p.root)
	if e.unknown && e.v.full {
		return Result{}, ErrTooManyAttributes
	}
	if root.op != Exists {
		root.key = p.key
	}
	set, shared := e.kept(root)
	return Result{Set: set, Version: e.v.version, x: x, shared: shared}, nil
}

// everyItem is the program that every item fulfils.
var everyItem = Program{root: node{op: All}, key: string([]byte{byte(All), 0})}

// evaluation is one Evaluate.
type evaluation struct {
	x       *Index
	v       *view
	unknown bool // a condition names an attribute without a column
}

// plan is a node with the columns it reads.
type plan struct {
	*node
	key   string
	args  []plan
	parts []part
	most  int // bounds from above how many slots it holds for
	cost  int // of computing it, in slots touched
}

// prepare finds columns and estimates costs.
func (e *evaluation) prepare(n *node) plan {
	p := plan{node: n, key: n.key}
	live := e.v.live.count(all)
	switch n.op {
	case All, Any, None:
		p.args = make([]plan, len(n.args))
		least := live
		for i := range n.args {
			a := e.prepare(&n.args[i])
			p.args[i] = a
			p.cost += a.cost
			p.most += a.most
			least = min(least, a.most)
		}
		switch n.op {
		case All:
			p.most = least
		case Any:
			p.most = min(p.most, live)
		case None:
			p.most = live
		}
		if len(n.args) == 0 {
			p.cost = live // of copying what is live
		}
		return p
	}
	found := false
	for t := attribute.Keyword; t <= attribute.Markets; t++ {
		at, ok := e.v.byID[columnID{n.name, t}]
		if !ok {
			continue
		}
		found = true
		c := e.v.columns[at]
		part := part{column: c, spans: n.spans[t]}
		switch {
		case n.anyValue:
			part.spans = all
		case t == attribute.Keyword && len(n.keywords) > 0:
			part.spans = e.hashes(n.keywords)
		case t == attribute.Int && n.bitmap != nil:
			part.spans, part.bitmap = all, n.bitmap
		case t == attribute.Markets && n.markets != "":
			part.spans, part.want = all, e.x.markets.having(n.markets)
		}
		if len(part.spans) > 0 {
			p.most += c.count(part.spans)
			p.cost += c.touched()
			p.parts = append(p.parts, part)
		}
	}
	e.unknown = e.unknown || !found
	p.cost += p.most
	p.most = min(p.most, live)
	return p
}

// hashes returns the keys of keywords.
func (e *evaluation) hashes(keywords []string) []span {
	spans := make([]span, len(keywords))
	for i, k := range keywords {
		h := maphash.String(e.x.seed, k)
		spans[i] = span{h, h}
	}
	return sortSpans(spans)
}

// keepCost is from what cost on a result is worth keeping.
const keepCost = 4096

// kept returns what p holds for: a set that is kept and must not be changed, or a scratch set.
func (e *evaluation) kept(p plan) (set *hnsw.SlotSet, shared bool) {
	if p.cost < keepCost || p.key == "" || len(p.key) > maxKeptKey {
		return e.compute(p), false
	}
	set, version, again := e.x.keep.get(p.key)
	switch {
	case set != nil && version == e.v.version:
		return set, true
	case set != nil && version < e.v.version:
		if fresh := e.advance(set, version, p.node); fresh != nil {
			e.x.keep.put(p.key, fresh, e.v.version)
			return fresh, true
		}
	case set != nil: // of a later view than ours
		return e.compute(p), false
	}
	set = e.compute(p)
	if !again {
		return set, false
	}
	e.x.keep.put(p.key, set, e.v.version)
	return set, true
}

// maxAdvance bounds how many changes a kept set is brought up to date over.
const maxAdvance = 1024

// advance returns a set of version as it is in the view, or nil where computing it anew is cheaper or the changes since are not
// known.
func (e *evaluation) advance(set *hnsw.SlotSet, version uint64, n *node) *hnsw.SlotSet {
	recent := e.v.recent
	if len(recent) == 0 || recent[0].version > version+1 {
		return nil
	}
	for len(recent) > 0 && recent[0].version <= version {
		recent = recent[1:]
	}
	changes := 0
	for _, g := range recent {
		changes += len(g.changes)
	}
	if changes > maxAdvance {
		return nil
	}
	fresh := set.Clone()
	for _, g := range recent {
		for _, c := range g.changes {
			if c.live && n.match(c.attributes) {
				fresh.Add(c.slot)
			} else {
				fresh.Remove(c.slot)
			}
		}
	}
	return fresh
}

// compute returns what p holds for in a scratch set.
func (e *evaluation) compute(p plan) *hnsw.SlotSet {
	dst := e.x.Scratch()
	switch p.op {
	case All:
		e.all(dst, p.args)
	case Any:
		e.any(dst, p.args)
	case None:
		e.everything(dst)
		e.without(dst, p.args)
	default:
		e.condition(dst, p.parts)
	}
	return dst
}

// all intersects: the rarest first, and nothing more once nothing is left.
func (e *evaluation) all(dst *hnsw.SlotSet, args []plan) {
	args = slices.Clone(args)
	slices.SortStableFunc(args, func(a, b plan) int {
		if c := cmp.Compare(btoi(a.op == None), btoi(b.op == None)); c != 0 {
			return c // what takes away comes last
		}
		return cmp.Compare(a.most, b.most)
	})
	if len(args) == 0 || args[0].op == None {
		e.everything(dst)
	} else {
		e.use(args[0], dst.CopyFrom)
		args = args[1:]
	}
	for _, a := range args {
		switch {
		case dst.Len() == 0:
			return
		case a.op == None:
			e.without(dst, a.args)
		default:
			e.use(a, dst.And)
		}
	}
}

// everything puts all live slots into dst, which is empty.
func (e *evaluation) everything(dst *hnsw.SlotSet) { part{column: e.v.live, spans: all}.addTo(dst) }

func (e *evaluation) any(dst *hnsw.SlotSet, args []plan) {
	for _, a := range args {
		e.use(a, dst.Or)
	}
}

func (e *evaluation) without(dst *hnsw.SlotSet, args []plan) {
	for _, a := range args {
		e.use(a, dst.AndNot)
	}
}

// use hands the set of a to fn.
func (e *evaluation) use(a plan, fn func(*hnsw.SlotSet)) {
	set, shared := e.kept(a)
	fn(set)
	if !shared {
		e.x.Recycle(set)
	}
}

// condition unites the columns of one attribute.
func (e *evaluation) condition(dst *hnsw.SlotSet, parts []part) {
	for i, p := range parts {
		into := dst
		if i > 0 {
			into = e.x.Scratch()
		}
		p.addTo(into)
		if i > 0 {
			dst.Or(into)
			e.x.Recycle(into)
		}
	}
}
