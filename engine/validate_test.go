package engine

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// reasons returns "field REASON" of every violation, or fails.
func reasons(t *testing.T, err error) []string {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v, want *InvalidError", err)
	}
	var out []string
	for _, v := range invalid.Violations {
		if v.Rule == "" {
			t.Errorf("%s has no rule", v.Field)
		}
		out = append(out, v.Field+" "+string(v.Reason))
	}
	return out
}

func TestUpsertRefusesBadItems(t *testing.T) {
	c := newTestCollection(t, 3, Cosine)
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	good := []float32{1, 2, 3}
	value := func(name string, v Value) Attributes { return Attributes{{Name: name, Value: v}} }
	for _, tc := range []struct {
		name string
		item Item
		want string
	}{
		{"empty id", Item{Vector: good}, "items[1].id FIELD_REQUIRED"},
		{"long id", Item{ID: strings.Repeat("x", 257), Vector: good}, "items[1].id TOO_LONG"},
		{"id not UTF-8", Item{ID: "a\xff", Vector: good}, "items[1].id INVALID_FORMAT"},
		{"no vector", Item{ID: "a"}, "items[1].vector DIMENSION_MISMATCH"},
		{"short vector", Item{ID: "a", Vector: good[:2]}, "items[1].vector DIMENSION_MISMATCH"},
		{"NaN", Item{ID: "a", Vector: []float32{1, nan, 0}}, "items[1].vector[1] VECTOR_NOT_FINITE"},
		{"Inf", Item{ID: "a", Vector: []float32{1, 0, inf}}, "items[1].vector[2] VECTOR_NOT_FINITE"},
		{"zero", Item{ID: "a", Vector: make([]float32, 3)}, "items[1].vector ZERO_VECTOR"},
		{"huge norm", Item{ID: "a", Vector: []float32{1e19, 0, 0}}, "items[1].vector OUT_OF_RANGE"},
		{"attribute without value", Item{ID: "a", Vector: good, Attributes: value("x", Value{})}, "items[1].attributes[x] FIELD_REQUIRED"},
		{"attribute name", Item{ID: "a", Vector: good, Attributes: value("x y", Value{Type: Int})}, "items[1].attributes[x y] INVALID_FORMAT"},
		{"no keywords", Item{ID: "a", Vector: good, Attributes: value("x", Value{Type: Keyword})}, "items[1].attributes[x] FIELD_REQUIRED"},
		{"attribute NaN", Item{ID: "a", Vector: good, Attributes: value("x", Value{Type: Float, Float: math.NaN()})}, "items[1].attributes[x] VECTOR_NOT_FINITE"},
		{"far future", Item{ID: "a", Vector: good, Attributes: value("x", Value{Type: Timestamp, Time: time.Unix(1<<40, 0)})}, "items[1].attributes[x] OUT_OF_RANGE"},
		{"attribute twice", Item{ID: "a", Vector: good, Attributes: append(value("x", Value{Type: Int}), value("x", Value{Type: Int})...)}, "items[1].attributes[x] DUPLICATE_ATTRIBUTE"},
		{"attributes too big", Item{ID: "a", Vector: good, Attributes: value("x", Value{Type: Keyword, Keywords: []string{strings.Repeat("k", 17<<10)}})}, "items[1].attributes TOO_LONG"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.Upsert(context.Background(), []Item{{ID: "fine", Vector: good}, tc.item})
			if got := reasons(t, err); len(got) != 1 || got[0] != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if c.Len() != 0 || c.Revision() != 0 {
		t.Errorf("refused batches left %d items and revision %d", c.Len(), c.Revision())
	}
}

func TestUpsertListsEveryViolationUpToTheCap(t *testing.T) {
	c := newTestCollection(t, 3, L2)
	items := make([]Item, 100)
	_, err := c.Upsert(context.Background(), items)
	if got := reasons(t, err); len(got) != MaxViolations {
		t.Errorf("%d violations, want %d", len(got), MaxViolations)
	}
	_, err = c.Upsert(context.Background(), nil)
	if got := reasons(t, err); len(got) != 1 || got[0] != "items FIELD_REQUIRED" {
		t.Errorf("empty batch: %q", got)
	}
	_, err = c.Upsert(context.Background(), make([]Item, c.engine.Limits().MaxBatch+1))
	if got := reasons(t, err); len(got) != 1 || got[0] != "items OUT_OF_RANGE" {
		t.Errorf("oversized batch: %q", got)
	}
}

func TestSchemaIsEnforced(t *testing.T) {
	e := open(t, t.TempDir(), testOptions(nil))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{
		Name: "episodes", Dim: 1, Metric: L2, Attributes: []AttributeSpec{{Name: "show", Type: Keyword}, {Name: "seconds", Type: Int}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, Attributes: Attributes{
		{Name: "host", Value: Value{Type: Keyword, Keywords: []string{"x"}}},
		{Name: "seconds", Value: Value{Type: Float, Float: 1}},
	}}})
	got := reasons(t, err)
	if len(got) != 2 || got[0] != "items[0].attributes[host] UNKNOWN_ATTRIBUTE" || got[1] != "items[0].attributes[seconds] ATTRIBUTE_TYPE_MISMATCH" {
		t.Errorf("got %q", got)
	}
}

func TestSearchRefusesBadRequests(t *testing.T) {
	c := newTestCollection(t, 2, Cosine)
	mustUpsert(t, c, Item{ID: "a", Vector: []float32{1, 0}})
	q := Query{Vector: []float32{1, 1}}
	for _, tc := range []struct {
		name string
		req  SearchRequest
		want string
	}{
		{"k 0", SearchRequest{Query: q}, "k OUT_OF_RANGE"},
		{"k huge", SearchRequest{Query: q, K: 1_000_000_000}, "k OUT_OF_RANGE"},
		{"k negative", SearchRequest{Query: q, K: -1}, "k OUT_OF_RANGE"},
		{"ef huge", SearchRequest{Query: q, K: 1, Ef: 1 << 30}, "ef OUT_OF_RANGE"},
		{"ef negative", SearchRequest{Query: q, K: 1, Ef: -5}, "ef OUT_OF_RANGE"},
		{"ef and exact", SearchRequest{Query: q, K: 1, Ef: 5, Exact: true}, "ef INVALID_FORMAT"},
		{"no query", SearchRequest{K: 1}, "query FIELD_REQUIRED"},
		{"two queries", SearchRequest{Query: Query{Vector: q.Vector, ItemID: "a"}, K: 1}, "query FIELD_REQUIRED"},
		{"dimension", SearchRequest{Query: Query{Vector: []float32{1}}, K: 1}, "query.vector DIMENSION_MISMATCH"},
		{"zero", SearchRequest{Query: Query{Vector: []float32{0, 0}}, K: 1}, "query.vector ZERO_VECTOR"},
		{"NaN", SearchRequest{Query: Query{Vector: []float32{0, float32(math.NaN())}}, K: 1}, "query.vector[1] VECTOR_NOT_FINITE"},
		{"huge id", SearchRequest{Query: Query{ItemID: strings.Repeat("i", 10<<20)}, K: 1}, "query.item_id TOO_LONG"},
		{"huge user", SearchRequest{Query: Query{UserID: strings.Repeat("i", 10<<20)}, K: 1}, "query.user_id TOO_LONG"},
		{"revision from elsewhere", SearchRequest{Query: q, K: 1, MinRevision: 2}, "min_revision OUT_OF_RANGE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.Search(context.Background(), tc.req)
			if got := reasons(t, err); len(got) != 1 || got[0] != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if len(err.Error()) > 500 {
				t.Errorf("an error of %d bytes repeats its input", len(err.Error()))
			}
		})
	}
}

