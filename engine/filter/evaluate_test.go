package filter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/hnsw"
)

// fill puts n items of the model into an index, in groups of at most size, and returns both.
func fill(p picker, n, size int) (*Index, model) {
	x, m := New(nil, false), model{}
	for slot := range uint32(n) {
		m[slot] = p.attributes()
		x.Insert(slot, attribute.Append(nil, m[slot]))
		if int(slot)%size == size-1 {
			x.Publish()
		}
	}
	x.Publish()
	return x, m
}

// evaluated returns the slots that an index answers with.
func evaluated(t interface{ Fatalf(string, ...any) }, x *Index, e Expr) []uint32 {
	r, err := x.Evaluate(testContext(), Compile(&e))
	if err != nil {
		t.Fatalf("%s: %v", e.String(), err)
	}
	defer r.Release()
	slots := slices.Collect(r.Set.All())
	if r.Set.Len() != len(slots) {
		t.Fatalf("%s: %d slots say they are %d", e.String(), len(slots), r.Set.Len())
	}
	return slots
}

// rewritten returns e in another form that must hold for the same items, by a law of the choosing of p, inside out.
func (p picker) rewritten(e Expr) Expr {
	args := make([]Expr, len(e.Args))
	for i, a := range e.Args {
		args[i] = p.rewritten(a)
	}
	e.Args = args
	none := func(args ...Expr) Expr { return Expr{Op: None, Args: args} }
	each := func(args []Expr) (out []Expr) {
		for _, a := range args {
			out = append(out, none(a))
		}
		return out
	}
	switch law := p(3, "law"); {
	case law == 0:
		return none(none(e))
	case law == 1 && e.Op == All:
		return none(each(e.Args)...)
	case law == 1 && e.Op == Any:
		return none(Expr{Op: None, Args: e.Args})
	case law == 1 && e.Op == None:
		return Expr{Op: All, Args: each(e.Args)}
	case law == 1 && e.Op == In:
		some := Expr{Op: Any}
		for _, v := range e.Values {
			if v.Type == attribute.Keyword {
				for _, k := range v.Keywords {
					some.Args = append(some.Args, equals(e.Attribute, keyword(k)))
				}
				continue
			}
			some.Args = append(some.Args, equals(e.Attribute, v))
		}
		return some
	case law == 1 && e.Op == InMarkets:
		some := Expr{Op: Any}
		for _, m := range e.Markets {
			some.Args = append(some.Args, Expr{Op: InMarkets, Attribute: e.Attribute, Markets: []attribute.Market{m}})
		}
		return some
	case law == 1 && e.Op == Range && e.Low.Set && e.High.Set:
		low, high := e, e
		low.High, high.Low = Bound{}, Bound{}
		return Expr{Op: All, Args: []Expr{low, high}}
	case law == 1 && e.Op == Range && e.Low.Set: // not below, but comparable
		below := Expr{Op: Range, Attribute: e.Attribute, High: Bound{Set: true, Open: !e.Low.Open, Value: e.Low.Value}}
		some := Expr{Op: Any, Args: []Expr{e, below}}
		return Expr{Op: All, Args: []Expr{some, none(below)}}
	}
	args = append([]Expr{e, {Op: All}}, e)
	p.shuffle(args)
	return Expr{Op: All, Args: args}
}

func (p picker) shuffle(args []Expr) {
	for i := range args {
		j := i + p(len(args)-i, "at")
		args[i], args[j] = args[j], args[i]
	}
}

