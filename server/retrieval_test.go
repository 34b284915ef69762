package server

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

var metrics = []seguev1.Metric{seguev1.Metric_METRIC_COSINE, seguev1.Metric_METRIC_INNER_PRODUCT, seguev1.Metric_METRIC_L2}

// scoreOf is the score of the metric's definition in collection.proto, in double precision.
func scoreOf(m seguev1.Metric, a, b []float32) float64 {
	var dot, aa, bb, l2 float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot, aa, bb, l2 = dot+x*y, aa+x*x, bb+y*y, l2+(x-y)*(x-y)
	}
	switch m {
	case seguev1.Metric_METRIC_COSINE:
		return dot / math.Sqrt(aa*bb)
	case seguev1.Metric_METRIC_INNER_PRODUCT:
		return dot
	}
	return -l2
}

// distanceOf turns a score into the distance that belongs to it.
func distanceOf(m seguev1.Metric, score float64) float64 {
	if m == seguev1.Metric_METRIC_COSINE {
		return 1 - score
	}
	return -score
}

// randomItems returns n items of the dimension, from a fixed seed.
func randomItems(n, dim int) []*seguev1.Item {
	r := rand.New(rand.NewPCG(1, uint64(dim)))
	out := make([]*seguev1.Item, n)
	for i := range out {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(r.NormFloat64())
		}
		out[i] = item(fmt.Sprintf("i%04d", i), v...)
	}
	return out
}

func values(it *seguev1.Item) []float32 { return it.GetVector().GetFloats().GetValues() }

// TestNearestNeighborsAgainstDefinition: under every metric, an exact search answers what sorting by the metric's
// definition gives: order, score and distance; and a search of the graph answers true scores in the same order.
func TestNearestNeighborsAgainstDefinition(t *testing.T) {
	f := start(t, Options{})
	const n, dim, k = 300, 8, 10
	items := randomItems(n, dim)
	for _, m := range metrics {
		name := strings.ToLower(m.String())
		f.create(t, &seguev1.Collection{Name: name, Dimension: dim, Metric: m})
		f.upsert(t, name, items...)
		for q := range 20 {
			query := values(items[q*7])
			want := slices.Clone(items)
			slices.SortFunc(want, func(a, b *seguev1.Item) int {
				return cmp.Or(cmp.Compare(scoreOf(m, query, values(b)), scoreOf(m, query, values(a))), cmp.Compare(a.GetId(), b.GetId()))
			})
			req := &seguev1.NearestNeighborsRequest{Collection: name, Query: byVector(query...), NeighborCount: k, SearchEffort: exact()}
			resp := f.search(t, req)
			info := resp.GetSearchInfo()
			if info.GetPlan() != seguev1.Plan_PLAN_EXACT || info.GetCompleteness() != seguev1.Completeness_COMPLETENESS_COMPLETE || info.GetDistanceCount() < n || info.GetEfUsed() != 0 {
				t.Fatalf("%v: exact search did %v", m, info)
			}
			for i, got := range resp.GetNeighbors() {
				if got.GetItemId() != want[i].GetId() {
					t.Fatalf("%v, query %d: rank %d is %s, want %s", m, q, i, got.GetItemId(), want[i].GetId())
				}
			}
			checkNeighbors(t, m, query, items, resp.GetNeighbors())

			req.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: 100}}
			resp = f.search(t, req)
			if info := resp.GetSearchInfo(); info.GetPlan() != seguev1.Plan_PLAN_GRAPH || info.GetEfUsed() != 100 || info.GetHopCount() == 0 || info.GetDistanceCount() == 0 || info.GetRevision() != n {
				t.Fatalf("%v: graph search did %v", m, info)
			}
			checkNeighbors(t, m, query, items, resp.GetNeighbors())
			if len(resp.GetNeighbors()) != k {
				t.Fatalf("%v: %d neighbors", m, len(resp.GetNeighbors()))
			}
		}
	}
}

// checkNeighbors holds an answer to the rules of every answer: true scores, the distance of the score, best first.
func checkNeighbors(t *testing.T, m seguev1.Metric, query []float32, items []*seguev1.Item, ns []*seguev1.Neighbor) {
	t.Helper()
	byID := map[string]*seguev1.Item{}
	for _, it := range items {
		byID[it.GetId()] = it
	}
	const tolerance = 1e-4
	for i, n := range ns {
		want := scoreOf(m, query, values(byID[n.GetItemId()]))
		if math.Abs(float64(n.GetScore())-want) > tolerance || math.Abs(float64(n.GetDistance())-distanceOf(m, want)) > tolerance {
			t.Fatalf("%v: %s has score %g and distance %g, want score %g", m, n.GetItemId(), n.GetScore(), n.GetDistance(), want)
		}
		if i > 0 && n.GetScore() > ns[i-1].GetScore() {
			t.Fatalf("%v: score %g after %g: the best must come first", m, n.GetScore(), ns[i-1].GetScore())
		}
	}
}

