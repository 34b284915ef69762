package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/filter"
)

// equivalent draws another filter that the same items fulfil, by the laws of logic.
func equivalent(rng *rand.Rand, f Filter) Filter {
	not := func(f Filter) Filter { return Filter{Op: filter.None, Args: []Filter{f}} }
	f.Args = slices.Clone(f.Args)
	for i := range f.Args {
		f.Args[i] = equivalent(rng, f.Args[i])
	}
	rng.Shuffle(len(f.Args), func(i, j int) { f.Args[i], f.Args[j] = f.Args[j], f.Args[i] })
	nots := make([]Filter, len(f.Args))
	for i := range f.Args {
		nots[i] = not(f.Args[i])
	}
	switch rng.IntN(4) {
	case 0:
		return not(not(f))
	case 1:
		return Filter{Op: filter.All, Args: []Filter{f, f}}
	case 2:
		return Filter{Op: filter.Any, Args: []Filter{f}}
	}
	switch f.Op {
	case filter.All: // none of them does not hold
		return Filter{Op: filter.None, Args: nots}
	case filter.Any: // not all of them do not hold
		return not(Filter{Op: filter.All, Args: nots})
	case filter.None: // all of them do not hold
		return Filter{Op: filter.All, Args: nots}
	case filter.In: // one after the other
		one := Filter{Op: filter.Any}
		for _, v := range f.Values {
			one.Args = append(one.Args, Filter{Op: filter.In, Attribute: f.Attribute, Values: []Value{v}})
		}
		return one
	case filter.Range: // an end after the other
		all := Filter{Op: filter.All}
		for _, end := range []Filter{{Op: filter.Range, Attribute: f.Attribute, Low: f.Low}, {Op: filter.Range, Attribute: f.Attribute, High: f.High}} {
			if end.Low.Set || end.High.Set {
				all.Args = append(all.Args, end)
			}
		}
		return all
	}
	return f
}

// TestEquivalentFilters: requests whose filters say the same in other words, as a message or as a string, and exclusions that name the
// same items in another way, have the same answer to the last bit, and say the same of how it was found.
func TestEquivalentFilters(t *testing.T) {
	c := newTestCollection(t, exactDim, Cosine)
	rng := rand.New(rand.NewPCG(21, 22))
	items := rankedItems(rng, 400)
	mustUpsert(t, c, items...)
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0))
		f := drawFilter(t, rng, items, 3)
		req := SearchRequest{
			Query: Query{Vector: exactVector(rng)}, K: rapid.IntRange(1, 60).Draw(t, "k"), Filter: &f, Exact: rapid.Bool().Draw(t, "exact"),
		}
		if rapid.Bool().Draw(t, "crowding") {
			req.Crowding = []CrowdingLimit{{"artists", 1}}
		}
		want, err := c.Search(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		same := func(how string, req SearchRequest) {
			got, err := c.Search(context.Background(), req)
			if err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%v as %s:\n%+v\nwant\n%+v", f.String(), how, got, want)
			}
		}
		same("itself", req)
		other := equivalent(rng, f)
		req.Filter = &other
		same(fmt.Sprintf("the message %v", other.String()), req)

		// What the filter does not allow, excluded by id, is as well not allowed.
		req.Filter = nil
		for _, it := range items {
			if !fulfils(&f, it) {
				req.Exclusions.ItemIDs = append(req.Exclusions.ItemIDs, it.ID)
			}
		}
		if len(req.Exclusions.ItemIDs) > 0 {
			same("excluded ids", req)
		}
	})
}

// TestFilterStringsAreEquivalent: a filter that is written as a string and read again has the same answer.
func TestFilterStringsAreEquivalent(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "declared", Dim: exactDim, Metric: Cosine, Attributes: []AttributeSpec{
		{Name: "artists", Type: Keyword}, {Name: "isrc", Type: Keyword}, {Name: "plays", Type: Int}, {Name: "released", Type: Timestamp},
	}})
	if err != nil {
		t.Fatal(err)
	}
	items := rankedItems(rand.New(rand.NewPCG(23, 24)), 300)
	mustUpsert(t, c, items...)
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0))
		f := drawFilter(t, rng, items, 3)
		read, err := c.ParseFilter(f.String())
		if err != nil {
			t.Skip("has no string form") // a list of nothing
		}
		req := SearchRequest{Query: Query{Vector: exactVector(rng)}, K: 20, Filter: &f}
		want, err := c.Search(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		req.Filter = read
		if got, err := c.Search(context.Background(), req); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %v\n%+v\nwant\n%+v", f.String(), err, got, want)
		}
	})
}
