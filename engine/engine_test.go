package engine

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/segue-ann/segue/storage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// testOptions keep memory small and the log quiet. fs nil means the real disk.
func testOptions(fs vfs.FS) Options {
	return Options{
		Logger:        slog.New(slog.DiscardHandler),
		ReserveBytes:  16 << 20,
		SnapshotTail:  -1,
		SweepInterval: -1,
		Store:         storage.Options{FS: fs},
	}
}

// open opens an engine and closes it with the test.
func open(t testing.TB, dir string, o Options) *Engine {
	t.Helper()
	e, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// newTestCollection returns an empty collection in a memory file system.
func newTestCollection(t testing.TB, dim int, metric Metric) *Collection {
	t.Helper()
	e := open(t, "store", testOptions(vfs.NewMem()))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: metric})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// randomItems draws items whose ids do not follow the order of their vectors.
func randomItems(rng *rand.Rand, n, dim int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{
			ID:     fmt.Sprintf("track-%03x-%d", rng.IntN(4096), i),
			Vector: randomVector(rng, dim),
			Attributes: Attributes{
				{Name: "n", Value: Value{Type: Int, Int: int64(i)}},
				{Name: "title", Value: Value{Type: Keyword, Keywords: []string{fmt.Sprintf("Title %d", i)}}},
			},
		}
	}
	return items
}

func randomVector(rng *rand.Rand, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// oracle is a plain map with a plain exact search: what a collection must be equal to.
type oracle struct {
	metric Metric
	items  map[string]Item
}

// distance computes in float64.
func (o *oracle) distance(a, b []float32) float64 {
	var dot, aa, bb, l2 float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot += x * y
		aa += x * x
		bb += y * y
		l2 += (x - y) * (x - y)
	}
	switch o.metric {
	case Cosine:
		return 1 - dot/math.Sqrt(aa*bb)
	case InnerProduct:
		return -dot
	}
	return l2
}

type scored struct {
	id       string
	distance float64
}

// nearest returns the k nearest items but for the one named skip, ascending by distance then id.
func (o *oracle) nearest(q []float32, k int, skip string) []scored {
	var all []scored
	for id, it := range o.items {
		if id != skip {
			all = append(all, scored{id, o.distance(q, it.Vector)})
		}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.id, b.id))
	})
	return all[:min(k, len(all))]
}

// agrees checks an exact result against the oracle: the same distances within float32 rounding, each
// neighbor's distance its own, scores descending, no id twice.
func (o *oracle) agrees(q []float32, k int, skip string, got []Neighbor) error {
	want := o.nearest(q, k, skip)
	if len(got) != len(want) {
		return fmt.Errorf("%d neighbors, want %d", len(got), len(want))
	}
	seen := map[string]bool{}
	for i, n := range got {
		it, ok := o.items[n.ItemID]
		if !ok || n.ItemID == skip || seen[n.ItemID] {
			return fmt.Errorf("neighbor %d: %q does not belong there", i, n.ItemID)
		}
		seen[n.ItemID] = true
		own := o.distance(q, it.Vector)
		tolerance := 1e-4 * math.Max(1, math.Abs(own))
		if math.Abs(own-float64(n.Distance)) > tolerance {
			return fmt.Errorf("neighbor %d %q: distance %g, is %g", i, n.ItemID, n.Distance, own)
		}
		if math.Abs(want[i].distance-float64(n.Distance)) > tolerance {
			return fmt.Errorf("neighbor %d: distance %g, the %dth nearest is at %g", i, n.Distance, i+1, want[i].distance)
		}
		if i > 0 && (got[i-1].Score < n.Score || got[i-1].Score == n.Score && got[i-1].ItemID > n.ItemID) {
			return fmt.Errorf("neighbors %d and %d are out of order", i-1, i)
		}
		wantScore := -n.Distance
		if o.metric == Cosine {
			wantScore = 1 - n.Distance
		}
		if n.Score != wantScore {
			return fmt.Errorf("neighbor %d: score %g for distance %g", i, n.Score, n.Distance)
		}
	}
	return nil
}

// oracleOf builds an oracle of items.
func oracleOf(metric Metric, items []Item) *oracle {
	o := &oracle{metric: metric, items: map[string]Item{}}
	for _, it := range items {
		o.items[it.ID] = it
	}
	return o
}

func mustUpsert(t testing.TB, c *Collection, items ...Item) LSN {
	t.Helper()
	lsn, err := c.Upsert(context.Background(), items)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}
