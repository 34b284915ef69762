package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-ann/segue/storage"
)

// A release that does not serve follows the one that does: what is written while it is imported, built, ready or
// retired reaches it from the log of the published release, each record with the newest row of its id. That is the
// replay of recovery, from another release's rows, and like it idempotent; the write path knows nothing of it.
//
// LSNs belong to the collection. A release that starts at base LSN b logs from b+1, and record n of its log says what
// record n of the log it follows says. Invariant: the log of a published release holds every record that a release
// that is not published lacks; withOldestFollower keeps it from being trimmed.
//
// What is imported has LSN b: writes after b are newer and replace it, and deletes after b stand. Where the models
// differ, vectors written for the published release mean nothing in the follower and are skipped; deletes are not.

// errChunkFull ends a walk over the log.
var errChunkFull = errors.New("chunk is full")

// follow brings f up to LSN to of the log of src. f is loaded, or only on disk; nobody else writes it. Cost: that of
// the writes it repeats.
func (r *release) follow(ctx context.Context, src *release, to LSN) error {
	for LSN(r.committed.Load()) < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		muts, err := r.nextFollowed(src, to)
		if err != nil {
			return fmt.Errorf("follow the log of release %d: %w", src.rows.Release(), err)
		}
		if err := r.write(muts); err != nil {
			return fmt.Errorf("follow the log of release %d: %w", src.rows.Release(), err)
		}
	}
	return nil
}

// nextFollowed reads the next chunk of src's log.
func (r *release) nextFollowed(src *release, to LSN) ([]mutation, error) {
	var muts []mutation
	next := LSN(r.committed.Load()) + 1
	err := src.rows.Log(uint64(next), func(record storage.LogRecord) error {
		m, err := r.followed(src, record)
		if err != nil {
			return err
		}
		if m.lsn = LSN(record.LSN); m.lsn != next {
			return fmt.Errorf("log record %d where %d is next", m.lsn, next)
		}
		next++
		muts = append(muts, m)
		if m.lsn == to || len(muts) == maxGroupMutations/2 {
			return errChunkFull
		}
		return nil
	})
	if err != nil && !errors.Is(err, errChunkFull) {
		return nil, err
	}
	if len(muts) == 0 {
		return nil, fmt.Errorf("the log ends before LSN %d", to)
	}
	return muts, nil
}

// followed turns a record of src's log into a mutation of r.
func (r *release) followed(src *release, record storage.LogRecord) (mutation, error) {
	m := mutation{kind: record.Kind, id: record.ID}
	switch record.Kind {
	case storage.LogDeleteItem, storage.LogDeleteProfile:
	case storage.LogPutItem:
		row, err := src.rows.Item(record.ID)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			m.kind = storage.LogDeleteItem
		case err != nil:
			return m, fmt.Errorf("item %q: %w", clip(record.ID), err)
		case src.model != r.model:
			m.kind = storage.LogSkip
		default:
			m, err = r.putOf(row)
			m.row = row.Vector
			return m, err
		}
	case storage.LogPutProfile:
		row, err := src.rows.Profile(record.ID)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			m.kind = storage.LogDeleteProfile
		case err != nil:
			return m, fmt.Errorf("profile of user %q: %w", clip(record.ID), err)
		case src.model != r.model:
			m.kind = storage.LogSkip
		default:
			m.row, m.dtype, m.count, m.attributes = row.Vectors, row.DType, int(row.Count), row.Attributes
		}
	default: // also what expired: here it expires by itself, unless an import gave it more time
		m.kind = storage.LogSkip
	}
	return m, nil
}

// write commits mutations of a release that is not published, and applies them where it is loaded. Nobody else
// writes it. Their LSNs must be the next ones.
func (r *release) write(muts []mutation) error {
	g := &writeGroup{writes: []*write{{mutations: muts, done: make(chan error, 1)}}}
	if err := r.commit(g); err != nil {
		return err
	}
	return r.applyNow(g)
}

// applyNow has the applier apply a group, and waits for it.
func (r *release) applyNow(g *writeGroup) error {
	if r.index == nil {
		r.visible.Store(r.committed.Load())
		return nil
	}
	r.groups <- g
	return <-g.writes[0].done
}

// withOldestFollower calls fn with how far the log of release "of" may be trimmed: below the LSN given, or less where
// another release has still to read from it. The record stays locked until fn returns, so that no follower can come
// meanwhile.
func (c *Collection) withOldestFollower(of uint32, below uint64, fn func(below uint64) error) error {
	c.recordMu.Lock()
	defer c.recordMu.Unlock()
	for _, rel := range c.record.Releases {
		if rel.ID == of || !rel.State.whole() && !rel.State.unfinished() {
			continue
		}
		last, err := c.engine.store.Collection(c.id, rel.ID).LastLSN()
		if err != nil {
			return fmt.Errorf("read last LSN of release %d: %w", rel.ID, err)
		}
		below = min(below, max(last, uint64(rel.Base))+1)
	}
	return fn(below)
}

// catchUp brings a release that is not published up to the published one's committed LSN, through the logs of the
// releases that were published in between. c.admin is held.
func (c *Collection) catchUp(ctx context.Context, f *release) error {
	id := f.rows.Release()
	record := c.catalog()
	for _, seg := range record.release(id).Follow {
		src, err := c.onDisk(record, seg.Release)
		if err != nil {
			return err
		}
		if err := f.follow(ctx, src, seg.To); err != nil {
			return err
		}
	}
	src := c.published.Load()
	return f.follow(ctx, src, LSN(src.committed.Load()))
}

// onDisk returns a release without table and index: enough to read its rows and to write them. It is not started
// and needs no closing.
func (c *Collection) onDisk(record collectionRecord, id uint32) (*release, error) {
	rel := record.release(id)
	if rel == nil {
		return nil, &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
	}
	r := &release{engine: c.engine, cfg: c.cfg, model: rel.Model, rows: c.engine.store.Collection(c.id, id), visibleCh: make(chan struct{})}
	last, err := r.rows.LastLSN()
	if err != nil {
		return nil, fmt.Errorf("read last LSN of release %d: %w", id, err)
	}
	r.setLSN(LSN(last))
	return r, nil
}

// setLSN makes lsn the position of a release that nobody reads yet.
func (r *release) setLSN(lsn LSN) {
	r.appended.Store(uint64(lsn))
	r.committed.Store(uint64(lsn))
	r.visible.Store(uint64(lsn))
}
