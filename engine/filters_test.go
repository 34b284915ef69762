package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/storage"
)

// updateAttributes changes attributes of some items, as a caller may.
func (m *model) updateAttributes(t *rapid.T) {
	updates := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) AttributesUpdate {
		u := AttributesUpdate{ID: drawID(t), Set: genAttributes().Draw(t, "set"), ReplaceAll: rapid.IntRange(0, 3).Draw(t, "all") == 0}
		for _, name := range []string{"artists", "plays", "nowhere"} {
			if _, set := u.Set.Get(name); !set && rapid.Bool().Draw(t, "remove") {
				u.Remove = append(u.Remove, name)
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "expiry") == 0 {
			at := m.drawExpiry(t)
			u.ExpireTime = &at
		}
		return u
	}), 1, 8).Draw(t, "updates")
	missing, lsn, err := m.c.UpdateAttributes(context.Background(), updates)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	made := 0
	for _, u := range updates {
		it, ok := m.truth.items[u.ID]
		if !ok {
			want = append(want, u.ID)
			continue
		}
		made++
		it.Revision = m.lsn + LSN(made)
		values := map[string]Value{}
		if !u.ReplaceAll {
			for _, a := range it.Attributes {
				values[a.Name] = a.Value
			}
		}
		for _, name := range u.Remove {
			delete(values, name)
		}
		for _, a := range u.Set {
			values[a.Name] = a.Value
		}
		it.Attributes = nil
		for _, name := range slices.Sorted(maps.Keys(values)) {
			it.Attributes = append(it.Attributes, Attribute{Name: name, Value: values[name]})
		}
		if u.ExpireTime != nil {
			it.ExpireTime = *u.ExpireTime
		}
		m.truth.items[u.ID] = it
		m.touch(u.ID)
	}
	if !slices.Equal(missing, want) {
		t.Fatalf("missing %v, want %v", missing, want)
	}
	m.advance(t, lsn, made)
}

// filterStrings are conditions on what genAttributes draws.
var filterStrings = []string{
	``, `artists : a`, `artists : (a OR b) AND explicit = true`, `NOT artists : c`, `artists:*`, `plays >= 1`, `plays < 0 OR gain > 0`, `gain = 3e9`,
	`markets : AH`, `NOT markets : AJ explicit=false`, `released > 1970-01-01`, `released <= 1970-01-12 AND NOT (plays = (1 OR 2))`, `artists = "é"`, `nowhere = 1`,
}

// filter compares the filter index with what the items say: after whatever was written, restarted and lost.
func (m *model) filter(t *rapid.T) {
	s := rapid.SampledFrom(filterStrings).Draw(t, "filter")
	if got, want := filtered(t, m.c, s), matching(t, m.truth.items, s); !slices.Equal(got, want) {
		t.Fatalf("%q matches %v, want %v", s, got, want)
	}
}

// fataler is *testing.T or *rapid.T.
type fataler interface{ Fatalf(string, ...any) }

// filtered returns the ids that match, from the filter index.
func filtered(t fataler, c *Collection, s string) []string {
	r := c.published.Load()
	p := parsed(t, s)
	got, err := r.filters.Evaluate(context.Background(), p)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	defer got.Release()
	ids := []string{}
	for slot := range got.Set.All() {
		if e := r.table.entries.at(slot); !over(e.attributes(), c.engine.micros()) {
			ids = append(ids, e.id())
		}
	}
	slices.Sort(ids)
	return ids
}