// TestTiesGoByItemID: equal scores come in ascending order of id.
func TestTiesGoByItemID(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "ties", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	var items []*seguev1.Item
	for _, id := range []string{"m", "b", "Z", "é", "a", "c"} { // not written in order of id
		items = append(items, item(id, 1, 1))
	}
	f.upsert(t, "ties", append(items, item("near", 0, 0))...)
	for _, effort := range []*seguev1.SearchEffort{nil, exact()} {
		resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "ties", Query: byVector(0, 0), NeighborCount: 7, SearchEffort: effort})
		if got, want := ids(resp.GetNeighbors()), []string{"near", "Z", "a", "b", "c", "m", "é"}; !slices.Equal(got, want) {
			t.Errorf("%v: order %q, want %q", effort, got, want)
		}
	}
}

// rawCodec gives the bytes of an answer as they came.
type rawCodec struct{ codec }

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	into, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("raw answer into %T", v)
	}
	*into = bytes.Clone(data.Materialize())
	return nil
}

// TestSameRequestSameBytes: at one revision, an answer with many attributes is the same to the byte.
func TestSameRequestSameBytes(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	for i, it := range randomItems(50, 2) {
		it.Attributes = manyAttributes(i % 20).GetAttributes()
		f.upsert(t, "tracks", it)
	}
	req := &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byVector(1, 0), NeighborCount: 20, IncludeVectors: true,
		ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"attributes"}},
	}
	var first []byte
	for i := range 20 {
		var got []byte
		if err := f.conn.Invoke(t.Context(), readMethod, req, &got, grpc.ForceCodecV2(rawCodec{})); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = got
		}
		if len(got) < 1000 || !bytes.Equal(got, first) {
			t.Fatalf("call %d answers other bytes (%d, first %d)", i, len(got), len(first))
		}
	}
}

// TestFewerThanAskedFor: it is never an error to ask for more than there are.
func TestFewerThanAskedFor(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "few", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	for _, effort := range []*seguev1.SearchEffort{nil, exact(), {Effort: &seguev1.SearchEffort_Ef{Ef: 1}}} {
		resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "few", Query: byVector(1, 0), NeighborCount: 10, SearchEffort: effort})
		if len(resp.GetNeighbors()) != 0 || resp.GetSearchInfo().GetCompleteness() != seguev1.Completeness_COMPLETENESS_EXHAUSTED {
			t.Errorf("empty collection, %v: %v", effort, resp)
		}
	}
	f.upsert(t, "few", item("a", 1, 0), item("b", 0, 1), item("c", 1, 1))
	for k, want := range map[int32]seguev1.Completeness{
		2: seguev1.Completeness_COMPLETENESS_COMPLETE, 3: seguev1.Completeness_COMPLETENESS_COMPLETE,
		4: seguev1.Completeness_COMPLETENESS_EXHAUSTED, 10_000: seguev1.Completeness_COMPLETENESS_EXHAUSTED,
	} {
		for _, effort := range []*seguev1.SearchEffort{nil, exact()} {
			resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "few", Query: byVector(1, 0), NeighborCount: k, SearchEffort: effort})
			if n := len(resp.GetNeighbors()); n != min(int(k), 3) || resp.GetSearchInfo().GetCompleteness() != want {
				t.Errorf("k %d: %d neighbors, %v", k, n, resp.GetSearchInfo().GetCompleteness())
			}
		}
	}
	// "More like this": the seed is not among those there are.
	resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "few", Query: byItem("a"), NeighborCount: 3})
	if got := ids(resp.GetNeighbors()); !slices.Equal(got, []string{"c", "b"}) || resp.GetSearchInfo().GetCompleteness() != seguev1.Completeness_COMPLETENESS_EXHAUSTED {
		t.Errorf("like a: %q, %v", got, resp.GetSearchInfo())
	}
}

// TestQueryForms: an item and a user ask with their vectors; the seed item never comes back, a profile is no item.
func TestQueryForms(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 8, Metric: seguev1.Metric_METRIC_COSINE})
	items := randomItems(100, 8)
	f.upsert(t, "tracks", items...)
	seed := items[42]
	_, err := f.profiles.UpsertProfile(t.Context(), &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: &seguev1.Profile{
		UserId: "u", Interests: []*seguev1.Interest{{Vector: seed.GetVector()}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(q *seguev1.Query, k int32) []string {
		return ids(f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: q, NeighborCount: k, SearchEffort: exact()}).GetNeighbors())
	}
	vector, user, like := ask(byVector(values(seed)...), 11), ask(byUser("u"), 11), ask(byItem(seed.GetId()), 10)
	if vector[0] != seed.GetId() || !slices.Equal(vector, user) || !slices.Equal(vector[1:], like) {
		t.Errorf("vector %q\nuser   %q\nitem   %q", vector, user, like)
	}
}

