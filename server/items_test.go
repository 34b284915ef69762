package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// everyAttribute has one attribute of each type.
func everyAttribute() map[string]*seguev1.AttributeValue {
	return map[string]*seguev1.AttributeValue{
		"title":    keywords("Élégie"),
		"artists":  keywords("First", "Second", "First"),
		"explicit": {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: false}},
		"duration": {Kind: &seguev1.AttributeValue_IntValue{IntValue: -1}},
		"tempo":    {Kind: &seguev1.AttributeValue_FloatValue{FloatValue: 117.25}},
		"markets":  {Kind: &seguev1.AttributeValue_Markets{Markets: &seguev1.Markets{Codes: []string{"DK", "SE"}}}},
		"released": {Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(time.Date(1971, 2, 3, 4, 5, 6, 789000, time.UTC))}},
	}
}

func everyAttributeSchema() []*seguev1.AttributeSpec {
	return []*seguev1.AttributeSpec{
		{Name: "artists", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD},
		{Name: "duration", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_INT},
		{Name: "explicit", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_BOOL},
		{Name: "markets", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS},
		{Name: "released", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP},
		{Name: "tempo", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT},
		{Name: "title", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD},
	}
}

// TestItemLife: written, read in every way, replaced as a whole, read after a restart, deleted.
func TestItemLife(t *testing.T) {
	ctx := t.Context()
	f := open(t, t.TempDir(), Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 3, Metric: seguev1.Metric_METRIC_COSINE, Attributes: everyAttributeSchema()})
	want := item("a", 1, 2, 3)
	want.Attributes = everyAttribute()
	want.Revision = 99 // ignored on write
	up, err := f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: want})
	if err != nil {
		t.Fatal(err)
	}
	want.Revision = up.GetRevision()
	get := func() *seguev1.Item {
		t.Helper()
		resp, err := f.items.GetItem(ctx, &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a", IncludeVectors: true})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetItem()
	}
	if diff := cmp.Diff(want, get(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	bare, err := f.items.GetItem(ctx, &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a"})
	if err != nil || bare.GetItem().GetVector() != nil || len(bare.GetItem().GetAttributes()) != 7 {
		t.Errorf("without vectors: %v, %v", bare, err)
	}

	want = item("a", 0.5, 0, 0) // no attributes: the old ones must not stay
	want.Revision = f.upsert(t, "tracks", want)
	if diff := cmp.Diff(want, get(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}

	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	if diff := cmp.Diff(want, get(), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
	if _, err := f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a"}); err != nil {
		t.Fatal(err)
	}
	req := &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a"}
	_, err = f.items.GetItem(ctx, req)
	refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}.check(t, req, err)
	again := &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "a"}
	_, err = f.items.DeleteItem(ctx, again)
	refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}.check(t, again, err)
}

// TestBatchIsAllOrNothing: one bad row and none is written.
func TestBatchIsAllOrNothing(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	req := &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: []*seguev1.Item{item("a", 1, 0), item("b", 0, 0), item("c", 0, 1), item("", 0, 1)}}
	_, err := f.items.BatchUpsertItems(t.Context(), req)
	refusal{codes.InvalidArgument, "ZERO_VECTOR", "items[1].vector"}.check(t, req, err)
	resp, err := f.items.BatchGetItems(t.Context(), &seguev1.BatchGetItemsRequest{Collection: "tracks", ItemIds: []string{"a", "b", "c"}})
	if err != nil || len(resp.GetItems()) != 0 || !slices.Equal(resp.GetMissingIds(), []string{"a", "b", "c"}) {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestBatchLastWins(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	f.upsert(t, "tracks", item("a", 1, 0), item("b", 1, 1), item("a", 0, 1))
	resp, err := f.items.GetItem(t.Context(), &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a", IncludeVectors: true})
	if err != nil || !slices.Equal(values(resp.GetItem()), []float32{0, 1}) {
		t.Errorf("%v, %v", resp, err)
	}
	c, err := f.collections.GetCollection(t.Context(), &seguev1.GetCollectionRequest{Name: "tracks"})
	if err != nil || c.GetCollection().GetItemCount() != 2 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestBatchGetAndDelete(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	f.upsert(t, "tracks", item("a", 1, 0), item("b", 1, 1), item("c", 0, 1))
	got, err := f.items.BatchGetItems(ctx, &seguev1.BatchGetItemsRequest{Collection: "tracks", ItemIds: []string{"c", "x", "a", "c", "y"}, IncludeVectors: true})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, it := range got.GetItems() {
		found = append(found, it.GetId())
	}
	if !slices.Equal(found, []string{"c", "a", "c"}) || !slices.Equal(got.GetMissingIds(), []string{"x", "y"}) || !slices.Equal(values(got.GetItems()[0]), []float32{0, 1}) {
		t.Errorf("%v", got)
	}
	del, err := f.items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "tracks", ItemIds: []string{"a", "x", "c", "a"}})
	if err != nil || !slices.Equal(del.GetMissingIds(), []string{"x", "a"}) {
		t.Errorf("%v, %v", del, err)
	}
	resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 0), NeighborCount: 5, MinRevision: del.GetRevision()})
	if got := ids(resp.GetNeighbors()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%q are left", got)
	}
}

