package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage/backup"
)

// A collection is written to, and snapshots of it are made, while backups are. Each one, restored, answers as of the revision that it
// states: no write after it, none missing, and none that was acknowledged before it began left out.
func TestBackupUnderWrites(t *testing.T) {
	const ids, dim = 40, 4
	itemAt := func(rev LSN) Item {
		return Item{ID: fmt.Sprintf("t%02d", rev%ids), Vector: []float32{float32(rev), float32(rev % 7), 1, 2}}
	}
	target := t.TempDir()
	e := open(t, t.TempDir(), testOptions(nil)) // backups of a directory are made on the real disk
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	var acked LSN
	written := make(chan LSN, 1) // holds acked
	written <- 0
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for rev := LSN(1); ctx.Err() == nil; rev++ {
			lsn, err := c.Upsert(context.Background(), []Item{itemAt(rev)})
			if err != nil || lsn != rev {
				done <- fmt.Errorf("revision %d of write %d: %w", lsn, rev, err)
				return
			}
			<-written
			written <- rev
		}
		done <- nil
	}()
	infos := make([]backup.Info, 3)
	for i := range infos {
		if _, err := c.CreateSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		acked = <-written
		written <- acked
		if infos[i], err = e.Backup(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if i > 0 && (len(infos[i].Positions) != 1 || LSN(infos[i].Positions[0].LSN) < acked) {
			t.Errorf("backup %d holds %v; revision %d was acknowledged before", i+1, infos[i].Positions, acked)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	from, err := backup.Open(t.Context(), target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if len(info.Positions) == 0 {
			continue // made before the first write
		}
		dir := t.TempDir()
		if _, err := from.Restore(t.Context(), info.Number, nil, dir); err != nil {
			t.Fatal(err)
		}
		if err := Check(t.Context(), dir, testOptions(nil), func(f Finding) { t.Errorf("backup %d: %+v", info.Number, f) }); err != nil {
			t.Error(err)
		}
		back, err := open(t, dir, testOptions(nil)).Collection("tracks")
		if err != nil {
			t.Fatal(err)
		}
		last := LSN(info.Positions[0].LSN)
		items, more, err := back.List(t.Context(), "", 2*ids)
		if err != nil || more || len(items) != int(min(last, ids)) {
			t.Errorf("backup %d at revision %d: %d items, %v", info.Number, last, len(items), err)
		}
		for rev := last; rev > 0 && rev+ids > last; rev-- {
			want := itemAt(rev)
			r, err := back.Search(t.Context(), SearchRequest{Query: Query{Vector: want.Vector}, K: 1})
			if err != nil || len(r.Neighbors) != 1 || r.Neighbors[0].ItemID != want.ID || r.Neighbors[0].Score != 0 {
				t.Errorf("backup %d at revision %d: item %s of revision %d: %v, %v", info.Number, last, want.ID, rev, r.Neighbors, err)
			}
		}
	}
}

// There is one backup at a time and none of a closed engine.
func TestBackupRefuses(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	e.backingUp.Store(true)
	var busy *BusyError
	if _, err := e.Backup(t.Context(), t.TempDir()); !errors.As(err, &busy) {
		t.Errorf("a second backup: %v", err)
	}
	e.backingUp.Store(false)
	var bad *backup.TargetError
	if _, err := e.Backup(t.Context(), "nowhere://x"); !errors.As(err, &bad) {
		t.Errorf("to a scheme that is not known: %v", err)
	}
	// What failed leaves nothing behind that keeps the next from being made.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Backup(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if info, err := e.Backup(t.Context(), t.TempDir()); err != nil || info.Number != 1 {
		t.Errorf("after one that was cancelled: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Backup(t.Context(), t.TempDir()); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed engine: %v", err)
	}
}
