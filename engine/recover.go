package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segue-ann/segue/storage"
)

// openCollection recovers a collection's published release. The collection is not started.
func openCollection(ctx context.Context, e *Engine, row storage.CollectionRow) (*Collection, error) {
	record, err := decodeCollectionRecord(row.Config)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	made, err := loadRequests(e.store, row.ID)
	if err != nil {
		return nil, err
	}
	r, err := recoverRelease(ctx, e, row.ID, &record, record.Published, e.opts.Loading)
	if err != nil {
		return nil, err
	}
	return newCollection(e, row.ID, record, r, made), nil
}

// recoverRelease recovers a release that is whole: the newest snapshot that verifies, then the log after it.
// Where no snapshot verifies the graph is rebuilt from the items. The release is not started.
func recoverRelease(ctx context.Context, e *Engine, collection uint32, record *collectionRecord, id uint32, progress *Loading) (*release, error) {
	began := time.Now()
	r, err := newRelease(e, collection, record, id)
	if err != nil {
		return nil, err
	}
	r.loading = progress
	from, err := r.loadSnapshot(ctx)
	loaded := time.Now()
	if err == nil {
		err = r.replay(ctx, from, later)
	}
	if err != nil {
		return nil, errors.Join(err, r.index.Close())
	}
	waiting, hidden := r.index.Backlog()
	e.opts.Logger.Info("release recovered", "collection", r.cfg.Name, "release", id, "items", r.table.len(),
		"snapshot_lsn", r.snapshotLSN.Load(), "lsn", r.revision(), "backlog", waiting+hidden,
		"image_took", loaded.Sub(began).Round(time.Millisecond), "log_took", time.Since(loaded).Round(time.Millisecond))
	return r, nil
}

// loadSnapshot installs the newest valid snapshot and returns its LSN. Where there is none it rebuilds the
// graph from the items and returns the highest LSN, since rows hold the newest state.
func (r *release) loadSnapshot(ctx context.Context) (LSN, error) {
	log := r.engine.opts.Logger.With("collection", r.cfg.Name)
	kept, err := r.rows.Snapshots()
	if err != nil && !storage.IsCorruption(err) {
		return 0, fmt.Errorf("list snapshots: %w", err)
	}
	if err != nil {
		log.Warn("snapshots cannot be listed", "err", err)
	}
	for _, k := range kept {
		err := r.restore(ctx, k)
		if err == nil {
			r.snapshotLSN.Store(k.LSN)
			return LSN(k.LSN), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		log.Warn("snapshot is not usable; trying the one before", "generation", k.Generation, "err", err)
	}
	last, err := r.rows.LastLSN()
	if err != nil {
		return 0, fmt.Errorf("read last LSN: %w", err)
	}
	if err := r.rebuild(ctx); err != nil {
		return 0, err
	}
	return LSN(last), nil
}

// replayRecords is how many log records, or items, are applied at a time.
const replayRecords = maxGroupMutations

// replay applies the log records after from, each with the newest value of its item, and makes the result
// the release's state.
func (r *release) replay(ctx context.Context, from LSN, when linking) error {
	end, err := r.rows.LastLSN()
	if err != nil {
		return fmt.Errorf("read last LSN: %w", err)
	}
	r.loading.begin(r.cfg.Name, PhaseLog, int64(end)-int64(from))
	last := from
	var chunk []storage.LogRecord
	flush := func() error {
		r.loading.add(int64(len(chunk)))
		err := r.replayChunk(ctx, chunk, when)
		chunk = chunk[:0]
		return err
	}
	err = r.rows.Log(uint64(from)+1, func(record storage.LogRecord) error {
		last = LSN(record.LSN)
		if chunk = append(chunk, record); len(chunk) < replayRecords {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("replay log after LSN %d: %w", from, err)
	}
	r.setLSN(last)
	return nil
}

func (r *release) replayChunk(ctx context.Context, records []storage.LogRecord, when linking) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	mutations := make([]mutation, len(records))
	err := parallel(len(records), nil, func(_, i int) (err error) {
		mutations[i], err = r.replayed(records[i])
		return err
	})
	if err != nil {
		return err
	}
	if err := r.apply(mutations, when); err != nil {
		return err
	}
	r.table.entries.compact(1)
	return r.shorten(ctx, r.maxWaiting())
}

// replayed turns a log record into a mutation. The log has no vectors: a put takes the item's newest row,
// at that row's LSN, and becomes a delete where the item is gone since.
func (r *release) replayed(record storage.LogRecord) (mutation, error) {
	m := mutation{kind: record.Kind, id: record.ID, lsn: LSN(record.LSN)}
	if record.Kind != storage.LogPutItem || r.applied(&m) {
		return m, nil
	}
	row, err := r.rows.Item(record.ID)
	if errors.Is(err, storage.ErrNotFound) {
		m.kind = storage.LogDeleteItem
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("item %q: %w", clip(record.ID), err)
	}
	return r.putOf(row)
}

func (r *release) putOf(row storage.ItemRow) (mutation, error) {
	v, err := r.decodeVector(nil, row.DType, row.Dim, row.Vector)
	if err != nil {
		return mutation{}, fmt.Errorf("item %q: %w", clip(row.ID), err)
	}
	return mutation{
		kind: storage.LogPutItem, id: row.ID, lsn: LSN(row.LSN), vector: v,
		attributes: append([]byte(nil), row.Attributes...),
	}, nil
}

// rebuild applies every item row.
func (r *release) rebuild(ctx context.Context) error {
	var chunk []mutation
	r.loading.begin(r.cfg.Name, PhaseItems, 0)
	flush := func() error {
		r.loading.add(int64(len(chunk)))
		err := r.apply(chunk, atOnce)
		chunk = chunk[:0]
		return errors.Join(err, ctx.Err())
	}
	for row, err := range r.rows.Items("", 0) {
		if err != nil {
			return fmt.Errorf("rebuild from items: %w", err)
		}
		m, err := r.putOf(row)
		if err != nil {
			return fmt.Errorf("rebuild from items: %w", err)
		}
		if chunk = append(chunk, m); len(chunk) == replayRecords {
			if err := flush(); err != nil {
				return fmt.Errorf("rebuild from items: %w", err)
			}
		}
	}
	if err := flush(); err != nil {
		return fmt.Errorf("rebuild from items: %w", err)
	}
	return nil
}
