package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/segue-ann/segue/storage"
)

// Finding is one thing that Check found wrong.
type Finding struct {
	// Where names the file, key, section and slab, or the collection and item.
	Where string
	// Problem says what is wrong with it.
	Problem string
}

// Check verifies the store in dir without changing it; no other process may have it open. It reads every
// byte: checksums, item rows, log and snapshots; then recovers each collection in memory as Open would and
// compares graph invariants, ids, LSNs and vectors with the item rows. Findings go to report. The error says
// why the check could not be finished; findings alone are no error.
func Check(ctx context.Context, dir string, o Options, report func(Finding)) error {
	o.ensureDefaults()
	o.Store.ReadOnly = true
	broken := false
	err := storage.Check(dir, o.Store, func(f storage.Finding) {
		if f.Severity == storage.Note {
			return // what a killed process leaves behind and the next start removes
		}
		broken = true
		report(Finding{Where: f.Where, Problem: f.Problem})
	})
	if err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	store, err := storage.Open(dir, o.Store)
	if err != nil {
		if broken {
			return nil // the findings say it
		}
		return fmt.Errorf("open store: %w", err)
	}
	e := &Engine{opts: o, store: store, byName: make(map[string]*Collection)}
	defer store.Close()
	rows, err := store.Collections()
	if err != nil {
		report(Finding{Where: "catalog", Problem: err.Error()})
		return nil
	}
	for _, row := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := checkCollection(ctx, e, row, report); err != nil {
			return fmt.Errorf("collection %q: %w", row.Name, err)
		}
	}
	return nil
}

func checkCollection(ctx context.Context, e *Engine, row storage.CollectionRow, report func(Finding)) (err error) {
	where := "collection " + row.Name
	record, err := decodeCollectionRecord(row.Config)
	if err != nil {
		report(Finding{Where: where, Problem: "catalog: " + err.Error()})
		return nil //nolint:nilerr // a finding is no error
	}
	var errs []error
	for _, rel := range record.Releases {
		if rel.State.whole() {
			at := where
			if len(record.Releases) > 1 {
				at = fmt.Sprintf("%s, release %d", where, rel.ID)
			}
			errs = append(errs, checkRelease(ctx, e, row.ID, &record, rel.ID, at, report))
		}
	}
	return errors.Join(errs...)
}

func checkRelease(ctx context.Context, e *Engine, collection uint32, record *collectionRecord, id uint32, where string, report func(Finding)) (err error) {
	r, err := recoverRelease(ctx, e, collection, record, id, nil)
	if err == nil {
		err = r.shorten(ctx, 0)
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		report(Finding{Where: where, Problem: "cannot be recovered: " + err.Error()})
		return nil
	}
	defer func() { err = errors.Join(err, r.index.Close()) }()
	if err := r.index.Check(); err != nil {
		report(Finding{Where: where + ", graph", Problem: err.Error()})
	}
	s := r.index.Acquire()
	defer s.Release()
	items := 0
	for row, err := range r.rows.Items("", 0) {
		if err != nil {
			report(Finding{Where: where + ", items", Problem: err.Error()})
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		items++
		if problem := r.checkItem(s.Vector, row); problem != "" {
			report(Finding{Where: fmt.Sprintf("%s, item %q", where, row.ID), Problem: problem})
		}
	}
	if n := r.index.Len(); n != items || r.table.len() != items {
		report(Finding{Where: where, Problem: fmt.Sprintf("%d items stored, %d in the graph, %d in the table", items, n, r.table.len())})
	}
	return nil
}

// checkItem compares a stored row with what recovery made of it.
func (r *release) checkItem(vectorAt func(slot uint32) []float32, row storage.ItemRow) (problem string) {
	slot, ok := r.table.slotOf(row.ID)
	if !ok {
		return "is stored but not in the graph"
	}
	e := r.table.entries.at(slot)
	if e.lsn() != LSN(row.LSN) {
		return fmt.Sprintf("is stored at LSN %d, in the graph at %d", row.LSN, e.lsn())
	}
	if string(e.attributes()) != string(row.Attributes) {
		return "has other attributes in memory than stored"
	}
	v, err := r.decodeVector(nil, row.DType, row.Dim, row.Vector)
	if err != nil {
		return err.Error()
	}
	scale := 1.0
	if r.cfg.Metric == Cosine {
		sum := 0.0
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		scale = 1 / math.Sqrt(sum)
	}
	for i, got := range vectorAt(slot)[:r.cfg.Dim] {
		want := float64(v[i]) * scale
		if math.Abs(float64(got)-want) > 1e-5*math.Max(1, math.Abs(want)) {
			return fmt.Sprintf("component %d is %g in the graph, %g stored", i, got, want)
		}
	}
	return ""
}
