package server

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestStoredSetIsShortOnTheWire: a query that names a stored set of 20,000 heard tracks is less than 200 bytes, with ids as long as
// streaming services have, and answers exactly what is nearest of the others, in order, while the set grows and shrinks.
func TestStoredSetIsShortOnTheWire(t *testing.T) {
	const (
		items, inSet, heardItems = 1_200, 20_000, 900
		most                     = 200 // bytes
	)
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	rng := rand.New(rand.NewPCG(20_000, 200))
	at := map[string][2]float32{}
	var all []*seguev1.Item
	var names []string
	for i := range items {
		id := fmt.Sprintf("spotify:track:%022d", i)
		at[id] = [2]float32{rng.Float32(), rng.Float32()}
		names = append(names, id)
		all = append(all, item(id, at[id][0], at[id][1]))
	}
	f.upsert(t, "tracks", all[:items/2]...)
	f.upsert(t, "tracks", all[items/2:]...)
	rng.Shuffle(items, func(i, j int) { names[i], names[j] = names[j], names[i] })
	seed, user := names[items-1], "listener:"+strings.Repeat("0", 22)
	heard := slices.Clone(names[:heardItems])
	for i := len(heard); i < inSet; i++ { // tracks that are no longer there
		heard = append(heard, fmt.Sprintf("spotify:track:gone%018d", i))
	}
	for ids := range slices.Chunk(heard, 10_000) {
		if _, err := f.exclusions.AddExclusions(t.Context(), &seguev1.AddExclusionsRequest{Collection: "tracks", ExclusionSet: user, ItemIds: ids}); err != nil {
			t.Fatal(err)
		}
	}
	req := &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byItem(seed), NeighborCount: 100,
		Exclusions: &seguev1.Exclusions{ExclusionSets: []string{user}}, SearchEffort: exact(),
	}
	if n := proto.Size(req); n >= most {
		t.Errorf("a query that names %d heard tracks has %d bytes, want less than %d", inSet, n, most)
	}
	byIDs := proto.CloneOf(req)
	byIDs.Exclusions = &seguev1.Exclusions{ItemIds: heard[:10_000]}
	if whole, named := proto.Size(byIDs), proto.Size(req); whole < 1000*named {
		t.Errorf("half of them one by one are %d bytes, where the name of all takes %d: the test has too few or too short ids", whole, named)
	}

	check := func(step string, excluded []string) {
		t.Helper()
		var want []string
		for _, id := range names {
			if id != seed && !slices.Contains(excluded, id) {
				want = append(want, id)
			}
		}
		far := func(id string) float64 {
			return math.Hypot(float64(at[id][0])-float64(at[seed][0]), float64(at[id][1])-float64(at[seed][1]))
		}
		slices.SortFunc(want, func(a, b string) int {
			if far(a) < far(b) {
				return -1
			}
			return 1
		})
		if got := ids(f.search(t, req).GetNeighbors()); !slices.Equal(got, want[:100]) {
			t.Errorf("%s: answered %v, want %v", step, got, want[:100])
		}
		walked := proto.CloneOf(req)
		walked.SearchEffort = nil
		got := ids(f.search(t, walked).GetNeighbors())
		if len(got) != 100 {
			t.Errorf("%s: a search of the default effort has %d neighbors, want 100", step, len(got))
		}
		for _, id := range got {
			if !slices.Contains(want, id) {
				t.Errorf("%s: %s is answered, which is excluded", step, id)
			}
		}
	}
	check("at first", heard[:heardItems])
	if _, err := f.exclusions.RemoveExclusions(t.Context(), &seguev1.RemoveExclusionsRequest{Collection: "tracks", ExclusionSet: user, ItemIds: heard[:300]}); err != nil {
		t.Fatal(err)
	}
	check("300 removed", heard[300:heardItems])
	again := names[heardItems : heardItems+100]
	if _, err := f.exclusions.AddExclusions(t.Context(), &seguev1.AddExclusionsRequest{Collection: "tracks", ExclusionSet: user, ItemIds: again}); err != nil {
		t.Fatal(err)
	}
	check("100 added", append(slices.Clone(heard[300:heardItems]), again...))
}