// TestUpdateItemAttributes: what the mask names changes, in every form of it, and nothing else; also after a restart.
func TestUpdateItemAttributes(t *testing.T) {
	ctx := t.Context()
	f := open(t, t.TempDir(), Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	it := item("a", 1, 2)
	it.Attributes = everyAttribute()
	f.upsert(t, "tracks", it, item("b", 2, 1))
	mask := func(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }
	title := map[string]*seguev1.AttributeValue{"title": keywords("New")}
	for _, step := range []struct {
		attributes map[string]*seguev1.AttributeValue
		mask       *fieldmaskpb.FieldMask
		want       func(map[string]*seguev1.AttributeValue)
	}{
		{title, nil, func(m map[string]*seguev1.AttributeValue) { m["title"] = keywords("New") }},
		{nil, mask("attributes.tempo", "attributes.nowhere"), func(m map[string]*seguev1.AttributeValue) { delete(m, "tempo") }},
		{map[string]*seguev1.AttributeValue{"year": {Kind: &seguev1.AttributeValue_IntValue{IntValue: 1971}}}, mask("attributes.year", "attributes.explicit"),
			func(m map[string]*seguev1.AttributeValue) {
				delete(m, "explicit")
				m["year"] = &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: 1971}}
			}},
		{nil, nil, func(map[string]*seguev1.AttributeValue) {}},
		{title, mask("*"), func(m map[string]*seguev1.AttributeValue) { clear(m); m["title"] = keywords("New") }},
		{nil, mask("attributes"), func(m map[string]*seguev1.AttributeValue) { clear(m) }},
	} {
		up, err := f.items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{
			Collection: "tracks", Update: &seguev1.AttributesUpdate{ItemId: "a", Attributes: step.attributes, UpdateMask: step.mask},
		})
		if err != nil {
			t.Fatal(err)
		}
		step.want(it.Attributes)
		got, err := f.items.GetItem(ctx, &seguev1.GetItemRequest{Collection: "tracks", ItemId: "a", IncludeVectors: true})
		if err != nil {
			t.Fatal(err)
		}
		it.Revision = up.GetRevision()
		if diff := cmp.Diff(it, got.GetItem(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	batch, err := f.items.BatchUpdateItemAttributes(ctx, &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks", Updates: []*seguev1.AttributesUpdate{
		{ItemId: "a", Attributes: title}, {ItemId: "x"}, {ItemId: "b", Attributes: title}, {ItemId: "a", UpdateMask: mask("attributes.title")},
	}})
	if err != nil || !slices.Equal(batch.GetMissingIds(), []string{"x"}) {
		t.Fatalf("%v, %v", batch, err)
	}
	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	list, _ := f.list(t, "tracks", 10)
	if len(list) != 2 || len(list[0].GetAttributes()) != 0 || list[1].GetAttributes()["title"].GetKeywords().GetValues()[0] != "New" {
		t.Errorf("after a restart: %v", list)
	}
	req := &seguev1.UpdateItemAttributesRequest{Collection: "tracks", Update: &seguev1.AttributesUpdate{ItemId: "x", Attributes: title}}
	_, err = f.items.UpdateItemAttributes(ctx, req)
	refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}.check(t, req, err)
}

// list reads all pages.
func (f *fixture) list(t *testing.T, collection string, size int32) (all []*seguev1.Item, pages []int) {
	t.Helper()
	req := &seguev1.ListItemsRequest{Collection: collection, PageSize: size, IncludeVectors: true}
	for {
		resp, err := f.items.ListItems(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, resp.GetItems()...)
		pages = append(pages, len(resp.GetItems()))
		if resp.GetNextPageToken() == "" {
			return all, pages
		}
		req.PageToken = resp.GetNextPageToken()
	}
}

