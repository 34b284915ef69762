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
// byte: checksums, item rows, log and snapshots; then what they say: catalog, aliases, requests, imports, profiles and attributes. It
// recovers each release in memory as Open would, from each of its snapshots, and compares graph invariants, ids, LSNs and vectors with
// the item rows. Findings go to report. The error says
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
	defer store.Close()
	k := &checker{e: &Engine{opts: o, store: store, byName: make(map[string]*Collection)}, report: report}
	return k.run(ctx)
}

// checker is one run of Check over what the store says, whose bytes were verified.
type checker struct {
	e      *Engine
	report func(Finding)
}

func (k *checker) find(where, format string, args ...any) {
	k.report(Finding{Where: where, Problem: fmt.Sprintf(format, args...)})
}

func (k *checker) run(ctx context.Context) error {
	rows, err := k.e.store.Collections()
	if err != nil {
		k.find("catalog", "%v", err)
		return nil
	}
	records := make(map[uint32]*collectionRecord)
	names := make(map[string]uint32)
	for _, row := range rows {
		where := "collection " + row.Name
		if other, twice := names[row.Name]; twice {
			k.find(where, "there are two of that name, %d and %d", other, row.ID)
		}
		names[row.Name] = row.ID
		record, err := decodeCollectionRecord(row.Config)
		if err == nil {
			err = record.check(row.Name, k.e.opts.Limits)
		}
		if err != nil {
			k.find(where, "catalog: %v", err)
			continue
		}
		records[row.ID] = &record
	}
	k.aliases(names)
	k.strayReleases(records)
	for _, row := range rows {
		if err := ctx.Err(); err != nil {
			return err
		}
		if record := records[row.ID]; record != nil {
			if err := k.collection(ctx, row, record); err != nil {
				return fmt.Errorf("collection %q: %w", row.Name, err)
			}
		}
	}
	return nil
}

// aliases are other names than those of collections.
func (k *checker) aliases(names map[string]uint32) {
	aliases, err := k.e.store.Aliases()
	if err != nil {
		k.find("aliases", "%v", err)
	}
	for _, a := range aliases {
		if _, taken := names[a.Name]; taken {
			k.find("alias "+a.Name, "is the name of a collection")
		}
	}
}

// strayReleases reports rows of releases that are not in a record, or are dropped there: that is written when they are gone.
func (k *checker) strayReleases(records map[uint32]*collectionRecord) {
	stored, err := k.e.store.Releases()
	if err != nil {
		k.find("releases", "%v", err)
		return
	}
	for _, id := range stored {
		record := records[id.Collection]
		if record == nil {
			continue // reported with the collection
		}
		where := fmt.Sprintf("collection %s, release %d", record.Config.Name, id.Release)
		switch rel := record.release(id.Release); {
		case rel == nil:
			k.find(where, "there are rows of it, the catalog does not know it")
		case rel.State == ReleaseDropped:
			k.find(where, "there are rows of it, though it was dropped")
		}
	}
}

func (k *checker) collection(ctx context.Context, row storage.CollectionRow, record *collectionRecord) error {
	where := "collection " + row.Name
	made, err := loadRequests(k.e.store, row.ID)
	if err != nil {
		k.find(where+", requests", "%v", err)
	} else {
		for _, q := range made.order {
			if err := q.check(); err != nil {
				k.find(fmt.Sprintf("%s, request at revision %d", where, q.lsn), "%v", err)
			}
		}
	}
	var errs []error
	for i := range record.Releases {
		rel, at := &record.Releases[i], where
		if len(record.Releases) > 1 {
			at = fmt.Sprintf("%s, release %d", where, rel.ID)
		}
		c := &releaseChecker{checker: k, collection: row.ID, record: record, id: rel.ID, where: at}
		switch {
		case rel.State.whole():
			errs = append(errs, c.whole(ctx))
		case rel.State.unfinished():
			errs = append(errs, c.rows(ctx, nil))
		}
		if rel.Job != "" && rel.State != ReleaseDropped && rel.State != ReleaseDropping {
			c.importRows(rel)
		}
	}
	return errors.Join(errs...)
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
