package filter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/segue-ann/segue/engine/attribute"
)

func number64(n int64) attribute.Value { return attribute.Value{Type: attribute.Int, Int: n} }

func at(year int) attribute.Value {
	return attribute.Value{Type: attribute.Timestamp, Time: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func closed(v attribute.Value) Bound { return Bound{Set: true, Value: v} }

// TestValidate: each rule, with the path of the field that breaks it.
func TestValidate(t *testing.T) {
	many := make([]attribute.Value, MaxValues+1)
	for i := range many {
		many[i] = number64(int64(i))
	}
	in := func(name string, values ...attribute.Value) Expr {
		return Expr{Op: In, Attribute: name, Values: values}
	}
	nested := equals("year", number64(1))
	for range MaxDepth {
		nested = Expr{Op: None, Args: []Expr{nested}}
	}
	for _, c := range []struct {
		e    Expr
		kind Kind
		want string
	}{
		{Expr{}, Required, "must have a condition"},
		{Expr{Op: All, Args: []Expr{{Op: Exists, Attribute: "year"}, {}}}, Required, "all.filters[1]: must have a condition"},
		{Expr{Op: Any, Args: []Expr{{Op: None, Args: []Expr{{Op: Exists}}}}}, Required, "any.filters[0].none.filters[0].exists: must name an attribute"},
		{equals("mood", keyword("a")), UnknownName, `equals.attribute: "mood" is not declared`},
		{equals(strings.Repeat("m", 100), keyword("a")), UnknownName, `equals.attribute: "` + strings.Repeat("m", 64) + `..." is not declared`},
		{in("title", keyword("a"), keyword("b")), NotFilterable, `in_values.attribute: "title" is declared not_filterable`},
		{in("year"), Required, "in_values.values: must have at least one value"},
		{in("year", number64(1), keyword("a")), Incomparable, "in_values.values[1]: must be comparable with INT, is KEYWORD"},
		{in("genre", keyword("a"), keyword()), Required, "in_values.values[1]: must have at least one keyword"},
		{equals("genre", keyword("a", "\xff")), Malformed, "equals.value: must be valid UTF-8"},
		{equals("gain", attribute.Value{Type: attribute.Float, Float: math.Inf(1)}), OutOfRange, "equals.value: must be finite, is +Inf"},
		{equals("gain", attribute.Value{Type: attribute.Float, Float: math.NaN()}), OutOfRange, "equals.value: must be finite, is NaN"},
		{equals("released", at(0)), OutOfRange, "equals.value: must lie in the years 1 to 9999"},
		{equals("released", at(10_000)), OutOfRange, "equals.value: must lie in the years 1 to 9999"},
		{equals("available", attribute.Value{Type: attribute.Markets}), Incomparable, "equals.value: markets are filtered by with the condition markets"},
		{equals("year", attribute.Value{}), Required, "equals.value: must have a value"},
		{in("year", many...), OutOfRange, "in_values: the filter must have at most 10000 values"},
		{Expr{Op: All, Args: []Expr{in("year", many[1:]...), {Op: Range, Attribute: "year", Low: closed(number64(1))}}}, OutOfRange,
			"all.filters[1].range.min: the filter must have at most 10000 values"},
		{Expr{Op: All, Args: []Expr{in("year", many[1:]...), {Op: InMarkets, Attribute: "available", Markets: []attribute.Market{1}}}}, OutOfRange,
			"all.filters[1].markets.any_of: the filter must have at most 10000 values"},
		{Expr{Op: Range, Attribute: "year"}, Required, "range: must have a lower or an upper bound"},
		{Expr{Op: Range, Low: closed(number64(1))}, Required, "range.attribute: must name an attribute"},
		{Expr{Op: Range, Attribute: "genre", Low: closed(keyword("a"))}, Incomparable, "range.min: must be an INT, a FLOAT or a TIMESTAMP, is KEYWORD"},
		{Expr{Op: Range, Attribute: "year", Low: Bound{Set: true, Open: true, Value: at(2000)}}, Incomparable, "range.above: must be comparable with INT"},
		{Expr{Op: Range, Attribute: "year", Low: closed(number64(1)), High: closed(at(2000))}, Incomparable, "range.max: must be comparable with INT"},
		{Expr{Op: Range, Attribute: "year", Low: closed(number64(1)), High: Bound{Set: true, Open: true}}, Required, "range.below: must have a value"},
		{Expr{Op: Range, Attribute: "gain", High: closed(attribute.Value{Type: attribute.Float, Float: math.NaN()})}, OutOfRange, "range.max: must be finite"},
		{Expr{Op: InMarkets, Attribute: "available"}, Required, "markets.any_of: must have at least one market"},
		{Expr{Op: InMarkets, Attribute: "genre", Markets: []attribute.Market{1}}, Incomparable, `markets: "genre" is of type KEYWORD, not MARKETS`},
		{Expr{Op: InMarkets, Markets: []attribute.Market{1}}, Required, "markets.attribute: must name an attribute"},
		{Expr{Op: InBitmap, Attribute: "year"}, Required, "roaring: must be set"},
		{Expr{Op: InBitmap, Attribute: "gain"}, Incomparable, `attribute: "gain" is of type FLOAT, not INT`},
		{Expr{Op: InBitmap}, Required, "attribute: must name an attribute"},
		{nested, OutOfRange, strings.Repeat("none.filters[0].", MaxDepth-1) + "none.filters[0]: conditions must be nested at most 32 deep"},
		{Expr{Op: Any, Args: slices.Repeat([]Expr{{Op: All}}, MaxConditions)}, OutOfRange, "any.filters[1023]: the filter must have at most 1024 conditions"},
	} {
		bad := c.e.Validate(tracks)
		if bad == nil || bad.Kind != c.kind || !strings.HasPrefix(bad.String(), c.want) {
			t.Errorf("%.200s\n got %v\nwant %s", c.e.String(), bad, c.want)
		}
	}
	// A range of two types is told apart from one of the wrong type only in an open schema.
	mixed := Expr{Op: Range, Attribute: "a", Low: closed(number64(1)), High: closed(at(2000))}
	if bad := mixed.Validate(nil); bad == nil || bad.String() != "range: has a bound of type INT and one of type TIMESTAMP" {
		t.Errorf("a range of two types: %v", bad)
	}
	for _, good := range []Expr{
		in("year", many[1:]...), {Op: Any, Args: slices.Repeat([]Expr{{Op: All}}, MaxConditions-1)}, nested.Args[0],
		equals("year", attribute.Value{Type: attribute.Float, Float: 1.5}), equals("gain", number64(1)), equals("released", at(1)), equals("released", at(9999)),
		{Op: InBitmap, Attribute: "year", Bitmap: bitmap(roaring.BitmapOf(1))}, {Op: All}, {Op: Any}, {Op: None},
	} {
		if bad := good.Validate(tracks); bad != nil {
			t.Errorf("%.100s: %v", good.String(), bad)
		}
	}
}

// TestValidateCost: what is checked is not copied, and what is too much is refused before it is looked at.
func TestValidateCost(t *testing.T) {
	values := make([]attribute.Value, 100*MaxValues)
	for i := range values {
		values[i] = number64(int64(i))
	}
	values[MaxValues+1] = attribute.Value{} // would be a problem of its own
	fine := Expr{Op: In, Attribute: "year", Values: values[:MaxValues]}
	if n := testing.AllocsPerRun(10, func() {
		if bad := fine.Validate(tracks); bad != nil {
			t.Fatal(bad)
		}
	}); n > 10 {
		t.Errorf("%v allocations for %d values", n, MaxValues)
	}
	large := Expr{Op: In, Attribute: "year", Values: values}
	if bad := large.Validate(tracks); bad == nil || bad.Kind != OutOfRange {
		t.Errorf("%d values: %v", len(values), bad)
	}
}

// TestKeys: expressions have one key exactly where they are equal, so that a kept result is never that of another.
func TestKeys(t *testing.T) {
	p := fromRand(rand.New(rand.NewPCG(31, 32)))
	seen := map[string]string{}
	for range 20_000 {
		e := p.expr(2)
		key, form := string(e.appendKey(nil)), fmt.Sprintf("%+v", plain(e))
		if other, again := seen[key]; again && other != form {
			t.Fatalf("one key for\n%s and\n%s", form, other)
		}
		seen[key] = form
	}
	forms := map[string]bool{}
	for _, form := range seen {
		if forms[form] {
			t.Fatalf("two keys for %s", form)
		}
		forms[form] = true
	}
}

// plain is e without pointers: bitmaps are written as the attribute's values.
func plain(e Expr) Expr {
	e.Args = slices.Clone(e.Args)
	for i := range e.Args {
		e.Args[i] = plain(e.Args[i])
	}
	if e.Op == InBitmap {
		for _, v := range e.Bitmap.set.ToArray() {
			e.Values = append(e.Values, number64(int64(v)))
		}
		e.Bitmap = nil
	}
	return e
}

// TestTimestampEdges: the first and the last moment, and digits below the microsecond, which are dropped from items and from filters
// alike, before 1970 too.
func TestTimestampEdges(t *testing.T) {
	moments := []time.Time{
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Unix(0, -1), time.Unix(0, -1000), time.Unix(0, 0), time.Unix(0, 999), time.Unix(0, 1000), time.Unix(0, 1999),
		time.Date(1959, 8, 17, 0, 0, 0, 1, time.UTC), time.Date(1959, 8, 17, 0, 0, 0, 1000, time.UTC),
	}
	x := New(tracks, false)
	for slot, at := range moments {
		x.Insert(uint32(slot), attribute.Append(nil, attribute.Set{{Name: "released", Value: attribute.Value{Type: attribute.Timestamp, Time: at}}}))
	}
	x.Publish()
	micros := func(at time.Time) time.Time { return at.UTC().Truncate(time.Microsecond) } // of the time since year 1: downwards
	for _, bound := range moments {
		for op, holds := range map[string]func(c int) bool{
			"=": func(c int) bool { return c == 0 }, "<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 },
			">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 }, "!=": func(c int) bool { return c != 0 },
		} {
			var want []uint32
			for slot, at := range moments {
				if holds(micros(at).Compare(micros(bound))) {
					want = append(want, uint32(slot))
				}
			}
			text := "released " + op + " " + bound.UTC().Format(time.RFC3339Nano)
			e, bad := Parse(text, tracks)
			if bad != nil {
				t.Fatalf("%s: %v", text, bad)
			}
			if got := evaluated(t, x, *e); !slices.Equal(got, want) {
				t.Errorf("%s matches %v, want %v", text, got, want)
			}
		}
	}
}

// TestIntFloatEdges: integers and floats compare as numbers, where neither can hold the other too.
func TestIntFloatEdges(t *testing.T) {
	edges := []float64{-math.MaxFloat64, -1 << 63, -1<<63 - 2048, -1<<63 + 1024, 1 << 63, 1<<63 - 1024, 1 << 62, 1<<53 + 2, 0.5, -0.5, -1.5, math.SmallestNonzeroFloat64}
	for _, f := range edges {
		for _, v := range []int64{math.MinInt64, math.MinInt64 + 1, math.MinInt64 + 1024, math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 - 1023, 1 << 53, 1<<53 + 1, 1<<53 + 2, 0, -1, -2, 1} {
			want, _ := compare(number64(v), attribute.Value{Type: attribute.Float, Float: f})
			if got := compareIntFloat(v, f); got != want {
				t.Errorf("%d and %v: %d, want %d", v, f, got, want)
			}
		}
	}
}

// TestStringForPeople: what has no string form is still written.
func TestStringForPeople(t *testing.T) {
	year := Expr{Op: Exists, Attribute: "year"}
	for want, e := range map[string]Expr{
		"everything":                     {Op: All},
		"nothing":                        {Op: Any},
		"NOT nothing":                    {Op: None},
		"year:*":                         {Op: All, Args: []Expr{year}},
		"NOT (NOT year:*)":               {Op: None, Args: []Expr{{Op: None, Args: []Expr{year}}}},
		"NOT (year:* OR year:*)":         {Op: None, Args: []Expr{year, year}},
		"year in a bitmap of 2 values":   {Op: InBitmap, Attribute: "year", Bitmap: bitmap(roaring.BitmapOf(1, 7))},
		"year = MARKETS":                 {Op: In, Attribute: "year", Values: []attribute.Value{{Type: attribute.Markets}}},
		"NOT (year > 1 AND year <= 2.0)": {Op: None, Args: []Expr{{Op: Range, Attribute: "year", Low: Bound{true, true, number64(1)}, High: closed(attribute.Value{Type: attribute.Float, Float: 2})}}},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := (*Expr)(nil).String(); got != "" {
		t.Errorf("no filter is %q", got)
	}
}