func TestCreateCollectionRefusesBadConfigs(t *testing.T) {
	e := open(t, t.TempDir(), testOptions(nil))
	good := CollectionConfig{Name: "good", Dim: 2, Metric: L2}
	change := func(f func(*CollectionConfig)) CollectionConfig { c := good; f(&c); return c }
	for _, tc := range []struct {
		name string
		cfg  CollectionConfig
		want string
	}{
		{"no name", change(func(c *CollectionConfig) { c.Name = "" }), "name FIELD_REQUIRED"},
		{"long name", change(func(c *CollectionConfig) { c.Name = strings.Repeat("n", 65) }), "name TOO_LONG"},
		{"name form", change(func(c *CollectionConfig) { c.Name = "a/b" }), "name INVALID_FORMAT"},
		{"dim 0", change(func(c *CollectionConfig) { c.Dim = 0 }), "dim OUT_OF_RANGE"},
		{"dim huge", change(func(c *CollectionConfig) { c.Dim = 1_000_000 }), "dim OUT_OF_RANGE"},
		{"no metric", change(func(c *CollectionConfig) { c.Metric = 0 }), "metric FIELD_REQUIRED"},
		{"m", change(func(c *CollectionConfig) { c.M = 65 }), "m OUT_OF_RANGE"},
		{"vector_storage", change(func(c *CollectionConfig) { c.VectorStorage = 3 }), "vector_storage OUT_OF_RANGE"},
		{"vector_precision", change(func(c *CollectionConfig) { c.VectorPrecision = 3 }), "vector_precision OUT_OF_RANGE"},
		{"ef_construction", change(func(c *CollectionConfig) { c.EfConstruction = 3 }), "ef_construction OUT_OF_RANGE"},
		{"ef_construction that the index refuses", change(func(c *CollectionConfig) { c.M, c.EfConstruction = 4, 7 }), "ef_construction OUT_OF_RANGE"},
		{"attribute name", change(func(c *CollectionConfig) { c.Attributes = []AttributeSpec{{Name: "", Type: Int}} }), "attributes[0].name FIELD_REQUIRED"},
		{"attribute type", change(func(c *CollectionConfig) { c.Attributes = []AttributeSpec{{Name: "a", Type: 0}} }), "attributes[0].type FIELD_REQUIRED"},
		{"attribute twice", change(func(c *CollectionConfig) {
			c.Attributes = []AttributeSpec{{Name: "a", Type: Int}, {Name: "a", Type: Int}}
		}), "attributes[1].name DUPLICATE_ATTRIBUTE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := e.CreateCollection(context.Background(), tc.cfg)
			if got := reasons(t, err); len(got) != 1 || got[0] != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if n := len(e.Collections()); n != 0 {
		t.Errorf("%d collections were made", n)
	}
	if _, err := e.CreateCollection(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateCollection(t.Context(), good); !errors.As(err, new(*AlreadyExistsError)) {
		t.Errorf("created twice: %v", err)
	}
}
