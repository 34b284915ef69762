package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/internal/crashfs"
)

// exclude changes exclusion sets, as a caller may.
func (m *model) exclude(t *rapid.T) {
	set := drawSet(t)
	ids := rapid.SliceOfN(rapid.Custom(drawID), 1, 6).Draw(t, "ids")
	if m.excluded[set] == nil {
		m.excluded[set] = map[string]bool{}
	}
	var err error
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		for _, id := range ids {
			delete(m.excluded[set], id)
		}
		err = m.c.RemoveExclusions(context.Background(), set, ids)
	case 1:
		clear(m.excluded[set])
		err = m.c.DeleteExclusionSet(context.Background(), set)
	default:
		for _, id := range ids {
			m.excluded[set][id] = true
		}
		expire := time.Time{}
		if rapid.Bool().Draw(t, "expires") {
			expire = m.clock.now().Add(24 * 365 * time.Hour)
		}
		err = m.c.AddExclusions(context.Background(), set, ids, expire)
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for after, more := "", true; more; {
		var page []Exclusion
		if page, more, err = m.c.ExclusionSet(context.Background(), set, after, rapid.IntRange(1, 5).Draw(t, "page")); err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			got, after = append(got, e.ItemID), e.ItemID
		}
	}
	if want := slices.Sorted(maps.Keys(m.excluded[set])); !slices.Equal(got, want) {
		t.Fatalf("set %q holds %v, want %v", set, got, want)
	}
}

func drawSet(t *rapid.T) string { return rapid.SampledFrom([]string{"u1", "u2", "u"}).Draw(t, "set") }