// TestListItems: every item once, in order of id, whatever the page size; and a token is bound to its list.
func TestListItems(t *testing.T) {
	f := start(t, Options{})
	for _, name := range []string{"tracks", "other"} {
		f.create(t, &seguev1.Collection{Name: name, Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	}
	want := randomItems(257, 2)
	want[17].Id, want[18].Id = "é\x00", "é"
	f.upsert(t, "tracks", want...)
	slices.SortFunc(want, func(a, b *seguev1.Item) int { return strings.Compare(a.GetId(), b.GetId()) })
	for size, pages := range map[int32][]int{
		0: {100, 100, 57}, 1: slices.Repeat([]int{1}, 257), 100: {100, 100, 57}, 257: {257}, 256: {256, 1}, 1_000_000: {257},
	} {
		got, sizes := f.list(t, "tracks", size)
		if !slices.Equal(sizes, pages) {
			t.Errorf("page size %d: pages %v", size, sizes)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&seguev1.Item{}, "revision")); diff != "" {
			t.Errorf("page size %d: %s", size, diff)
		}
	}
	if got, sizes := f.list(t, "other", 10); len(got) != 0 || !slices.Equal(sizes, []int{0}) {
		t.Errorf("empty collection: %v %v", got, sizes)
	}
	first, err := f.items.ListItems(t.Context(), &seguev1.ListItemsRequest{Collection: "tracks", PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	req := &seguev1.ListItemsRequest{Collection: "other", PageToken: first.GetNextPageToken()}
	_, err = f.items.ListItems(t.Context(), req)
	refusal{codes.InvalidArgument, "INVALID_PAGE_TOKEN", "page_token"}.check(t, req, err)
}

// TestListItemsEndsPagesByBytes: 5 MiB of items come in pages that every client can receive.
func TestListItemsEndsPagesByBytes(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	const n = 320
	var items []*seguev1.Item
	for i, it := range randomItems(n, 2) {
		it.Attributes = map[string]*seguev1.AttributeValue{"lyrics": keywords(strings.Repeat(string(rune('a'+i%26)), 16_000))}
		items = append(items, it)
	}
	f.upsert(t, "tracks", items...)
	got, pages := f.list(t, "tracks", 1000) // the client's limit is the default of 4 MiB
	if len(got) != n || len(pages) != 2 || pages[0] < 100 {
		t.Errorf("%d items in pages of %v", len(got), pages)
	}
	for i := range got {
		if !proto.Equal(got[i].GetAttributes()["lyrics"], items[i].GetAttributes()["lyrics"]) {
			t.Fatalf("item %d is another", i)
		}
	}
}

// TestItemsAgainstModel: random writes and deletes, one by one and in batches, against a map; reads, lists and exact
// searches must agree with it all the time.
func TestItemsAgainstModel(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	for round := range uint64(3) {
		r := rand.New(rand.NewPCG(7, round))
		name := fmt.Sprintf("round%d", round)
		metric := metrics[round]
		f.create(t, &seguev1.Collection{Name: name, Dimension: 3, Metric: metric})
		model := map[string]*seguev1.Item{}
		randomID := func() string { return fmt.Sprintf("i%02d", r.IntN(30)) }
		randomItem := func() *seguev1.Item {
			it := item(randomID(), r.Float32(), r.Float32(), r.Float32()+0.1)
			if r.IntN(2) == 0 {
				it.Attributes = map[string]*seguev1.AttributeValue{"n": {Kind: &seguev1.AttributeValue_IntValue{IntValue: r.Int64()}}}
			}
			return it
		}
		rev := int64(0)
		for range 60 {
			switch r.IntN(4) {
			case 0, 1:
				var batch []*seguev1.Item
				for range 1 + r.IntN(8) {
					it := randomItem()
					batch = append(batch, it)
					model[it.GetId()] = it
				}
				rev = f.upsert(t, name, batch...)
			case 2:
				id := randomID()
				resp, err := f.items.DeleteItem(ctx, &seguev1.DeleteItemRequest{Collection: name, ItemId: id})
				if (err == nil) != (model[id] != nil) {
					t.Fatalf("delete %s: %v", id, err)
				}
				rev = max(rev, resp.GetRevision())
				delete(model, id)
			case 3:
				batch := []string{randomID(), randomID(), randomID()}
				slices.Sort(batch)
				batch = slices.Compact(batch)
				resp, err := f.items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: name, ItemIds: batch})
				if err != nil {
					t.Fatal(err)
				}
				var missing []string
				for _, id := range batch {
					if model[id] == nil {
						missing = append(missing, id)
					}
					delete(model, id)
				}
				if !slices.Equal(resp.GetMissingIds(), missing) {
					t.Fatalf("missing %q, want %q", resp.GetMissingIds(), missing)
				}
				rev = resp.GetRevision()
			}
			f.compare(t, name, metric, model, rev)
		}
	}
}

// compare holds a collection to the model.
func (f *fixture) compare(t *testing.T, name string, metric seguev1.Metric, model map[string]*seguev1.Item, rev int64) {
	t.Helper()
	var want []*seguev1.Item
	for _, id := range sortedKeys(model) {
		want = append(want, model[id])
	}
	got, _ := f.list(t, name, 7)
	if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(&seguev1.Item{}, "revision")); diff != "" {
		t.Fatal(diff)
	}
	query := []float32{1, 2, 3}
	for _, effort := range []*seguev1.SearchEffort{nil, exact()} {
		resp := f.search(t, &seguev1.NearestNeighborsRequest{
			Collection: name, Query: byVector(query...), NeighborCount: 50, MinRevision: rev, SearchEffort: effort,
		})
		found := ids(resp.GetNeighbors())
		slices.Sort(found)
		if !slices.Equal(found, sortedKeys(model)) {
			t.Fatalf("%v finds %q, want %q", effort, found, sortedKeys(model))
		}
		checkNeighbors(t, metric, query, want, resp.GetNeighbors())
	}
}