// TestEquivalentExpressions: De Morgan's laws, double negation, lists against alternatives and ranges against their ends give the same
// slots, from the columns and from each item.
func TestEquivalentExpressions(t *testing.T) {
	x, m := fill(fromRand(rand.New(rand.NewPCG(21, 22))), 600, 100)
	rapid.Check(t, func(t *rapid.T) {
		p := fromRapid(t)
		e := p.expr(3)
		other := p.rewritten(e)
		if a, b := evaluated(t, x, e), evaluated(t, x, other); !slices.Equal(a, b) {
			t.Fatalf("%s matches %d\n%s matches %d", e.String(), len(a), other.String(), len(b))
		}
		one, two := Compile(&e), Compile(&other)
		for range 10 {
			item := attribute.Append(nil, m[uint32(p(len(m), "item"))])
			if one.Match(item) != two.Match(item) {
				t.Fatalf("%s and %s differ on an item", e.String(), other.String())
			}
		}
		if !slices.Equal(evaluated(t, x, Expr{Op: Any, Args: []Expr{e, {Op: None, Args: []Expr{other}}}}), m.matching(nil)) {
			t.Fatalf("%s or else not %s: is not everything", e.String(), other.String())
		}
	})
}

// TestEstimates: what orders the parts of an expression is never below what it holds for, and is exact for one condition of one column
// without a change.
func TestEstimates(t *testing.T) {
	p := fromRand(rand.New(rand.NewPCG(23, 24)))
	x, m := fill(p, 5000, 700)
	check := func(exact bool) {
		t.Helper()
		for range 150 {
			e := p.expr(2)
			ev := evaluation{x: x, v: x.view.Load()}
			pl := ev.prepare(&Compile(&e).root)
			n := len(m.matching(&e))
			if pl.most < n || pl.most > len(m) {
				t.Fatalf("%s: at most %d of %d, but %d do", e.String(), pl.most, len(m), n)
			}
			if len(e.Args) == 0 && pl.op == Exists && pl.cost < n {
				t.Fatalf("%s: costs %d, yields %d", e.String(), pl.cost, n)
			}
			if i := e.Attribute; exact && e.Op == Range && (i == "i" || i == "f" || i == "t") && pl.most != n {
				t.Fatalf("%s: at most %d, exactly %d", e.String(), pl.most, n)
			}
		}
	}
	check(false)
	loaded := New(nil, true)
	if err := loaded.Load(t.Context(), func(yield func(uint32, []byte) bool) {
		for slot, s := range m {
			if !yield(slot, attribute.Append(nil, s)) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	x = loaded // has a base and nothing above it
	check(true)
}

// TestKeptFollowsChanges: a kept result is brought up to date from what changed, and is then what the oracle says; where too much
// changed it is made anew.
func TestKeptFollowsChanges(t *testing.T) {
	p := fromRand(rand.New(rand.NewPCG(25, 26)))
	const slots = 5000
	x, m := fill(p, slots, 2500)
	exprs := []Expr{equals("b", attribute.Value{Type: attribute.Bool, Bool: true}), {Op: Exists, Attribute: "k"}}
	for len(exprs) < 8 {
		e := p.expr(2)
		if n := len(m.matching(&e)); n > 500 && n < slots-500 {
			exprs = append(exprs, e)
		}
	}
	advanced, computed := 0, 0
	for round := range 40 {
		version := x.Version()
		kept := map[string]*hnsw.SlotSet{}
		for i := range exprs {
			p := Compile(&exprs[i])
			if set, at, _ := x.keep.get(p.key); at == version {
				kept[p.key] = set
			}
		}
		changes := []int{0, 1, 7, 60, maxAdvance + 200}[p(5, "changes")]
		for range changes {
			slot := uint32(p(slots+50, "slot"))
			old, live := m[slot]
			if s := p.attributes(); !live {
				x.Insert(slot, attribute.Append(nil, s))
				m[slot] = s
			} else if p(2, "what") == 0 {
				x.Remove(slot, attribute.Append(nil, old))
				delete(m, slot)
			} else {
				x.Update(slot, attribute.Append(nil, old), attribute.Append(nil, s))
				m[slot] = s
			}
			if p(20, "publish") == 0 {
				x.Publish()
			}
		}
		x.Publish()
		for i := range exprs {
			program := Compile(&exprs[i])
			before := kept[program.key]
			if before != nil {
				ev := evaluation{x: x, v: x.view.Load()}
				if fresh := ev.advance(before, version, &program.root); fresh != nil {
					advanced++
				} else if computed++; changes < maxAdvance/2 && changes > 0 {
					t.Fatalf("round %d: %d changes are not followed", round, changes)
				}
			}
			want := m.matching(&exprs[i])
			for range 2 {
				if got := evaluated(t, x, exprs[i]); !slices.Equal(got, want) {
					t.Fatalf("round %d: %s matches %d slots, want %d", round, exprs[i].String(), len(got), len(want))
				}
			}
		}
	}
	if advanced < 30 || computed < 3 {
		t.Errorf("%d results were brought up to date, %d made anew: the test does not reach them", advanced, computed)
	}
}

// TestOldViews: a reader of a view that others have left behind gets its own answer, and takes nothing newer from what is kept.
func TestOldViews(t *testing.T) {
	x := New(nil, false)
	yes := attribute.Append(nil, attribute.Set{{Name: "b", Value: attribute.Value{Type: attribute.Bool, Bool: true}}})
	for slot := range uint32(2 * keepCost) {
		x.Insert(slot, yes)
	}
	x.Publish()
	e := equals("b", attribute.Value{Type: attribute.Bool, Bool: true})
	program := Compile(&e)
	old := x.view.Load()
	x.Remove(3, yes)
	x.Publish()
	for range 3 {
		if got := evaluated(t, x, e); len(got) != 2*keepCost-1 {
			t.Fatalf("%d slots", len(got))
		}
	}
	ev := evaluation{x: x, v: old}
	set, shared := ev.kept(ev.prepare(&program.root))
	if set.Len() != 2*keepCost || shared {
		t.Errorf("the old view has %d slots, want %d; shared %v", set.Len(), 2*keepCost, shared)
	}
	x.keep.put(program.key, set, old.version)
	if now, version, _ := x.keep.get(program.key); version != x.Version() || now.Len() != 2*keepCost-1 {
		t.Errorf("an older result took the place of a newer one: version %d, %d slots", version, now.Len())
	}
}

// TestKeptIsBounded: what is kept is never more than its bounds, accounts for itself, and what was used longest ago goes first.
func TestKeptIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	k := kept{entries: map[string]*keptResult{}}
	var used []string // most recent last
	for version := range uint64(4000) {
		key := fmt.Sprint(r.IntN(400))
		if i := slices.Index(used, key); i >= 0 {
			used = slices.Delete(used, i, i+1)
		}
		used = append(used, key)
		_, had := k.entries[key]
		_, _, again := k.get(key)
		if again != had {
			t.Fatalf("%s came before: %v, want %v", key, again, had)
		}
		if r.IntN(2) == 0 {
			s := hnsw.NewSlotSet(1 + r.IntN(1<<23))
			k.put(key, s, version)
		}
		if k.put("never asked for", new(hnsw.SlotSet), version); k.entries["never asked for"] != nil {
			t.Fatal("kept what nobody asked for")
		}
		held := int64(0)
		for _, e := range k.entries {
			if e.set != nil {
				held += int64(e.set.Bytes())
			}
		}
		if held != k.bytes() || len(k.entries) > maxKept || held > maxKeptBytes {
			t.Fatalf("%d entries of %d bytes, said to be %d", len(k.entries), held, k.bytes())
		}
		for _, key := range used[len(used)-len(k.entries):] {
			if k.entries[key] == nil {
				t.Fatalf("%s is gone before what was used longer ago", key)
			}
		}
	}
}

// TestDenseKeys: a column of many keys that many slots share, among some that few do, while slots lose and gain them: ranges narrower
// and wider than the bitmaps are many, and keys that become rare again.
func TestDenseKeys(t *testing.T) {
	const slots = 30_000
	r := rand.New(rand.NewPCG(29, 30))
	x, values := New(nil, false), make([]int64, slots) // 0 is no item
	item := func(v int64) []byte {
		return attribute.Append(nil, attribute.Set{{Name: "n", Value: attribute.Value{Type: attribute.Int, Int: v}}})
	}
	draw := func() int64 {
		if r.IntN(20) == 0 {
			return 100 + int64(r.IntN(1000))
		}
		return 1 + int64(r.IntN(8))
	}
	put := func(slot int, v int64) {
		switch old := values[slot]; {
		case old == 0 && v == 0:
		case old == 0:
			x.Insert(uint32(slot), item(v))
		case v == 0:
			x.Remove(uint32(slot), item(old))
		default:
			x.Update(uint32(slot), item(old), item(v))
		}
		values[slot] = v
	}
	check := func(when string) {
		t.Helper()
		for _, span := range [][2]int64{{1, 1}, {3, 5}, {8, 300}, {0, 5000}, {100, 1100}, {9, 99}, {-5, 2}} {
			e := Expr{Op: Range, Attribute: "n"}
			e.Low = Bound{Set: true, Value: attribute.Value{Type: attribute.Int, Int: span[0]}}
			e.High = Bound{Set: true, Value: attribute.Value{Type: attribute.Int, Int: span[1]}}
			var want []uint32
			for slot, v := range values {
				if v != 0 && v >= span[0] && v <= span[1] {
					want = append(want, uint32(slot))
				}
			}
			ev := evaluation{x: x, v: x.view.Load()}
			if got := evaluated(t, x, e); !slices.Equal(got, want) {
				t.Fatalf("%s: %s: %d slots, want %d", when, e.String(), len(got), len(want))
			}
			if most := ev.prepare(&Compile(&e).root).most; most < len(want) {
				t.Fatalf("%s: %s: %d, estimated as at most %d", when, e.String(), len(want), most)
			}
		}
	}
	dense := func() (n int) {
		for _, c := range x.view.Load().columns {
			for _, r := range c.runs {
				n += len(r.dense)
			}
		}
		return n
	}
	for slot := range slots {
		put(slot, draw())
	}
	x.Publish()
	check("full")
	if n := dense(); n < 8 {
		t.Fatalf("%d dense keys", n)
	}
	for range 6 {
		for range slots / 3 {
			put(r.IntN(slots), []int64{0, draw(), draw()}[r.IntN(3)])
		}
		x.Publish()
		check("changed")
	}
	for slot := range slots {
		if values[slot] <= 8 && slot%10 != 0 {
			put(slot, 0)
		}
	}
	x.Publish()
	for range 2 { // the base is rewritten
		for slot := range slots {
			put(slot, values[slot])
		}
		x.Publish()
	}
	check("few left")
	if n := dense(); n != 0 {
		t.Errorf("%d dense keys of %d slots each", n, slots/10/8)
	}
}

// TestColumnsToTheLast: an index with exactly as many columns as it can have knows of a name without a column that no item has it,
// whether its items were loaded or written; with one more it does not.
func TestColumnsToTheLast(t *testing.T) {
	item := func(i int) []byte {
		return attribute.Append(nil, attribute.Set{{Name: fmt.Sprint("name-", i), Value: keyword("v")}})
	}
	for _, columns := range []int{MaxColumns, MaxColumns + 1} {
		written, loaded := New(nil, false), New(nil, true)
		for i := range columns {
			written.Insert(uint32(i), item(i))
		}
		written.Publish()
		if err := loaded.Load(t.Context(), func(yield func(uint32, []byte) bool) {
			for i := range columns {
				if !yield(uint32(i), item(i)) {
					return
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		for name, x := range map[string]*Index{"written": written, "loaded": loaded} {
			e := equals("other", keyword("v"))
			r, err := x.Evaluate(t.Context(), Compile(&e))
			if (err != nil) != (columns > MaxColumns) || err == nil && r.Set.Len() != 0 {
				t.Errorf("%s, %d columns: %v", name, columns, err)
			}
			if n := x.Stats().Columns; n != MaxColumns {
				t.Errorf("%s: %d columns", name, n)
			}
		}
	}
}
