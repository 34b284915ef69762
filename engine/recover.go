package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// openCollection recovers a collection's published release. The collection is not started.
func openCollection(ctx context.Context, e *Engine, row storage.CollectionRow) (*Collection, error) {
	record, err := decodeCollectionRecord(row.Config)
	if err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	r, err := recoverRelease(ctx, e, row.ID, &record, record.Published)
	if err != nil {
		return nil, err
	}
	return newCollection(e, row.ID, record, r), nil
}

// recoverRelease recovers a release that is whole: the newest snapshot that verifies, then the log after it.
// Where no snapshot verifies the graph is rebuilt from the items. The release is not started.
func recoverRelease(ctx context.Context, e *Engine, collection uint32, record *collectionRecord, id uint32) (*release, error) {
	began := time.Now()
	r, err := newRelease(e, collection, record, id)
	if err != nil {
		return nil, err
	}
	from, err := r.loadSnapshot(ctx)
	if err == nil {
		err = r.replay(ctx, from)
	}
	if err != nil {
		return nil, errors.Join(err, r.index.Close())
	}
	e.opts.Logger.Info("release recovered", "collection", r.cfg.Name, "release", id, "items", r.table.len(),
		"snapshot_lsn", r.snapshotLSN.Load(), "lsn", r.revision(), "took", time.Since(began).Round(time.Millisecond))
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
		r.table, r.expiries = newTable(), new(expiries)
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

// restore replaces index and table by the image in snapshot k. On error the index is as before.
func (r *release) restore(ctx context.Context, k storage.SnapshotInfo) error {
	if k.Err != nil {
		return k.Err
	}
	reader, err := r.rows.OpenSnapshot(k.Generation)
	if err != nil {
		return err
	}
	record, err := decodeSnapshotRecord(reader.Header().Engine)
	if err != nil {
		return err
	}
	into, err := hnsw.NewRestorer(reader.Header().Index, hnsw.RestoreOptions{MaxSlots: r.maxSlots()})
	if err != nil {
		return fmt.Errorf("index header: %w", err)
	}
	defer into.Close()
	if err := r.putSections(ctx, reader, into); err != nil {
		return err
	}
	index, err := into.Finish()
	if err != nil {
		return err
	}
	if got, want := index.Options(), r.index.Options(); got.Dim != want.Dim || got.Metric != want.Metric {
		return errors.Join(fmt.Errorf("image of dimension %d and metric %v", got.Dim, got.Metric), index.Close())
	}
	if err := r.restoreTable(reader, record, index); err != nil {
		return errors.Join(err, index.Close())
	}
	r.filters = filter.New(r.cfg.filterSchema(), true)
	old := r.index
	r.index = index
	return old.Close()
}

// putSections reads the index's slabs on all cores: reading, verifying and copying are bound by memory.
func (r *release) putSections(ctx context.Context, reader *storage.SnapshotReader, into *hnsw.Restorer) error {
	type slab struct {
		section string
		n       int
	}
	slabs := make(chan slab)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(slabs)
		for _, sec := range into.Sections() {
			for n := range sec.Slabs {
				select {
				case slabs <- slab{sec.Name, n}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var buf []byte
			for s := range slabs {
				var err error
				if buf, err = reader.ReadSlab(s.section, s.n, buf[:0]); err != nil {
					return err
				}
				if err := into.PutSlab(s.section, s.n, buf); err != nil {
					return fmt.Errorf("section %s slab %d: %w", s.section, s.n, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

var errItemsSection = errors.New("section items does not match the image")

// restoreTable fills the table from sectionItems.
func (r *release) restoreTable(reader *storage.SnapshotReader, record snapshotRecord, index *hnsw.Index) error {
	slabs := 0
	for _, sec := range reader.Header().Sections {
		if sec.Name == sectionItems {
			slabs = sec.Slabs
		}
	}
	var (
		buf  []byte
		err  error
		slot uint32
	)
	for n := range slabs {
		if buf, err = reader.ReadSlab(sectionItems, n, buf[:0]); err != nil {
			return err
		}
		for b := buf; len(b) > 0; slot++ {
			id, lsn, attributes, rest, err := decodeItemRow(b)
			if err != nil || slot >= record.Slots {
				return fmt.Errorf("%w: slab %d slot %d", errItemsSection, n, slot)
			}
			b = rest
			if id == "" {
				continue
			}
			r.table.entries.set(slot, id, lsn, attributes)
			if _, twice := r.table.bind(id, slot); twice {
				return fmt.Errorf("%w: item %q stands twice", errItemsSection, clip(id))
			}
			r.expiries.add(slot, attribute.Expiry(attributes))
		}
	}
	if slot != record.Slots || r.table.len() != record.Items || index.Len() != record.Items {
		return fmt.Errorf("%w: %d of %d slots, %d of %d items, %d live in the graph",
			errItemsSection, slot, record.Slots, r.table.len(), record.Items, index.Len())
	}
	return nil
}

// decodeItemRow reads one row of sectionItems; an empty id means no live item.
func decodeItemRow(b []byte) (id string, lsn LSN, attributes, rest []byte, err error) {
	if len(b) < 4 {
		return "", 0, nil, nil, errItemsSection
	}
	size := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if size == 0 {
		return "", 0, nil, b, nil
	}
	const fixed = 8 + 2
	if size < fixed || uint64(size) > uint64(len(b)) {
		return "", 0, nil, nil, errItemsSection
	}
	row, rest := b[:size], b[size:]
	n := int(binary.LittleEndian.Uint16(row[8:]))
	if n == 0 || fixed+n > len(row) {
		return "", 0, nil, nil, errItemsSection
	}
	return string(row[fixed : fixed+n]), LSN(binary.LittleEndian.Uint64(row)), row[fixed+n:], rest, nil
}

// replayChunk is how many log records, or items, are applied at a time.
const replayChunk = maxGroupMutations

// replay applies the log records after from, each with the newest value of its item, and makes the result
// the release's state.
func (r *release) replay(ctx context.Context, from LSN) error {
	last := from
	var chunk []mutation
	flush := func() error {
		err := r.apply(chunk)
		chunk = chunk[:0]
		r.table.entries.compact(1)
		return err
	}
	err := r.rows.Log(uint64(from)+1, func(record storage.LogRecord) error {
		last = LSN(record.LSN)
		m, err := r.replayed(record)
		if err != nil {
			return err
		}
		chunk = append(chunk, m)
		if len(chunk) < replayChunk {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("replay log after LSN %d: %w", from, err)
	}
	r.appended.Store(uint64(last))
	r.committed.Store(uint64(last))
	r.visible.Store(uint64(last))
	return nil
}

// replayed turns a log record into a mutation. The log has no vectors: a put takes the item's newest row,
// at that row's LSN, and becomes a delete where the item is gone since.
func (r *release) replayed(record storage.LogRecord) (mutation, error) {
	m := mutation{kind: record.Kind, id: record.ID, lsn: LSN(record.LSN)}
	if record.Kind != storage.LogPutItem {
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
	flush := func() error {
		err := r.apply(chunk)
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
		if chunk = append(chunk, m); len(chunk) == replayChunk {
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
