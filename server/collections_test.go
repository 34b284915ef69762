package server

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestCollectionLife: created with defaults, read, refused twice, kept over a restart, deleted with all it holds.
func TestCollectionLife(t *testing.T) {
	ctx := t.Context()
	before := time.Now().Add(-time.Second)
	f := open(t, t.TempDir(), Options{})
	schema := everyAttributeSchema()
	shuffled := slices.Clone(schema)
	slices.Reverse(shuffled)
	got := f.create(t, &seguev1.Collection{
		Name: "tracks", Dimension: 3, Metric: seguev1.Metric_METRIC_INNER_PRODUCT, Attributes: shuffled,
		ItemCount: 99, Revision: 99, // ignored on write
	})
	want := &seguev1.Collection{
		Name: "tracks", Dimension: 3, Metric: seguev1.Metric_METRIC_INNER_PRODUCT, Attributes: schema,
		IndexConfig: &seguev1.IndexConfig{M: 16, EfConstruction: 100, VectorStorage: seguev1.VectorStorage_VECTOR_STORAGE_MEMORY, VectorPrecision: seguev1.VectorPrecision_VECTOR_PRECISION_FLOAT32},
		CreateTime:  got.GetCreateTime(),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if at := got.GetCreateTime().AsTime(); at.Before(before) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("created at %v", at)
	}
	twice := &seguev1.CreateCollectionRequest{Collection: want}
	_, err := f.collections.CreateCollection(ctx, twice)
	refusal{codes.AlreadyExists, "COLLECTION_ALREADY_EXISTS", ""}.check(t, twice, err)

	want.Revision, want.ItemCount = f.upsert(t, "tracks", item("a", 1, 2, 3)), 1
	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	resp, err := f.collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: "tracks"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, resp.GetCollection(), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}

	del := &seguev1.DeleteCollectionRequest{Name: "tracks"}
	if _, err := f.collections.DeleteCollection(ctx, del); err != nil {
		t.Fatal(err)
	}
	_, err = f.collections.DeleteCollection(ctx, del)
	refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}.check(t, del, err)
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	if all, _ := f.list(t, "tracks", 0); len(all) != 0 {
		t.Errorf("a new collection of an old name holds %v", all)
	}
}

func TestIndexConfigIsKept(t *testing.T) {
	f := start(t, Options{})
	want := &seguev1.IndexConfig{M: 8, EfConstruction: 40, VectorStorage: seguev1.VectorStorage_VECTOR_STORAGE_FILE, VectorPrecision: seguev1.VectorPrecision_VECTOR_PRECISION_FLOAT16}
	got := f.create(t, &seguev1.Collection{Name: "small", Dimension: 2, Metric: seguev1.Metric_METRIC_L2, IndexConfig: want})
	if !proto.Equal(got.GetIndexConfig(), want) {
		t.Errorf("%v", got.GetIndexConfig())
	}
}

func TestListCollections(t *testing.T) {
	f := start(t, Options{})
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("c%d", (i*3)%7)
		want = append(want, name)
		f.create(t, &seguev1.Collection{Name: name, Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	}
	slices.Sort(want)
	for size, pages := range map[int32]int{0: 1, 1: 7, 3: 3, 7: 1, 1_000_000: 1} {
		var got []string
		req := &seguev1.ListCollectionsRequest{PageSize: size}
		n := 0
		for {
			resp, err := f.collections.ListCollections(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			n++
			for _, c := range resp.GetCollections() {
				got = append(got, c.GetName())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) || n != pages {
			t.Errorf("page size %d: %q in %d pages", size, got, n)
		}
	}
}
