package filter

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
)

// The values of the model: few, so that conditions match, with the corners of each type.
var (
	words   = []string{"", "a", "b", "c", "jazz", "R&B", "it's", `say "x"`, "é", "true", "2020"}
	ints    = []int64{math.MinInt64, -3, -1, 0, 1, 2, 3, math.MaxUint32, 1 << 32, 1 << 53, 1<<53 + 1, math.MaxInt64}
	floats  = []float64{math.Inf(-1), -1e300, -3, -0.5, math.Copysign(0, -1), 0, 1, 1.5, 3, 1 << 53, 9.3e18, 1e300}
	moments = []int64{-1e15, -1, 0, 1, 1577836800e6, 1577836800e6 + 1, 2e15}
	codes   = []attribute.Market{0, 1, 7, 8, 100, 675}
	names   = []string{"k", "k2", "b", "i", "f", "t", "m", "any"}
)

// picker draws from either rapid or a generator with a seed.
type picker func(n int, label string) int

func fromRapid(t *rapid.T) picker {
	return func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
}

func fromRand(r *rand.Rand) picker { return func(n int, _ string) int { return r.IntN(n) } }

// typeOf is the type that an attribute of the model has; "any" has one of its item's choosing.
func (p picker) typeOf(name string) attribute.Type {
	for i, n := range []string{"k", "b", "i", "f", "t", "m"} {
		if n == name {
			return attribute.Type(i + 1)
		}
	}
	if name == "k2" {
		return attribute.Keyword
	}
	return attribute.Type(p(6, "type") + 1)
}

func (p picker) value(t attribute.Type, most int) attribute.Value {
	v := attribute.Value{Type: t}
	switch t {
	case attribute.Keyword:
		for range 1 + p(most, "keywords") {
			v.Keywords = append(v.Keywords, words[p(len(words), "word")])
		}
	case attribute.Bool:
		v.Bool = p(2, "bool") == 1
	case attribute.Int:
		v.Int = ints[p(len(ints), "int")]
	case attribute.Float:
		v.Float = floats[1:][p(len(floats)-1, "float")]
	case attribute.Timestamp:
		v.Time = time.UnixMicro(moments[p(len(moments), "time")]).UTC()
	case attribute.Markets:
		var list []attribute.Market
		for range p(4, "markets") {
			list = append(list, codes[p(len(codes), "market")])
		}
		v.Markets = attribute.NewMarketSet(list...)
	}
	return v
}

func (p picker) attributes() attribute.Set {
	var s attribute.Set
	for _, name := range names {
		if p(3, "has "+name) > 0 {
			s = append(s, attribute.Attribute{Name: name, Value: p.value(p.typeOf(name), 3)})
		}
	}
	return s.Sorted()
}

func (p picker) expr(depth int) Expr {
	op := Op(p(8, "op") + 1)
	if depth == 0 {
		op = Op(p(5, "op") + 4)
	}
	name := append(names, "nowhere")[p(len(names)+1, "name")]
	switch op {
	case All, Any, None:
		e := Expr{Op: op}
		for range p(4, "args") {
			e.Args = append(e.Args, p.expr(depth-1))
		}
		return e
	case In:
		e := Expr{Op: In, Attribute: name}
		for range 1 + p(3, "values") {
			t := p.typeOf(name)
			if t == attribute.Markets {
				t = attribute.Keyword
			}
			e.Values = append(e.Values, p.value(t, 2))
		}
		return e
	case Range:
		e := Expr{Op: Range, Attribute: name}
		kinds := []attribute.Type{attribute.Int, attribute.Float, attribute.Timestamp}
		t := p.typeOf(name)
		if !slices.Contains(kinds, t) {
			t = kinds[p(3, "kind")]
		}
		bound := func() Bound {
			if t != attribute.Timestamp && p(4, "cross") == 0 {
				return Bound{Set: true, Open: p(2, "open") == 1, Value: p.value(kinds[p(2, "number")], 1)}
			}
			return Bound{Set: true, Open: p(2, "open") == 1, Value: p.value(t, 1)}
		}
		which := p(3, "bounds")
		if which != 1 {
			e.Low = bound()
		}
		if which != 0 {
			e.High = bound()
		}
		return e
	case Exists:
		return Expr{Op: Exists, Attribute: name}
	case InBitmap:
		b := roaring.New()
		for range p(4, "bitmap") {
			b.Add([]uint32{0, 1, 2, 3, 7, math.MaxUint32}[p(6, "in bitmap")])
		}
		return Expr{Op: InBitmap, Attribute: name, Bitmap: bitmap(b)}
	default:
		return Expr{Op: InMarkets, Attribute: name, Markets: []attribute.Market{codes[p(len(codes), "market")], codes[p(len(codes), "market")]}}
	}
}

// holds is the oracle: what an expression means, from decoded attributes and with big numbers.
func holds(e Expr, s attribute.Set) bool {
	switch e.Op {
	case All:
		return !slices.ContainsFunc(e.Args, func(a Expr) bool { return !holds(a, s) })
	case Any:
		return slices.ContainsFunc(e.Args, func(a Expr) bool { return holds(a, s) })
	case None:
		return !slices.ContainsFunc(e.Args, func(a Expr) bool { return holds(a, s) })
	}
	v, ok := s.Get(e.Attribute)
	if !ok {
		return false
	}
	switch e.Op {
	case Exists:
		return true
	case InMarkets:
		return v.Type == attribute.Markets && slices.ContainsFunc(e.Markets, v.Markets.Has)
	case InBitmap:
		return v.Type == attribute.Int && slices.ContainsFunc(e.Bitmap.set.ToArray(), func(w uint32) bool { return int64(w) == v.Int })
	case In:
		return slices.ContainsFunc(e.Values, func(w attribute.Value) bool {
			if v.Type == attribute.Keyword && w.Type == attribute.Keyword {
				return slices.ContainsFunc(w.Keywords, func(k string) bool { return slices.Contains(v.Keywords, k) })
			}
			c, ok := compare(v, w)
			return ok && c == 0
		})
	default:
		if e.Low.Set {
			if c, ok := compare(v, e.Low.Value); !ok || c < 0 || c == 0 && e.Low.Open {
				return false
			}
		}
		if e.High.Set {
			if c, ok := compare(v, e.High.Value); !ok || c > 0 || c == 0 && e.High.Open {
				return false
			}
		}
		return v.Type != attribute.Bool
	}
}