// matching returns the same from the items one by one.
func matching(t fataler, items map[string]Item, s string) []string {
	p := parsed(t, s)
	ids := []string{}
	for id, it := range items {
		if p == nil || p.Match(attribute.Append(nil, it.Attributes)) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func parsed(t fataler, s string) *filter.Program {
	e, problem := filter.Parse(s, nil)
	if problem != nil {
		t.Fatalf("%q: %v", s, problem)
	}
	if e == nil {
		return nil
	}
	return filter.Compile(e)
}

// TestUpdateAttributesKeepsTheGraph: an update, or an upsert of the same vector, takes no slot and computes no distance.
func TestUpdateAttributesKeepsTheGraph(t *testing.T) {
	c := newTestCollection(t, 4, Cosine)
	items := make([]Item, 50)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range items {
		items[i] = Item{ID: fmt.Sprint("id", i), Vector: []float32{r.Float32(), r.Float32(), 1, 0.5},
			Attributes: Attributes{{Name: "n", Value: Value{Type: Int, Int: int64(i)}}}}
	}
	if _, err := c.Upsert(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	before, slot := c.published.Load().index.Stats(), slotOf(c, "id7")
	for _, it := range items[:20] {
		it.Attributes = Attributes{{Name: "n", Value: Value{Type: Int, Int: 1000}}}
		if _, err := c.Upsert(t.Context(), []Item{it}); err != nil {
			t.Fatal(err)
		}
	}
	updates := make([]AttributesUpdate, len(items))
	for i, it := range items {
		updates[i] = AttributesUpdate{ID: it.ID, Set: Attributes{{Name: "plays", Value: Value{Type: Int, Int: 5}}}}
	}
	if missing, _, err := c.UpdateAttributes(t.Context(), updates); err != nil || len(missing) > 0 {
		t.Fatal(missing, err)
	}
	after := c.published.Load().index.Stats()
	if after.Slots != before.Slots || after.Live != before.Live || slotOf(c, "id7") != slot {
		t.Errorf("%d slots, %d live; then %d, %d", before.Slots, before.Live, after.Slots, after.Live)
	}
	if got := filtered(t, c, `plays = 5 AND n = 1000`); len(got) != 20 {
		t.Errorf("%d items match, want 20", len(got))
	}
	got, err := c.Get(t.Context(), "id30")
	want := Attributes{{Name: "n", Value: Value{Type: Int, Int: 30}}, {Name: "plays", Value: Value{Type: Int, Int: 5}}}
	if err != nil || !reflect.DeepEqual(got.Attributes, want) || !slices.Equal(got.Vector, items[30].Vector) {
		t.Errorf("%+v, %v", got, err)
	}
}

func slotOf(c *Collection, id string) uint32 {
	slot, _ := c.published.Load().table.slotOf(id)
	return slot
}

func TestUpdateAttributesRefuses(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2, Attributes: []AttributeSpec{{Name: "a", Type: Keyword}, {Name: "n", Type: Int}}})
	if err != nil {
		t.Fatal(err)
	}
	half := strings.Repeat("x", e.Limits().MaxAttributeBytes/2+100)
	if _, err := c.Upsert(t.Context(), []Item{{ID: "x", Vector: []float32{1}, Attributes: Attributes{{Name: "a", Value: Value{Type: Keyword, Keywords: []string{half}}}}}}); err != nil {
		t.Fatal(err)
	}
	anything := newTestCollection(t, 1, L2)
	if _, err := anything.Upsert(t.Context(), []Item{{ID: "x", Vector: []float32{1}, Attributes: Attributes{{Name: "a", Value: Value{Type: Keyword, Keywords: []string{half}}}}}}); err != nil {
		t.Fatal(err)
	}
	one := Attributes{{Name: "n", Value: Value{Type: Int, Int: 1}}}
	for name, tc := range map[string]struct {
		c       *Collection
		updates []AttributesUpdate
		want    string
	}{
		"none":      {c, nil, "updates FIELD_REQUIRED"},
		"too many":  {c, make([]AttributesUpdate, e.Limits().MaxBatch+1), "updates OUT_OF_RANGE"},
		"no id":     {c, []AttributesUpdate{{Set: one}}, "updates[0].id FIELD_REQUIRED"},
		"unknown":   {c, []AttributesUpdate{{ID: "x", Set: one}, {ID: "x", Set: Attributes{{Name: "b", Value: Value{Type: Bool}}}}}, "updates[1].attributes[b] UNKNOWN_ATTRIBUTE"},
		"type":      {c, []AttributesUpdate{{ID: "x", Set: Attributes{{Name: "n", Value: Value{Type: Bool}}}}}, "updates[0].attributes[n] ATTRIBUTE_TYPE_MISMATCH"},
		"too large": {anything, []AttributesUpdate{{ID: "x", Set: Attributes{{Name: "b", Value: Value{Type: Keyword, Keywords: []string{half}}}}}}, "updates[0].attributes TOO_LONG"},
	} {
		t.Run(name, func(t *testing.T) {
			before := tc.c.Revision()
			_, _, err := tc.c.UpdateAttributes(t.Context(), tc.updates)
			var bad *InvalidError
			if !errors.As(err, &bad) || fmt.Sprint(bad.Violations[0].Field, " ", bad.Violations[0].Reason) != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
			if tc.c.Revision() != before {
				t.Error("something was written")
			}
		})
	}
}

// TestUpdatesOfOneGroup: updates, puts and deletes of one item that are committed together end as if one came after the other.
// The group is handed to the release as the writer would.
func TestUpdatesOfOneGroup(t *testing.T) {
	fsys := vfs.NewMem()
	c, err := open(t, "store", testOptions(fsys)).CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	set := func(id, name string, n int64) *write {
		return &write{updates: []AttributesUpdate{{ID: id, Set: Attributes{{Name: name, Value: Value{Type: Int, Int: n}}}}}, done: make(chan error, 1)}
	}
	put := func(id string, x float32) *write {
		return &write{mutations: []mutation{{kind: storage.LogPutItem, id: id, vector: []float32{x}, row: encodeVector([]float32{x})}}, done: make(chan error, 1)}
	}
	remove := func(id string) *write {
		return &write{mutations: []mutation{{kind: storage.LogDeleteItem, id: id}}, done: make(chan error, 1)}
	}
	writes := []*write{
		set("a", "n", 1), put("a", 1), set("a", "n", 2), set("a", "m", 3), remove("a"), set("a", "n", 4), put("a", 2), set("a", "k", 5),
		put("b", 1), set("b", "n", 6),
	}
	r := c.published.Load()
	g := &writeGroup{writes: slices.Clone(writes)}
	r.resolveGroup(g)
	if err := r.commit(g); err != nil {
		t.Fatal(err)
	}
	r.groups <- g
	for i, w := range writes {
		if err := <-w.done; err != nil {
			t.Fatal(i, err)
		}
		if missed := len(w.missing) > 0; missed != (i == 0 || i == 5) {
			t.Errorf("write %d: missing %v", i, w.missing)
		}
	}
	checkOneGroup(t, c)
	if err := c.engine.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := open(t, "store", testOptions(fsys)).Collection("c")
	if err != nil {
		t.Fatal(err)
	}
	checkOneGroup(t, again)
}

func checkOneGroup(t *testing.T, c *Collection) {
	t.Helper()
	a, err := c.Get(t.Context(), "a")
	if err != nil || a.Vector[0] != 2 || len(a.Attributes) != 1 || a.Attributes[0].Name != "k" {
		t.Errorf("a: %+v, %v", a, err)
	}
	for s, want := range map[string][]string{`k = 5`: {"a"}, `n:*`: {"b"}, `m:*`: {}, ``: {"a", "b"}} {
		if got := filtered(t, c, s); !slices.Equal(got, want) {
			t.Errorf("%q matches %v, want %v", s, got, want)
		}
	}
}

// TestFiltersWhileWritten: filters are evaluated while items are upserted, updated and deleted; what an update keeps is never missed, and
// a number that every version of an item has is never seen twice.
func TestFiltersWhileWritten(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	const n = 64
	attributes := func(side string) Attributes {
		return Attributes{{Name: "kept", Value: Value{Type: Bool, Bool: true}}, {Name: "side", Value: Value{Type: Keyword, Keywords: []string{side}}}}
	}
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: fmt.Sprint(i), Vector: []float32{float32(i), 1}, Attributes: attributes("a")}
	}
	if _, err := c.Upsert(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got := len(filtered(t, c, `kept = true AND side = (a OR b)`)); got != n {
					t.Errorf("%d items match, want %d", got, n)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 150 {
		side := string(rune('a' + i%2))
		var updates []AttributesUpdate
		for range 1 + r.IntN(8) {
			updates = append(updates, AttributesUpdate{ID: fmt.Sprint(r.IntN(n)), Set: attributes(side)[1:]})
		}
		if _, _, err := c.UpdateAttributes(t.Context(), updates); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	readers.Wait()
}