func TestReadMaskChoosesAttributes(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	it := item("a", 3, 4)
	it.Attributes = map[string]*seguev1.AttributeValue{"title": keywords("Song"), "artists": keywords("A", "B")}
	f.upsert(t, "tracks", it, item("bare", 3, 4.5))
	for _, c := range []struct {
		paths   []string
		vectors bool
		want    []string
	}{
		{nil, false, nil},
		{[]string{"item_id", "score"}, true, nil},
		{[]string{"attributes"}, false, []string{"artists", "title"}},
		{[]string{"attributes.title"}, true, []string{"title"}},
		{[]string{"attributes.missing"}, false, nil},
	} {
		resp := f.search(t, &seguev1.NearestNeighborsRequest{
			Collection: "tracks", Query: byVector(3, 4), NeighborCount: 2, IncludeVectors: c.vectors,
			ReadMask: &fieldmaskpb.FieldMask{Paths: c.paths},
		})
		n := resp.GetNeighbors()[0]
		if n.GetItemId() != "a" || math.Abs(float64(n.GetScore()-1)) > 1e-6 || math.Abs(float64(n.GetDistance())) > 1e-6 {
			t.Errorf("%q: neighbor %v", c.paths, n)
		}
		if got := sortedKeys(n.GetAttributes()); !slices.Equal(got, c.want) {
			t.Errorf("%q: attributes %q, want %q", c.paths, got, c.want)
		}
		for name, v := range n.GetAttributes() {
			if !proto.Equal(v, it.GetAttributes()[name]) {
				t.Errorf("%s is %v", name, v)
			}
		}
		var want []float32
		if c.vectors {
			want = []float32{3, 4} // as written, not normalised
		}
		if got := n.GetVector().GetFloats().GetValues(); !slices.Equal(got, want) {
			t.Errorf("%q: vector %v, want %v", c.paths, got, want)
		}
		if got := resp.GetNeighbors()[1].GetAttributes(); len(got) != 0 {
			t.Errorf("the item without attributes has %v", got)
		}
	}
}

// TestReadYourWrites: a search with the revision of a write sees the write, and says so.
func TestReadYourWrites(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	last := int64(0)
	for i := range 30 {
		id := fmt.Sprintf("i%d", i)
		rev := f.upsert(t, "tracks", item(id, float32(i), 0))
		if rev <= last {
			t.Fatalf("revision %d after %d", rev, last)
		}
		resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(float32(i), 0), NeighborCount: 1, MinRevision: rev})
		if ids(resp.GetNeighbors())[0] != id || resp.GetSearchInfo().GetRevision() < rev {
			t.Fatalf("after revision %d: %v", rev, resp)
		}
		del, err := f.items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: id})
		if err != nil {
			t.Fatal(err)
		}
		last = del.GetRevision()
		resp = f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(0, 0), NeighborCount: 5, MinRevision: last})
		if len(resp.GetNeighbors()) != 0 {
			t.Fatalf("deleted items come back: %v", resp)
		}
	}
}

// TestLastQueryFormWins: two forms in one message cannot be told apart from the last alone; this is protobuf's rule
// for a oneof, and the reason why it is no error.
func TestLastQueryFormWins(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", item("a", 1, 0), item("b", 0, 1))
	both := &seguev1.Query{}
	for _, q := range []*seguev1.Query{byVector(0, 1), byItem("b")} {
		b, err := proto.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(b, both); err != nil {
			t.Fatal(err)
		}
	}
	resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: both, NeighborCount: 5})
	if got := ids(resp.GetNeighbors()); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%q: want the answer to item b", got)
	}
}

// TestTargetRecallOnTheWire: what is expected is in the answer where it is known, and absent where it is not.
func TestTargetRecallOnTheWire(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "few", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "few", item("a", 1, 0), item("b", 0, 1), item("c", 1, 1))
	for _, target := range []float64{0.5, 1} {
		resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "few", Query: byVector(1, 0), NeighborCount: 2,
			SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_TargetRecall{TargetRecall: target}}})
		if info := resp.GetSearchInfo(); info.GetPlan() != seguev1.Plan_PLAN_EXACT || info.GetExpectedRecall() != 1 || len(resp.GetNeighbors()) != 2 {
			t.Errorf("target %g: %v", target, resp)
		}
	}
	resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "few", Query: byVector(1, 0), NeighborCount: 2})
	if info := resp.GetSearchInfo(); info.GetPlan() != seguev1.Plan_PLAN_GRAPH || info.ExpectedRecall != nil {
		t.Errorf("without a target: %v", info)
	}
}