// model is what an index should hold.
type model map[uint32]attribute.Set

func (m model) matching(e *Expr) []uint32 {
	var out []uint32
	for _, slot := range slices.Sorted(maps.Keys(m)) {
		if e == nil || holds(*e, m[slot]) {
			out = append(out, slot)
		}
	}
	return out
}

// checkAgainst compares index and Match with the oracle, for one expression, twice and more, so that kept results are used.
func (m model) checkAgainst(t interface{ Fatalf(string, ...any) }, x *Index, e *Expr) {
	var p *Program
	if e != nil {
		p = Compile(e)
	}
	want := m.matching(e)
	for range 3 {
		r, err := x.Evaluate(testContext(), p)
		if err != nil {
			t.Fatalf("%+v: %v", e, err)
			return
		}
		if got := slices.Collect(r.Set.All()); !slices.Equal(got, want) || r.Set.Len() != len(want) {
			t.Fatalf("%+v\n matches slots %v (%d)\n want %v", e, got, r.Set.Len(), want)
		}
		r.Release()
	}
	if e == nil {
		return
	}
	for slot, s := range m {
		if got, want := p.Match(attribute.Append(nil, s)), holds(*e, s); got != want {
			t.Fatalf("slot %d %v: Match says %v, want %v, to %+v", slot, s, got, want, e)
		}
	}
}

// TestIndexAgainstModel: whatever is inserted, updated, removed and published in whatever groups, every expression matches what
// the oracle says.
func TestIndexAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := fromRapid(t)
		x, m := New(nil, false), model{}
		for range p(12, "groups") + 1 {
			mutate(p, x, m, p(30, "changes"))
			x.Publish()
			e := p.expr(3)
			if problem := e.Validate(nil); problem != nil {
				t.Fatalf("%+v: %v", e, problem)
			}
			m.checkAgainst(t, x, &e)
		}
		m.checkAgainst(t, x, nil)
	})
}

// mutate stages changes in index and model.
func mutate(p picker, x *Index, m model, changes int) {
	for range changes {
		slot := uint32(p(40, "slot"))
		old, live := m[slot]
		switch s := p.attributes(); {
		case !live:
			x.Insert(slot, attribute.Append(nil, s))
			m[slot] = s
		case p(3, "what") == 0:
			x.Remove(slot, attribute.Append(nil, old))
			delete(m, slot)
		default:
			x.Update(slot, attribute.Append(nil, old), attribute.Append(nil, s))
			m[slot] = s
		}
	}
}

// TestLoadBelowChanges: an index that is loaded while groups are published answers as one that saw everything.
func TestLoadBelowChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := fromRapid(t)
		m := model{}
		for range p(40, "items") {
			m[uint32(p(40, "slot"))] = p.attributes()
		}
		before := maps.Clone(m)
		x := New(nil, true)
		err := x.Load(testContext(), func(yield func(uint32, []byte) bool) {
			for slot, s := range before {
				// A change of this moment can be seen by Load or not.
				mutate(p, x, m, p(3, "changes"))
				x.Publish()
				if now, live := m[slot]; live && p(2, "new") == 1 {
					s = now
				}
				if !yield(slot, attribute.Append(nil, s)) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		e := p.expr(3)
		m.checkAgainst(t, x, &e)
		m.checkAgainst(t, x, nil)
	})
}

// TestManyItems reaches what small models do not: merges onto a base, dense keys, kept results that are brought up to date.
func TestManyItems(t *testing.T) {
	p := fromRand(rand.New(rand.NewPCG(1, 2)))
	x, m := New(nil, false), model{}
	exprs := make([]Expr, 12)
	for i := range exprs {
		exprs[i] = p.expr(2)
	}
	const slots = 9000
	for round := range 48 {
		for range []int{1, 20, 700, 3000}[p(4, "size")] {
			slot := uint32(p(slots, "slot"))
			old, live := m[slot]
			s := p.attributes()
			switch {
			case !live:
				x.Insert(slot, attribute.Append(nil, s))
			case p(4, "what") == 0:
				x.Remove(slot, attribute.Append(nil, old))
				delete(m, slot)
				continue
			default:
				x.Update(slot, attribute.Append(nil, old), attribute.Append(nil, s))
			}
			m[slot] = s
		}
		x.Publish()
		if round%8 == 7 {
			for i := range exprs {
				m.checkAgainst(t, x, &exprs[i])
			}
		}
	}
	dense := 0
	for _, c := range x.view.Load().columns {
		for _, r := range c.runs {
			dense += len(r.dense)
		}
		if n := len(c.runs); n > 16 {
			t.Errorf("a column of %d runs", n)
		}
	}
	if dense == 0 || x.keep.bytes() == 0 {
		t.Errorf("%d dense keys, %d bytes kept: the test does not reach them", dense, x.keep.bytes())
	}
}

func (e Expr) GoString() string { return fmt.Sprintf("%+v", e) }
