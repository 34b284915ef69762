package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/segue-ann/segue/internal/crashfs"
)

// Power is lost at every seventh file-system operation (SEGUE_LONG: at every one) of an import that brings its graph, beside live writes. The job goes on from what
// it acknowledged, also in the midst of the graph; what serves in the end has the rows that came, with the writes since, in
// the graph that came, sound, and nothing of the import is left over.
func TestPowerLossInAnImportOfAGraph(t *testing.T) {
	const n, dim = 60, 4
	cfg := CollectionConfig{Name: "tracks", Dim: dim, Metric: L2, M: 4, EfConstruction: 16}
	items := randomItems(rand.New(rand.NewPCG(8, 8)), n, dim)
	_, x := buildElsewhere(t, cfg, items, nil)
	rec := &crashes{mem: crashfs.New()}
	e, err := Open(t.Context(), "store", testOptions(errorfs.Wrap(rec.mem, rec)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	live := Item{ID: items[7].ID, Vector: []float32{9, 9, 9, 9}}
	var acked uint64
	steps := []func() error{func() error {
		_, err := c.StartImport(t.Context(), ImportOptions{JobID: "job", Graph: &x.head.Graph})
		return err
	}}
	for _, b := range x.batches {
		steps = append(steps, func() error {
			durable, err := c.WriteImport(t.Context(), "job", b, true)
			acked = durable
			return err
		})
	}
	const before = 2 // a write in the midst of the batches
	steps = append(steps[:before], append([]func() error{func() error { _, err := c.Upsert(t.Context(), []Item{live}); return err }}, steps[before:]...)...)
	steps = append(steps,
		func() error { _, err := c.CommitImport(t.Context(), "job"); return err },
		func() error {
			info, err := c.WaitImport(t.Context(), "job")
			if err == nil && !info.GraphTaken {
				err = fmt.Errorf("the graph is not taken: %s", info.GraphRefused)
			}
			return err
		},
		func() error { _, err := c.PublishRelease(t.Context(), 2, PublishConditions{}); return err },
	)
	ackedAt := make([]uint64, len(steps)+1)
	for i, step := range steps {
		rec.mu.Lock()
		rec.step = i
		rec.mu.Unlock()
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		ackedAt[i+1] = acked
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	tried, taken := 0, 0
	for i, p := range rec.points {
		if p.step < 1 || i%7 != 0 && os.Getenv("SEGUE_LONG") == "" {
			continue
		}
		tried++
		took, err := p.checkGraph(t, &x, ackedAt[p.step], live, p.step > before)
		if err != nil {
			t.Errorf("power lost in step %d at %s: %v", p.step, p.op, err)
		}
		if took {
			taken++
		}
	}
	t.Logf("%d of %d crash points, %d end with the graph that came", tried, len(rec.points), taken)
	if len(rec.points) < 50 || taken < tried {
		t.Errorf("of %d crash points %d end with the graph that came", tried, taken)
	}
}

func (p *crashed) checkGraph(t *testing.T, x *exported, acked uint64, live Item, written bool) (taken bool, err error) {
	o := testOptions(p.fs)
	e, err := Open(t.Context(), "store", o)
	if err != nil {
		return false, err
	}
	defer e.Close()
	c, err := e.Collection("tracks")
	if err != nil {
		return false, err
	}
	if info, err := c.Import(t.Context(), "job"); err != nil || info.Sequence < acked {
		return false, fmt.Errorf("batches up to %d were acknowledged: %+v, %w", acked, info, err)
	}
	info, err := x.into(c, "job")
	if err != nil || !info.State.whole() {
		return false, fmt.Errorf("%+v, %w", info, err)
	}
	if _, err := c.PublishRelease(t.Context(), info.Release, PublishConditions{}); err != nil {
		return false, err
	}
	r := c.published.Load()
	if err := r.index.Check(); err != nil {
		return false, err
	}
	if r.table.len() != x.head.Items || r.index.Len() != x.head.Items {
		return false, fmt.Errorf("%d items, %d in the graph, want %d", r.table.len(), r.index.Len(), x.head.Items)
	}
	for _, b := range x.batches {
		for _, it := range b.Items {
			slot, ok := r.table.slotOf(it.ID)
			switch {
			case !ok:
				return false, fmt.Errorf("item %s is missing", it.ID)
			case it.ID == live.ID && r.index.Holds(slot, live.Vector):
			case it.ID == live.ID && written, !r.index.Holds(slot, it.Vector):
				return false, fmt.Errorf("item %s is not what was written last", it.ID)
			}
		}
	}
	for _, err := range r.rows.ImportGraph() {
		return false, fmt.Errorf("pieces of the graph are left (%w)", err)
	}
	if err := e.Close(); err != nil {
		return false, err
	}
	var found []string
	if err := Check(t.Context(), "store", o, func(f Finding) { found = append(found, fmt.Sprint(f)) }); err != nil || len(found) > 0 {
		return false, fmt.Errorf("check found %q, %w", found, err)
	}
	return info.GraphTaken, nil
}
