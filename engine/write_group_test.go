package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/storage"
)

// TestGroupsAreAsOneAfterTheOther: writes that are committed together, of the same few items, leave behind what they would one after the
// other: rows, answers of searches, revisions. Updates read rows ahead and keep vectors that they never see, which must not be those of
// before the group.
func TestGroupsAreAsOneAfterTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const dim, ids = 3, 5
		fs := vfs.NewMem()
		e, err := Open(t.Context(), "store", testOptions(fs))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}()
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2})
		if err != nil {
			t.Fatal(err)
		}
		type state struct {
			vector     []float32
			attributes Attributes
		}
		model, next := map[string]state{}, float32(0)
		set := func(name string, n float32) Attribute {
			return Attribute{Name: name, Value: Value{Type: Float, Float: float64(n)}}
		}
		for range rapid.IntRange(1, 4).Draw(t, "groups") {
			// The writer is held up while the writes of a group queue up.
			held, begun := make(chan struct{}), make(chan struct{})
			go func() { c.control <- func() { close(begun); <-held } }()
			<-begun
			var writes []*write
			for range rapid.IntRange(1, 20).Draw(t, "writes") {
				w := &write{done: make(chan error, 1)}
				for range rapid.IntRange(1, 6).Draw(t, "size") {
					id := fmt.Sprint("track ", rapid.IntRange(0, ids-1).Draw(t, "id"))
					next++
					s, there := model[id]
					switch rapid.IntRange(0, 4).Draw(t, "kind") {
					case 0:
						if w.updates != nil {
							continue
						}
						s = state{vector: []float32{next, 1, 2}, attributes: Attributes{set("new", next)}}
						w.mutations = append(w.mutations, mutation{kind: storage.LogPutItem, id: id, vector: s.vector, row: encodeVector(s.vector), attributes: encodeAttributes(s.attributes, time.Time{})})
						model[id] = s
					case 1:
						if w.updates != nil {
							continue
						}
						w.mutations = append(w.mutations, mutation{kind: storage.LogDeleteItem, id: id})
						delete(model, id)
					default:
						if w.mutations != nil {
							continue
						}
						w.updates = append(w.updates, AttributesUpdate{ID: id, Set: Attributes{set("popularity", next)}})
						if there {
							s.attributes = slices.DeleteFunc(slices.Clone(s.attributes), func(a Attribute) bool { return a.Name == "popularity" })
							s.attributes = append(s.attributes, set("popularity", next)).Sorted()
							model[id] = s
						}
					}
				}
				if w.len() > 0 {
					writes = append(writes, w)
					c.writes <- w
				}
			}
			close(held)
			for _, w := range writes {
				if err := <-w.done; err != nil {
					t.Fatal(err)
				}
			}
			for i := range ids {
				id := fmt.Sprint("track ", i)
				want, there := model[id]
				it, err := c.Get(t.Context(), id)
				if !there {
					if !errors.As(err, new(*NotFoundError)) {
						t.Fatalf("%s is there: %+v, %v", id, it, err)
					}
					continue
				}
				if err != nil || !slices.Equal(it.Vector, want.vector) || !slices.EqualFunc(it.Attributes, want.attributes, func(a, b Attribute) bool {
					return a.Name == b.Name && a.Value.Float == b.Value.Float
				}) {
					t.Fatalf("%s is %+v, %v\nwant %+v", id, it, err, want)
				}
				res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: want.vector}, K: 1})
				if err != nil || len(res.Neighbors) != 1 || res.Neighbors[0].ItemID != id || res.Neighbors[0].Distance != 0 {
					t.Fatalf("%s is not found at its vector: %+v, %v", id, res, err)
				}
			}
			if got := c.Len(); got != len(model) {
				t.Fatalf("%d items, want %d", got, len(model))
			}
		}
	})
}

// TestNamesAreOfTheirForm: the loop that checks names and the form that errors quote say the same.
func TestNamesAreOfTheirForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := cmp.Or(rapid.SampledFrom([]string{"", "é", "a\n", "-a", "_", ".", "9.x-"}).Draw(t, "known"), rapid.StringN(0, 5, 8).Draw(t, "name"))
		if got, want := validName(name), nameForm.MatchString(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	})
}
