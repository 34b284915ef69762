package engine

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestFullCollection: writes are refused before the index is full, so what is durable can always be applied; what was
// written stays; deleting makes room again.
func TestFullCollection(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.ReserveBytes = 1 // the fewest slots there are: 1,024
	e := open(t, "store", o)
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var written []Item
	for {
		items := randomItems(rng, 50, 4)
		_, err := c.Upsert(t.Context(), items)
		var full *LimitError
		if errors.As(err, &full) {
			if full.Limit != c.published.Load().index.Options().MaxSlots {
				t.Errorf("limit %d of %d slots", full.Limit, c.published.Load().index.Options().MaxSlots)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if written = append(written, items...); len(written) > 1024 {
			t.Fatal("more items than slots")
		}
	}
	if len(written) < 500 || c.published.Load().failure() != nil {
		t.Fatalf("full at %d items, %v", len(written), c.published.Load().failure())
	}
	var ids []string
	for _, it := range written[:200] {
		ids = append(ids, it.ID)
	}
	if _, _, err := c.Delete(t.Context(), ids); err != nil {
		t.Fatalf("delete from a full collection: %v", err)
	}
	mustUpsert(t, c, randomItems(rng, 50, 4)...)
}
