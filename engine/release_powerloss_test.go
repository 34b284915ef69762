package engine

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/segue-ann/segue/internal/crashfs"
)

// crashes takes a clone of the disk before each operation that changes it, up to what was synced.
type crashes struct {
	mem    *crashfs.FS
	mu     sync.Mutex
	step   int
	points []crashed
}

type crashed struct {
	fs   *crashfs.FS
	step int
	op   string
}

func (r *crashes) String() string { return "crashes" }

func (r *crashes) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.points = append(r.points, crashed{fs: r.mem.CrashClone(vfs.CrashCloneCfg{}), step: r.step, op: fmt.Sprint(op.Kind, " ", op.Path)})
	return nil
}

// Power is lost at every file-system operation of an import from its start to a rollback. What serves is whole and
// one of the releases that may serve then; the job goes on from what it acknowledged, and ends with the same result.
func TestPowerLossAtEveryOperationOfAnImport(t *testing.T) {
	rec := &crashes{mem: crashfs.New()}
	o := testOptions(errorfs.Wrap(rec.mem, rec))
	e, err := Open(t.Context(), "store", o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 2, Metric: L2, M: 4, EfConstruction: 8})
	if err != nil {
		t.Fatal(err)
	}
	item := func(id string, x float32) Item { return Item{ID: id, Vector: []float32{x, 1}} }
	rows := func(seq uint64, flush bool, items ...Item) error {
		_, err := c.WriteImport(t.Context(), "job", ImportRows{Sequence: seq, Items: items}, flush)
		return err
	}
	put := func(it Item) error { _, err := c.Upsert(t.Context(), []Item{it}); return err }
	steps := []func() error{
		func() error { return errors.Join(put(item("a", 1)), put(item("b", 1))) },
		func() error { _, err := c.StartImport(t.Context(), ImportOptions{JobID: "job"}); return err },
		func() error { return rows(1, true, item("a", 2), item("c", 2)) },
		func() error { return put(item("live", 1)) },
		func() error { return rows(2, true, item("d", 2), Item{ID: "bad"}) },
		func() error { _, _, err := c.Delete(t.Context(), []string{"c"}); return err },
		func() error { _, err := c.CommitImport(t.Context(), "job"); return err },
		func() error { _, err := c.WaitImport(t.Context(), "job"); return err },
		func() error { return put(item("after", 1)) },
		func() error { _, err := c.PublishRelease(t.Context(), 2, PublishConditions{}); return err },
		func() error { return put(item("last", 1)) },
		func() error { _, err := c.RollbackCollection(t.Context()); return err },
	}
	const started, batch1, live, batch2, gone, published, rolledBack = 1, 2, 3, 4, 5, 9, 11
	for i, step := range steps {
		rec.mu.Lock()
		rec.step = i
		rec.mu.Unlock()
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if len(rec.points) < 100 {
		t.Fatalf("only %d crash points", len(rec.points))
	}
	t.Logf("%d crash points", len(rec.points))
	for _, p := range rec.points {
		if p.step <= started {
			continue
		}
		if err := p.check(t, p.step > batch1, p.step > live, p.step > batch2, p.step > gone, p.step < gone, p.step > published, p.step >= rolledBack); err != nil {
			t.Errorf("power lost in step %d at %s: %v", p.step, p.op, err)
		}
	}
}

// check opens what a loss of power left, and brings the job to its end.
func (p *crashed) check(t *testing.T, batch1, live, batch2, gone, there, published, maybeBack bool) error {
	e, err := Open(t.Context(), "store", testOptions(p.fs))
	if err != nil {
		return err
	}
	defer e.Close()
	c, err := e.Collection("tracks")
	if err != nil {
		return err
	}
	serves, err := c.Release(t.Context(), 0)
	if err != nil {
		return err
	}
	if published && !maybeBack && serves.ID != 2 {
		return fmt.Errorf("release %d serves after release 2 was published", serves.ID)
	}
	if _, err := c.Get(t.Context(), "live"); live && err != nil {
		return fmt.Errorf("an acknowledged write: %w", err)
	}
	if _, err := c.Get(t.Context(), "c"); gone && !errors.As(err, new(*NotFoundError)) {
		return fmt.Errorf("a deleted item: %w", err)
	}
	if a, err := c.Get(t.Context(), "a"); err != nil || a.Vector[0] != float32(serves.ID) {
		return fmt.Errorf("release %d serves %v, %w", serves.ID, a.Vector, err)
	}
	info, err := c.StartImport(t.Context(), ImportOptions{JobID: "job"})
	if err != nil {
		return err
	}
	if info.State == ReleaseImporting {
		if batch2 && info.Sequence < 2 || batch1 && info.Sequence < 1 {
			return fmt.Errorf("acknowledged batches are gone: %+v", info)
		}
		for seq := info.Sequence + 1; seq <= 2; seq++ {
			b := ImportRows{Sequence: seq, Items: []Item{{ID: "a", Vector: []float32{2, 1}}, {ID: "c", Vector: []float32{2, 1}}}}
			if seq == 2 {
				b.Items = []Item{{ID: "d", Vector: []float32{2, 1}}, {ID: "bad"}}
			}
			if _, err := c.WriteImport(t.Context(), "job", b, false); err != nil {
				return err
			}
		}
	}
	if _, err := c.CommitImport(t.Context(), "job"); err != nil {
		return err
	}
	info, err = c.WaitImport(t.Context(), "job")
	if err != nil || !info.State.whole() || info.Accepted != 3 || info.Rejected != 1 {
		return fmt.Errorf("%+v, %w", info, err)
	}
	if _, err := c.PublishRelease(t.Context(), info.Release, PublishConditions{}); err != nil {
		return err
	}
	want := map[string]bool{"a": true, "d": true, "live": live, "c": there}
	for id, must := range want {
		if _, err := c.Get(t.Context(), id); must && err != nil {
			return fmt.Errorf("item %s: %w", id, err)
		}
	}
	if a, err := c.Get(t.Context(), "a"); err != nil || a.Vector[0] != 2 {
		return fmt.Errorf("release 2 holds %v, %w", a.Vector, err)
	}
	if err := c.published.Load().index.Check(); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	var found []string
	o := testOptions(p.fs)
	if err := Check(t.Context(), "store", o, func(f Finding) { found = append(found, fmt.Sprint(f)) }); err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("check found %q", found)
	}
	return nil
}
