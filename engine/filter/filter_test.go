package filter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/segue-ann/segue/engine/attribute"
)

func testContext() context.Context { return context.Background() }

// compare orders two values of comparable types exactly; false where they are not comparable, or are equal only.
func compare(v, w attribute.Value) (int, bool) {
	exact := func(v attribute.Value) *big.Float {
		if v.Type == attribute.Int {
			return new(big.Float).SetInt64(v.Int)
		}
		return big.NewFloat(v.Float)
	}
	switch {
	case v.Type == attribute.Bool && w.Type == attribute.Bool:
		return btoi(v.Bool != w.Bool), true
	case v.Type == attribute.Timestamp && w.Type == attribute.Timestamp:
		return v.Time.Compare(w.Time), true
	case number(v.Type) && number(w.Type):
		return exact(v).Cmp(exact(w)), true
	}
	return 0, false
}

func keyword(words ...string) attribute.Value {
	return attribute.Value{Type: attribute.Keyword, Keywords: words}
}

func equals(name string, v attribute.Value) Expr {
	return Expr{Op: In, Attribute: name, Values: []attribute.Value{v}}
}

// TestGroupsAreWhole: while a writer moves items between two values, a reader never sees one of them with neither or with both.
func TestGroupsAreWhole(t *testing.T) {
	const items = 500
	x := New(nil, false)
	state := func(side int) []byte {
		return attribute.Append(nil, attribute.Set{
			{Name: "n", Value: attribute.Value{Type: attribute.Int, Int: int64(side)}},
			{Name: "side", Value: keyword([]string{"a", "b"}[side])},
		})
	}
	for slot := range uint32(items) {
		x.Insert(slot, state(0))
	}
	x.Publish()
	a, b := equals("side", keyword("a")), equals("side", keyword("b"))
	n := Expr{Op: Range, Attribute: "n", Low: Bound{Set: true, Value: attribute.Value{Type: attribute.Int, Int: 1}}}
	checks := []struct {
		e    Expr
		want int
	}{
		{Expr{Op: Any, Args: []Expr{a, b}}, items},
		{Expr{Op: All, Args: []Expr{a, b}}, 0},
		{Expr{Op: None, Args: []Expr{a, b}}, 0},
		{Expr{Op: All, Args: []Expr{n, a}}, 0},
		{Expr{Op: All, Args: []Expr{n, b, {Op: None, Args: []Expr{a}}}}, -1}, // how many: a group's doing
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 2 {
		readers.Go(func() {
			for i := r; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				c := checks[i%len(checks)]
				got, err := x.Evaluate(testContext(), Compile(&c.e))
				if err != nil || c.want >= 0 && got.Set.Len() != c.want {
					t.Errorf("%s: %d slots, want %d (%v)", c.e.String(), got.Set.Len(), c.want, err)
					return
				}
				got.Release()
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	side := make([]int, items)
	for range 400 {
		for range 1 + r.IntN(20) {
			slot := r.IntN(items)
			x.Update(uint32(slot), state(side[slot]), state(1-side[slot]))
			side[slot] = 1 - side[slot]
		}
		x.Publish()
	}
	close(done)
	readers.Wait()
}

// TestEvaluateWaitsForLoad: an index that loads answers nothing, and then everything.
func TestEvaluateWaitsForLoad(t *testing.T) {
	x := New(nil, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.Evaluate(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("before Load: %v", err)
	}
	if err := x.Load(ctx, func(yield func(uint32, []byte) bool) {
		for slot := range uint32(2 * loadChunk) {
			if !yield(slot, nil) {
				return
			}
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Load in a context that has ended: %v", err)
	}
	if err := x.Load(t.Context(), func(yield func(uint32, []byte) bool) { yield(7, nil) }); err != nil {
		t.Fatal(err)
	}
	r, err := x.Evaluate(ctx, nil)
	if err != nil || r.Set.Len() != 1 || !r.Set.Contains(7) {
		t.Fatalf("after Load: %v", err)
	}
}

// TestTooManyAttributes: names used as data do not grow the index without bound, and are not answered wrongly.
func TestTooManyAttributes(t *testing.T) {
	x := New(nil, false)
	for i := range uint32(MaxColumns + 1) {
		x.Insert(i, attribute.Append(nil, attribute.Set{{Name: fmt.Sprint("name-", i), Value: keyword("v")}}))
	}
	x.Publish()
	for name, want := range map[string]error{"name-0": nil, fmt.Sprint("name-", MaxColumns): ErrTooManyAttributes, "other": ErrTooManyAttributes} {
		e := equals(name, keyword("v"))
		r, err := x.Evaluate(t.Context(), Compile(&e))
		if !errors.Is(err, want) || err == nil && r.Set.Len() != 1 {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if n := x.Stats().Columns; n != MaxColumns {
		t.Errorf("%d columns", n)
	}
}

// TestNotFilterable: an attribute declared so takes no column, whether items are written or loaded.
func TestNotFilterable(t *testing.T) {
	item := attribute.Append(nil, attribute.Set{{Name: "genre", Value: keyword("jazz")}, {Name: "title", Value: keyword("So What")}})
	written, loaded := New(tracks, false), New(tracks, true)
	written.Insert(0, item)
	written.Publish()
	if written.Loading() || !loaded.Loading() {
		t.Error("which of the two loads is not told")
	}
	if err := loaded.Load(t.Context(), func(yield func(uint32, []byte) bool) { yield(0, item) }); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]*Index{"written": written, "loaded": loaded} {
		if s := x.Stats(); s.Columns != 1 || s.Bytes <= 0 || x.Loading() {
			t.Errorf("%s: %+v, want a column of genre only", name, s)
		}
		if got := evaluated(t, x, equals("genre", keyword("jazz"))); len(got) != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestFailing names the condition that an item does not fulfil.
func TestFailing(t *testing.T) {
	item := attribute.Append(nil, attribute.Set{{Name: "genre", Value: keyword("jazz")}, {Name: "year", Value: attribute.Value{Type: attribute.Int, Int: 1959}}})
	for in, want := range map[string]string{
		`genre = jazz AND year = 1959`:                       ``,
		`genre = jazz AND year > 1959`:                       `year > 1959`,
		`genre = jazz AND (year < 1960 AND explicit = true)`: `explicit = true`,
		`genre = jazz AND (genre = rock OR year < 1900)`:     `genre = "rock" OR year < 1900`,
		`year = 1959 AND NOT genre = (jazz OR blues)`:        `NOT genre = ("jazz" OR "blues")`,
	} {
		e, err := Parse(in, tracks)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Failing(item).String(); got != want {
			t.Errorf("%s fails at %q, want %q", in, got, want)
		}
	}
}

// TestEvaluateAllocates: once a result is kept, to answer with it takes a bounded number of allocations, whatever its size.
func TestEvaluateAllocates(t *testing.T) {
	x := New(nil, false)
	for slot := range uint32(20_000) {
		x.Insert(slot, attribute.Append(nil, attribute.Set{{Name: "n", Value: attribute.Value{Type: attribute.Int, Int: int64(slot % 7)}}}))
	}
	x.Publish()
	e := Expr{Op: Range, Attribute: "n", Low: Bound{Set: true, Value: attribute.Value{Type: attribute.Int, Int: 3}}}
	p := Compile(&e)
	evaluate := func() {
		r, err := x.Evaluate(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
	}
	evaluate()
	evaluate()
	if n := testing.AllocsPerRun(100, evaluate); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

// TestMoved: whoever knows which slots held items at one version learns which do at a later one, or that it cannot.
func TestMoved(t *testing.T) {
	x := New(nil, false)
	r := rand.New(rand.NewPCG(11, 12))
	live := map[uint32]bool{}
	history := []map[uint32]bool{{}} // by version
	unknown := 0
	for range 1200 {
		for range 1 + r.IntN(200) {
			slot := uint32(r.IntN(1500))
			switch {
			case !live[slot]:
				x.Insert(slot, nil)
			case r.IntN(3) == 0:
				x.Update(slot, nil, nil)
				continue
			default:
				x.Remove(slot, nil)
			}
			live[slot] = !live[slot]
		}
		settled := -1
		if slot := uint32(r.IntN(1500)); history[len(history)-1][slot] { // it had its item before the group
			settled = int(slot)
			x.Settle(slot)
		}
		x.Publish()
		history = append(history, maps.Clone(live))
		since := len(history) - 1 - r.IntN(min(len(history), 1000))
		moved, version, ok := x.Moved(uint64(since))
		if version != uint64(len(history)-1) {
			t.Fatalf("version %d, want %d", version, len(history)-1)
		}
		if !ok {
			unknown++
			continue
		}
		if settled >= 0 && uint64(since) < version && !slices.ContainsFunc(moved, func(m Move) bool { return int(m.Slot) == settled }) {
			t.Fatalf("slot %d was settled at version %d, which is not told to who knows %d", settled, version, since)
		}
		told := maps.Clone(history[since])
		for _, m := range moved {
			told[m.Slot] = m.Live
		}
		if again, _, ok := x.Moved(version); !ok || len(again) > movesGather {
			t.Fatalf("to who knows everything %d moves are told", len(again))
		}
		for slot, is := range live {
			if told[slot] != is {
				t.Fatalf("slot %d between versions %d and %d: told %v, want %v", slot, since, version, told[slot], is)
			}
		}
	}
	if unknown == 0 || unknown > 1100 {
		t.Errorf("%d of 1200 are not known", unknown)
	}
	if _, _, ok := x.Moved(uint64(len(history))); ok {
		t.Error("a version to come is known")
	}
}