// searchAllowed searches with a filter and every kind of exclusion. The answer is that of an exact search of what is allowed.
func (m *model) searchAllowed(t *rapid.T) {
	s := rapid.SampledFrom(filterStrings).Draw(t, "filter")
	f, err := m.c.ParseFilter(s)
	if err != nil {
		t.Fatal(err)
	}
	req := SearchRequest{Query: Query{Vector: drawVector(t)}, K: rapid.IntRange(1, 50).Draw(t, "k"), Filter: f, Exact: rapid.Bool().Draw(t, "exact")}
	if !req.Exact {
		req.Ef = 200
	}
	x := &req.Exclusions
	x.ItemIDs = rapid.SliceOfN(rapid.Custom(drawID), 0, 5).Draw(t, "ids")
	x.Sets = rapid.SliceOfN(rapid.Custom(drawSet), 0, 2).Draw(t, "sets")
	if rapid.IntRange(0, 3).Draw(t, "blocked") == 0 {
		x.Attributes = []AttributeExclusion{{"artists", []Value{{Type: Keyword, Keywords: []string{"a", "b"}}}}, {"plays", []Value{{Type: Int, Int: 2}, {Type: Float, Float: 3}}}}
	}
	if rapid.IntRange(0, 3).Draw(t, "bitmap") == 0 {
		x.Bitmap = bitmapOf(t, "plays", 1, 4)
	}
	allowed := oracleOf(m.truth.metric, nil)
	for id, it := range m.truth.items {
		blocked := slices.Contains(x.ItemIDs, id) || slices.ContainsFunc(x.Sets, func(set string) bool { return m.excluded[set][id] })
		if len(x.Attributes) > 0 {
			artists, _ := it.Attributes.Get("artists")
			plays, ok := it.Attributes.Get("plays")
			blocked = blocked || slices.Contains(artists.Keywords, "a") || slices.Contains(artists.Keywords, "b") || ok && (plays.Int == 2 || plays.Int == 3)
		}
		if plays, ok := it.Attributes.Get("plays"); x.Bitmap != nil && ok && (plays.Int == 1 || plays.Int == 4) {
			blocked = true
		}
		if !blocked && (f == nil || filter.Compile(f).Match(attribute.Append(nil, it.Attributes))) {
			allowed.items[id] = it
		}
	}
	res, err := m.c.Search(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := allowed.agrees(req.Query.Vector, req.K, "", res.Neighbors); err != nil {
		t.Fatalf("%q %+v: %v", s, req, err)
	}
	for _, set := range x.Sets {
		m.cachedSlots(t, set)
	}
	none := f == nil && x.none()
	if res.Info.Filtered == none || !none && res.Info.Matching != len(allowed.items) {
		t.Fatalf("%q %+v: %d of %d match", s, req, res.Info.Matching, len(allowed.items))
	}
	if want := len(res.Neighbors) == req.K; want != (res.Info.Completeness == Complete) {
		t.Fatalf("%d of %d neighbors but %v", len(res.Neighbors), req.K, res.Info.Completeness)
	}
}

// cachedSlots checks that a cached set has exactly the slots of its items: one that no item has could be given to another item, between a
// search's look at the set and its look at what is live.
func (m *model) cachedSlots(t *rapid.T, set string) {
	r := m.c.published.Load()
	x, err := r.excluded(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []uint32
	x.each(func(slot uint32) { got = append(got, slot) })
	for id := range m.excluded[set] {
		if slot, ok := r.table.slotOf(id); ok {
			want = append(want, slot)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("set %q has slots %v, its items %v", set, got, want)
	}
}

// TestExclusionsFollowSlots: slots of an excluded item change with every upsert; it stays excluded, also beyond what the index remembers
// of moves, and while the set changes.
func TestExclusionsFollowSlots(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	item := func(i, v int) Item { return Item{ID: fmt.Sprint(i), Vector: []float32{float32(i), float32(v)}} }
	const n = 300
	var items []Item
	for i := range n {
		items = append(items, item(i, 0))
	}
	if _, err := c.Upsert(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	heard := []string{"3", "4", "17", "new"}
	if err := c.AddExclusions(t.Context(), "u", heard, time.Time{}); err != nil {
		t.Fatal(err)
	}
	check := func(step string, excluded ...string) {
		t.Helper()
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{0, 0}}, K: n + 10, Exact: true, Exclusions: Exclusions{Sets: []string{"u"}}})
		if err != nil {
			t.Fatal(err)
		}
		if want := c.Len() - len(excluded); len(res.Neighbors) != want || res.Info.Matching != want {
			t.Errorf("%s: %d neighbors, %d match, want %d", step, len(res.Neighbors), res.Info.Matching, want)
		}
		for _, nb := range res.Neighbors {
			if slices.Contains(excluded, nb.ItemID) {
				t.Errorf("%s: excluded %q is answered", step, nb.ItemID)
			}
		}
	}
	check("first", "3", "4", "17")
	for v := 1; v < 4; v++ {
		if _, err := c.Upsert(t.Context(), []Item{item(3, v), item(200, v), item(17, v)}); err != nil {
			t.Fatal(err)
		}
		check("moved", "3", "4", "17")
	}
	if _, err := c.Upsert(t.Context(), []Item{{ID: "new", Vector: []float32{1, 1}}}); err != nil {
		t.Fatal(err)
	}
	check("made", "3", "4", "17", "new")
	if err := c.RemoveExclusions(t.Context(), "u", []string{"4", "nothing"}); err != nil {
		t.Fatal(err)
	}
	if err := c.AddExclusions(t.Context(), "u", []string{"5", "3"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	check("changed", "3", "5", "17", "new")
	c.engine.exclusions.forget(exclusionKey{c.id, "u"})
	check("read again", "3", "5", "17", "new")
	if _, _, err := c.Delete(t.Context(), []string{"3"}); err != nil {
		t.Fatal(err)
	}
	check("deleted", "5", "17", "new")
	if err := c.DeleteExclusionSet(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	check("without the set")
}

// TestExclusionsExpire: an entry counts until its time, in sets that are cached and in sets that are read; then the next write purges it.
func TestExclusionsExpire(t *testing.T) {
	c := newTestCollection(t, 1, L2)
	if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}}, {ID: "b", Vector: []float32{2}}, {ID: "c", Vector: []float32{3}}}); err != nil {
		t.Fatal(err)
	}
	found := func() []string {
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{0}}, K: 3, Exclusions: Exclusions{Sets: []string{"u"}}})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, n := range res.Neighbors {
			ids = append(ids, n.ItemID)
		}
		return ids
	}
	var bad *InvalidError
	if err := c.AddExclusions(t.Context(), "u", []string{"a"}, time.Now().Add(-time.Second)); !errors.As(err, &bad) || bad.Violations[0].Field != "expire_time" {
		t.Errorf("an entry that expired before: %v", err)
	}
	if err := c.AddExclusions(t.Context(), "u", []string{"b"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := found(); !slices.Equal(got, []string{"a", "c"}) { // and the set is cached
		t.Fatalf("found %v", got)
	}
	end := time.Now().Add(100 * time.Millisecond)
	if err := c.AddExclusions(t.Context(), "u", []string{"a"}, end); err != nil {
		t.Fatal(err)
	}
	for {
		began := time.Now()
		got := found()
		if ended := time.Now(); ended.Before(end) && !slices.Equal(got, []string{"c"}) || began.After(end) && !slices.Equal(got, []string{"a", "c"}) {
			t.Fatalf("found %v %v before the end", got, end.Sub(began))
		}
		if began.After(end) {
			break
		}
	}
	entries, _, err := c.ExclusionSet(t.Context(), "u", "", 10)
	if err != nil || len(entries) != 1 || entries[0].ItemID != "b" || !entries[0].ExpireTime.IsZero() {
		t.Errorf("%v, %v", entries, err)
	}
	if got := storedExclusions(t, c, "u"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("stored %v: the test does not see the sweep", got)
	}
	if err := (&sweeper{c: c}).tick(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := c.AddExclusions(t.Context(), "u", []string{"c"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := storedExclusions(t, c, "u"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("stored %v", got)
	}
	if got := found(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("found %v", got)
	}
}

func storedExclusions(t *testing.T, c *Collection, set string) (ids []string) {
	t.Helper()
	for row, err := range c.engine.store.Exclusions(c.id, set, "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ItemID)
	}
	return ids
}

// TestExclusionCacheForgets: the cache stays within its bound, and what it forgot is read again.
func TestExclusionCacheForgets(t *testing.T) {
	c := newTestCollection(t, 1, L2)
	if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}}, {ID: "b", Vector: []float32{2}}}); err != nil {
		t.Fatal(err)
	}
	r, e := c.published.Load(), &c.engine.exclusions
	for i := range 20 {
		set := fmt.Sprint("u", i)
		if err := c.AddExclusions(t.Context(), set, []string{"a"}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		x, err := r.excluded(t.Context(), set)
		if err != nil || !x.holds(e, []byte("a")) || x.holds(e, []byte("b")) {
			t.Fatal(set, x, err)
		}
		large := *x
		large.hashes = make([]uint64, maxCachedExclusions/8) // as if it were that large
		e.keep(e.set(exclusionKey{c.id, set}), &large)
		if n := len(e.sets); n > 8 || n != e.used.Len() || e.held > maxCachedExclusions {
			t.Fatalf("%d sets, %d listed, %d entries", n, e.used.Len(), e.held)
		}
	}
	if x, err := r.excluded(t.Context(), "u0"); err != nil || !x.holds(e, []byte("a")) {
		t.Error(x, err)
	}
}

// TestExclusionsSurvive: acknowledged changes are there after a loss of power.
func TestExclusionsSurvive(t *testing.T) {
	fsys := crashfs.New()
	c, err := open(t, "store", testOptions(fsys)).CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddExclusions(t.Context(), "u", []string{"a", "b"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveExclusions(t.Context(), "u", []string{"a"}); err != nil {
		t.Fatal(err)
	}
	again, err := open(t, "store", testOptions(fsys.CrashClone(vfs.CrashCloneCfg{}))).Collection("c")
	if err != nil {
		t.Fatal(err)
	}
	if got := storedExclusions(t, again, "u"); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v", got)
	}
	if err := again.engine.DeleteCollection(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if left := storedExclusions(t, again, "u"); len(left) > 0 {
		t.Errorf("%v are left of a deleted collection", left)
	}
}

// TestBadExclusions: every way a set or a search's exclusions can be wrong.
func TestBadExclusions(t *testing.T) {
	c := newTestCollection(t, 1, L2)
	long := string(make([]byte, 257))
	search := func(x Exclusions) error {
		_, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{1}}, K: 1, Exclusions: x})
		return err
	}
	for want, err := range map[string]error{
		"exclusion_set FIELD_REQUIRED":                  c.AddExclusions(t.Context(), "", []string{"a"}, time.Time{}),
		"exclusion_set TOO_LONG":                        c.DeleteExclusionSet(t.Context(), long),
		"item_ids FIELD_REQUIRED":                       c.RemoveExclusions(t.Context(), "u", nil),
		"item_ids OUT_OF_RANGE":                         c.AddExclusions(t.Context(), "u", make([]string, 10_001), time.Time{}),
		"item_ids[1] FIELD_REQUIRED":                    c.AddExclusions(t.Context(), "u", []string{"a", ""}, time.Time{}),
		"exclusions.item_ids OUT_OF_RANGE":              search(Exclusions{ItemIDs: make([]string, 10_001)}),
		"exclusions.item_ids[0] TOO_LONG":               search(Exclusions{ItemIDs: []string{long}}),
		"exclusions.exclusion_sets OUT_OF_RANGE":        search(Exclusions{Sets: make([]string, 17)}),
		"exclusions.exclusion_sets[0] FIELD_REQUIRED":   search(Exclusions{Sets: []string{""}}),
		"exclusions.attribute_values OUT_OF_RANGE":      search(Exclusions{Attributes: make([]AttributeExclusion, 2000)}),
		"exclusions.attribute_values[0] FIELD_REQUIRED": search(Exclusions{Attributes: []AttributeExclusion{{"artists", nil}}}),
		"exclusions.attribute_values[1] ATTRIBUTE_TYPE_MISMATCH": search(Exclusions{Attributes: []AttributeExclusion{
			{"artists", []Value{{Type: Bool}}}, {"markets", []Value{{Type: Markets}}}}}),
	} {
		var bad *InvalidError
		if !errors.As(err, &bad) || fmt.Sprint(bad.Violations[0].Field, " ", bad.Violations[0].Reason) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
