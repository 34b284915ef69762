package filter

import (
	"cmp"
	"slices"

	"github.com/segue-ann/segue/engine/attribute"
)

// Program is an expression made ready to be decided many times. It is read only, and safe for concurrent use.
type Program struct {
	root node
	// key identifies the expression among kept results.
	key string
}

// node is one condition of a program.
type node struct {
	op   Op // All, Any, None, or Exists for every condition on one attribute
	args []node
	key  string // of a condition on one attribute, as Expr.appendKey writes it

	name     string
	spans    [attribute.Markets + 1][]span // by type of column; ascending and apart
	keywords []string                      // Keyword: ascending; the spans are made of them with the seed of an index
	markets  attribute.MarketSet           // Markets: one of these
	bitmap   *Bitmap                       // Int: in it
	anyValue bool                          // Exists: every value of every type
}

// Compile makes a valid expression ready. Cost: O(n log n) in its values.
func Compile(e *Expr) *Program {
	return &Program{root: compile(e), key: string(e.appendKey(nil))}
}

func compile(e *Expr) node {
	switch e.Op {
	case All, Any, None:
		n := node{op: e.Op, args: make([]node, len(e.Args))}
		for i := range e.Args {
			n.args[i] = compile(&e.Args[i])
		}
		return n
	}
	n := node{op: Exists, name: e.Attribute, key: string(e.appendKey(nil))}
	switch e.Op {
	case Exists:
		n.anyValue = true
	case InMarkets:
		n.markets = attribute.NewMarketSet(e.Markets...)
	case InBitmap:
		n.bitmap = e.Bitmap
	case Range:
		first := e.Low.Value.Type
		if !e.Low.Set {
			first = e.High.Value.Type
		}
		for _, t := range comparables(first) {
			if s, ok := between(t, e.Low, e.High); ok {
				n.spans[t] = []span{s}
			}
		}
	case In:
		for _, v := range e.Values {
			if v.Type == attribute.Keyword {
				n.keywords = append(n.keywords, v.Keywords...)
				continue
			}
			for _, t := range comparables(v.Type) {
				if k, ok := pointKey(t, v); ok {
					n.spans[t] = append(n.spans[t], span{k, k})
				}
			}
		}
		slices.Sort(n.keywords)
		n.keywords = slices.Compact(n.keywords)
		for t := range n.spans {
			n.spans[t] = sortSpans(n.spans[t])
		}
	}
	return n
}

// comparables lists the types of column whose values a value of type t can equal.
func comparables(t attribute.Type) []attribute.Type {
	if number(t) {
		return []attribute.Type{attribute.Int, attribute.Float}
	}
	return []attribute.Type{t}
}

// sortSpans sorts spans of one key each and drops those that come twice.
func sortSpans(s []span) []span {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	return slices.Compact(s)
}

// Match decides for one item, whose attributes are encoded. Cost: one pass over them for each condition; it allocates nothing.
func (p *Program) Match(attributes []byte) bool { return p.root.match(attributes) }

func (n *node) match(attributes []byte) bool {
	switch n.op {
	case All:
		return !slices.ContainsFunc(n.args, func(a node) bool { return !a.match(attributes) })
	case Any:
		return slices.ContainsFunc(n.args, func(a node) bool { return a.match(attributes) })
	case None:
		return !slices.ContainsFunc(n.args, func(a node) bool { return a.match(attributes) })
	}
	raw, ok := attribute.Lookup(attributes, n.name)
	return ok && n.holds(raw)
}

// holds decides a condition on one attribute.
func (n *node) holds(raw attribute.Raw) bool {
	if n.anyValue {
		return true
	}
	if n.bitmap != nil {
		return raw.Type == attribute.Int && n.bitmap.Has(raw.Int())
	}
	switch raw.Type {
	case attribute.Keyword:
		if len(n.keywords) == 0 {
			return false
		}
		for k := range raw.Keywords() {
			if _, ok := slices.BinarySearchFunc(n.keywords, k, func(s string, k []byte) int {
				switch {
				case s < string(k):
					return -1
				case s > string(k):
					return 1
				}
				return 0
			}); ok {
				return true
			}
		}
		return false
	case attribute.Markets:
		return overlap(raw.MarketBytes(), n.markets)
	}
	return inside(n.spans[raw.Type], scalarKey(raw))
}

// scalarKey returns the key of a value that is no Keyword and no Markets.
func scalarKey(raw attribute.Raw) uint64 {
	switch raw.Type {
	case attribute.Bool:
		return boolKey(raw.Bool())
	case attribute.Int:
		return intKey(raw.Int())
	case attribute.Float:
		return floatKey(raw.Float())
	default:
		return intKey(raw.Micros())
	}
}

// inside reports whether key lies in one of the spans, which ascend and are apart.
func inside(spans []span, key uint64) bool {
	_, found := slices.BinarySearchFunc(spans, key, func(s span, key uint64) int {
		switch {
		case s.hi < key:
			return -1
		case s.lo > key:
			return 1
		}
		return 0
	})
	return found
}

// overlap reports whether two sets of markets have one in common.
func overlap[T string | []byte](a T, b attribute.MarketSet) bool {
	for i := range min(len(a), len(b)) {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}
