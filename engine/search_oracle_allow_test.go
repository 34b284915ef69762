package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/filter"
)

// heardEvery is every how-manieth item is in the stored exclusion set "heard" of the tests.
const heardEvery = 7

// newRequestOracle returns the oracle of items, which c holds, and of the exclusion set that it writes.
func newRequestOracle(t *testing.T, c *Collection, metric Metric, items []Item) *requestOracle {
	t.Helper()
	o := &requestOracle{oracle: oracleOf(metric, items), heard: map[string]bool{"nobody": true}}
	for i := 0; i < len(items); i += heardEvery {
		o.heard[items[i].ID] = true
	}
	for id := range o.heard {
		if err := c.AddExclusions(t.Context(), "heard", []string{id}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// drawAllowed draws a filter and exclusions.
func drawAllowed(t *rapid.T, rng *rand.Rand, items []Item, req *SearchRequest) {
	if rapid.IntRange(0, 2).Draw(t, "filtered") == 0 {
		f := drawFilter(t, rng, items, 3)
		req.Filter = &f
	}
	x := &req.Exclusions
	if rapid.IntRange(0, 3).Draw(t, "exclude ids") == 0 {
		for range rapid.IntRange(1, 20).Draw(t, "ids") {
			x.ItemIDs = append(x.ItemIDs, items[rng.IntN(len(items))].ID)
		}
		x.ItemIDs = append(x.ItemIDs, "nobody")
	}
	if rapid.IntRange(0, 3).Draw(t, "exclude heard") == 0 {
		x.Sets = []string{"heard", "never written"}
	}
	if rapid.IntRange(0, 3).Draw(t, "exclude values") == 0 {
		x.Attributes = []AttributeExclusion{{Attribute: "artists", Values: []Value{drawKeyword(rng, items, "artists"), drawKeyword(rng, items, "artists")}}}
	}
	if rapid.IntRange(0, 3).Draw(t, "exclude bitmap") == 0 {
		var plays []uint32
		for range rapid.IntRange(0, 300).Draw(t, "bitmap values") {
			plays = append(plays, uint32(rng.IntN(1000)))
		}
		x.Bitmap = bitmapOf(t, "plays", plays...)
	}
}

// drawKeyword draws a value that some item has.
func drawKeyword(rng *rand.Rand, items []Item, name string) Value {
	for {
		if values := keywordsOf(items[rng.IntN(len(items))], name); len(values) > 0 {
			return Value{Type: Keyword, Keywords: values[:1]}
		}
	}
}

func drawFilter(t *rapid.T, rng *rand.Rand, items []Item, depth int) Filter {
	ops := []filter.Op{filter.In, filter.Range, filter.Exists, filter.All, filter.Any, filter.None}
	if depth == 0 {
		ops = ops[:3]
	}
	f := Filter{Op: rapid.SampledFrom(ops).Draw(t, "op")}
	switch f.Op {
	case filter.In:
		f.Attribute = rapid.SampledFrom([]string{"artists", "isrc"}).Draw(t, "keyword")
		for range rapid.IntRange(1, 8).Draw(t, "values") {
			f.Values = append(f.Values, drawKeyword(rng, items, f.Attribute))
		}
	case filter.Range:
		bound := func() filter.Bound {
			return filter.Bound{Set: true, Open: rng.IntN(2) == 0, Value: Value{Type: Int, Int: int64(rng.IntN(1000))}}
		}
		f.Attribute, f.Low = "plays", bound()
		if rapid.Bool().Draw(t, "released") {
			f.Attribute, f.Low.Value = "released", Value{Type: Timestamp, Time: oracleTime().AddDate(0, 0, -rng.IntN(1000))}
		} else if f.High = bound(); rapid.Bool().Draw(t, "only high") {
			f.Low = filter.Bound{}
		}
	case filter.Exists:
		f.Attribute = rapid.SampledFrom([]string{"artists", "isrc", "plays"}).Draw(t, "exists")
	default:
		for range rapid.IntRange(0, 3).Draw(t, "args") {
			f.Args = append(f.Args, drawFilter(t, rng, items, depth-1))
		}
	}
	return f
}

// allows decides for one item by the definitions of filters and exclusions.
func (o *requestOracle) allows(req *SearchRequest, it Item) bool {
	x := &req.Exclusions
	if slices.Contains(x.ItemIDs, it.ID) || slices.Contains(x.Sets, "heard") && o.heard[it.ID] {
		return false
	}
	for _, a := range x.Attributes {
		if hasOne(it, a.Attribute, a.Values) {
			return false
		}
	}
	if x.Bitmap != nil {
		if v, has := it.Attributes.Get(x.Bitmap.Attribute); has && v.Type == Int && x.Bitmap.Values.Has(v.Int) {
			return false
		}
	}
	return req.Filter == nil || fulfils(req.Filter, it)
}

// bitmapOf excludes values of an attribute.
func bitmapOf(t interface{ Fatal(...any) }, attribute string, values ...uint32) *BitmapExclusion {
	data, err := roaring.BitmapOf(values...).ToBytes()
	if err != nil {
		t.Fatal(err)
	}
	x, err := DecodeBitmapExclusion(attribute, data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func hasOne(it Item, name string, values []Value) bool {
	return slices.ContainsFunc(values, func(v Value) bool {
		return slices.ContainsFunc(v.Keywords, func(k string) bool { return slices.Contains(keywordsOf(it, name), k) })
	})
}

func fulfils(f *Filter, it Item) bool {
	holding := 0
	for i := range f.Args {
		if fulfils(&f.Args[i], it) {
			holding++
		}
	}
	v, has := it.Attributes.Get(f.Attribute)
	switch f.Op {
	case filter.All:
		return holding == len(f.Args)
	case filter.Any:
		return holding > 0
	case filter.None:
		return holding == 0
	case filter.Exists:
		return has
	case filter.In:
		return hasOne(it, f.Attribute, f.Values)
	}
	number := func(v Value) int64 {
		if v.Type == Timestamp {
			return v.Time.UnixMicro()
		}
		return v.Int
	}
	above := !f.Low.Set || number(v) > number(f.Low.Value) || !f.Low.Open && number(v) == number(f.Low.Value)
	below := !f.High.Set || number(v) < number(f.High.Value) || !f.High.Open && number(v) == number(f.High.Value)
	return has && above && below
}

// matching is how many items filter and exclusions allow, and whether there are any.
func (o *requestOracle) matching(req *SearchRequest) (n int, filtered bool) {
	for _, it := range o.items {
		if o.allows(req, it) {
			n++
		}
	}
	if filtered = req.Filter != nil || !req.Exclusions.none(); !filtered {
		n = 0
	}
	return n, filtered
}
