package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestMemoryLimit: a process that holds as much as it may refuses batches that need memory, each with the numbers and as a whole. What
// was acknowledged stays, reads and all that needs no memory of the index go on, and upserts do too as soon as there are slots to
// reuse, or memory again. A restart beyond the limit opens.
func TestMemoryLimit(t *testing.T) {
	const dim, limit = 4, 1 << 20
	var used atomic.Uint64
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.Memory = func() MemoryUse { return MemoryUse{Used: used.Load(), Limit: limit} }
	e := open(t, "store", o)
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	model := map[string]bool{}
	write := func(n int) error {
		items := randomItems(rng, n, dim)
		_, err := c.Upsert(t.Context(), items)
		for _, it := range items {
			if err == nil {
				model[it.ID] = true
			} else if !model[it.ID] {
				if _, err := c.Get(t.Context(), it.ID); err == nil {
					t.Fatalf("%q is there, though its write was refused", it.ID)
				}
			}
		}
		return err
	}
	// The process holds what the items take: the refusal comes before the batch that would go beyond the limit, not after.
	perItem := c.cfg.slotBytes()
	var full *MemoryLimitError
	for len(model) < 10_000 {
		used.Store(uint64(len(model)) * perItem)
		if err = write(1 + rng.IntN(300)); err != nil {
			break
		}
	}
	if !errors.As(err, &full) || full.UsedBytes != used.Load() || full.LimitBytes != limit || full.NeedBytes == 0 || full.UsedBytes+full.NeedBytes <= limit {
		t.Fatalf("%d items, %d bytes: %v", len(model), used.Load(), err)
	}
	if used.Load() > limit || used.Load()+300*perItem < limit {
		t.Errorf("refused at %d of %d bytes", used.Load(), limit)
	}
	// All of it is there.
	intact := func(c *Collection) {
		t.Helper()
		if c.Len() != len(model) {
			t.Errorf("%d items, want %d", c.Len(), len(model))
		}
		for id := range model {
			if _, err := c.Get(t.Context(), id); err != nil {
				t.Fatalf("%q: %v", id, err)
			}
		}
		result, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: make([]float32, dim)}, K: 10})
		if err != nil || len(result.Neighbors) != 10 {
			t.Fatalf("search: %v", err)
		}
	}
	intact(c)
	used.Store(limit)
	// What needs no memory of the index.
	if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{1, 2, 3, 4}, Weight: 1}}}}); err != nil {
		t.Errorf("profile: %v", err)
	}
	all := make([]string, 0, len(model))
	for id := range model {
		all = append(all, id)
	}
	slices.Sort(all)
	gone := all[:len(all)/2]
	if _, _, err := c.Delete(t.Context(), gone); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, id := range gone {
		delete(model, id)
	}
	// Slots to reuse: as many items again, and not more.
	if err := write(len(gone) / 2); err != nil {
		t.Errorf("upsert into slots that are free: %v", err)
	}
	if err := write(len(gone)); !errors.As(err, &full) {
		t.Errorf("upsert beyond the slots that are free: %v", err)
	}
	intact(c)
	used.Store(limit / 2)
	if err := write(100); err != nil {
		t.Errorf("upsert with memory again: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	used.Store(2 * limit)
	e = open(t, "store", o)
	if c, err = e.Collection("tracks"); err != nil {
		t.Fatal(err)
	}
	intact(c)
	if err := write(1); err != nil && !errors.As(err, &full) {
		t.Error(err)
	}
}

// TestSlotBytes: what is asked for before a write is not less than what the index then takes.
func TestSlotBytes(t *testing.T) {
	for _, of := range []struct {
		dim       int
		precision VectorPrecision
	}{{4, Float32}, {64, Float32}, {300, Float32}, {300, Float16}} {
		e := open(t, "store", testOptions(vfs.NewMem()))
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: of.dim, Metric: Cosine, VectorPrecision: of.precision})
		if err != nil {
			t.Fatal(err)
		}
		dim := of.dim
		rng := rand.New(rand.NewPCG(1, 1))
		const n = 1500
		var taken [2]int64
		for i := range taken {
			items := randomItems(rng, n, dim)
			for j := range items {
				items[j].ID, items[j].Attributes = fmt.Sprintf("track-%d", i*n+j), nil
			}
			mustUpsert(t, c, items...)
			s, err := c.Statistics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			taken[i] = s.IndexBytes
		}
		if each := float64(taken[1]-taken[0]) / n; each > 1.05*float64(c.cfg.slotBytes()) || each < 0.5*float64(c.cfg.slotBytes()) {
			t.Errorf("dimension %d, precision %d: %.0f bytes an item, %d are expected", dim, of.precision, each, c.cfg.slotBytes())
		}
	}
}
