package server

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestAliasLife: set, used by reads and writes, moved, listed page by page, refused where it must be, deleted; pages of a list end where
// the alias they were asked by moves.
func TestAliasLife(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	for _, name := range []string{"old", "new"} {
		f.create(t, &seguev1.Collection{Name: name, Dimension: 1, Metric: seguev1.Metric_METRIC_L2})
	}
	set := func(alias, collection string) {
		t.Helper()
		got, err := f.collections.SetCollectionAlias(ctx, &seguev1.SetCollectionAliasRequest{Alias: alias, Collection: collection})
		if err != nil || got.GetAlias().GetAlias() != alias {
			t.Fatalf("%v, %v", got, err)
		}
	}
	set("live", "old")
	set("latest", "live") // of what live means now, not of live
	f.upsert(t, "live", item("a", 1), item("b", 2))
	f.upsert(t, "new", item("c", 1))
	nearest := func(collection string) string {
		return f.search(t, &seguev1.NearestNeighborsRequest{Collection: collection, Query: byVector(0), NeighborCount: 1}).GetNeighbors()[0].GetItemId()
	}
	if nearest("live") != "a" || nearest("old") != "a" || nearest("latest") != "a" {
		t.Error("an alias does not answer as its collection")
	}
	if got, err := f.collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: "live"}); err != nil || got.GetCollection().GetName() != "old" {
		t.Errorf("%v, %v", got, err)
	}
	page, err := f.items.ListItems(ctx, &seguev1.ListItemsRequest{Collection: "live", PageSize: 1})
	if err != nil || page.GetNextPageToken() == "" {
		t.Fatal(page, err)
	}
	if next, err := f.items.ListItems(ctx, &seguev1.ListItemsRequest{Collection: "old", PageToken: page.GetNextPageToken()}); err != nil || len(next.GetItems()) != 1 {
		t.Errorf("the next page by the collection's own name: %v, %v", next, err)
	}
	set("live", "new")
	if nearest("live") != "c" || nearest("latest") != "a" {
		t.Error("an alias was not moved, or another one was")
	}
	stale := &seguev1.ListItemsRequest{Collection: "live", PageToken: page.GetNextPageToken()}
	_, err = f.items.ListItems(ctx, stale)
	refusal{codes.InvalidArgument, "INVALID_PAGE_TOKEN", "page_token"}.check(t, stale, err)

	var all []string
	for token := ""; ; {
		list, err := f.collections.ListCollectionAliases(ctx, &seguev1.ListCollectionAliasesRequest{PageSize: 1, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list.GetAliases() {
			all = append(all, fmt.Sprint(a.GetAlias(), " ", a.GetCollection()))
		}
		if token = list.GetNextPageToken(); token == "" {
			break
		}
	}
	if !slices.Equal(all, []string{"latest old", "live new"}) {
		t.Errorf("listed %q", all)
	}
	for _, tc := range []struct {
		req  *seguev1.SetCollectionAliasRequest
		want refusal
	}{
		{&seguev1.SetCollectionAliasRequest{Alias: "new", Collection: "old"}, refusal{codes.AlreadyExists, "COLLECTION_ALREADY_EXISTS", ""}},
		{&seguev1.SetCollectionAliasRequest{Alias: "x", Collection: "none"}, refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}},
		{&seguev1.SetCollectionAliasRequest{Alias: "x"}, refusal{codes.InvalidArgument, "FIELD_REQUIRED", "collection"}},
		{&seguev1.SetCollectionAliasRequest{Collection: "old"}, refusal{codes.InvalidArgument, "FIELD_REQUIRED", "alias"}},
		{&seguev1.SetCollectionAliasRequest{Alias: "a b", Collection: "old"}, refusal{codes.InvalidArgument, "INVALID_FORMAT", "alias"}},
	} {
		_, err := f.collections.SetCollectionAlias(ctx, tc.req)
		tc.want.check(t, tc.req, err)
	}
	taken := &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{Name: "live", Dimension: 1, Metric: seguev1.Metric_METRIC_L2}}
	_, err = f.collections.CreateCollection(ctx, taken)
	refusal{codes.AlreadyExists, "COLLECTION_ALREADY_EXISTS", ""}.check(t, taken, err)
	byAlias := &seguev1.DeleteCollectionRequest{Name: "live"}
	_, err = f.collections.DeleteCollection(ctx, byAlias)
	refusal{codes.InvalidArgument, "INVALID_FORMAT", "name"}.check(t, byAlias, err)
	if _, err := f.collections.DeleteCollection(ctx, &seguev1.DeleteCollectionRequest{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	gone := &seguev1.GetCollectionRequest{Name: "latest"}
	_, err = f.collections.GetCollection(ctx, gone)
	refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}.check(t, gone, err)
	if _, err := f.collections.DeleteCollectionAlias(ctx, &seguev1.DeleteCollectionAliasRequest{Alias: "live"}); err != nil {
		t.Fatal(err)
	}
	again := &seguev1.DeleteCollectionAliasRequest{Alias: "live"}
	_, err = f.collections.DeleteCollectionAlias(ctx, again)
	refusal{codes.NotFound, "ALIAS_NOT_FOUND", ""}.check(t, again, err)
	if nearest("new") != "c" {
		t.Error("the collection went with its alias")
	}
}
