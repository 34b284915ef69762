package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// SnapshotInfo describes one durable image of a collection.
type SnapshotInfo struct {
	Generation uint64
	// LSN: the image holds exactly the writes up to it.
	LSN   LSN
	Items int
	// Bytes is what it takes on disk.
	Bytes      int64
	CreateTime time.Time
}

// snapshotRecord is the engine's part of a snapshot header.
type snapshotRecord struct {
	Format int    `json:"format"`
	Items  int    `json:"items"`
	Slots  uint32 `json:"slots"`
}

const snapshotFormat = 1

func decodeSnapshotRecord(b []byte) (r snapshotRecord, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("engine header: %w", err)
	}
	if r.Format != snapshotFormat {
		return r, fmt.Errorf("engine header: format %d, this version reads %d", r.Format, snapshotFormat)
	}
	return r, nil
}

// sectionItems holds the table: for each slot of a slab, in slot order,
//
//	size u32 | LSN u64 | id length u16 | id | attributes      size counts what follows it; 0: no live item
const (
	sectionItems  = "items"
	itemsSlabRows = 4096
)

// CreateSnapshot writes an image of the collection while reads and writes go on, and drops all but the
// newest two. Writes wait only for the moment in which the image is fixed. Errors: *BusyError where one is
// being written already.
func (c *Collection) CreateSnapshot(ctx context.Context) (SnapshotInfo, error) {
	for {
		r, err := c.acquire()
		if err != nil {
			return SnapshotInfo{}, err
		}
		info, err := r.createSnapshot(ctx)
		r.leave()
		if errors.Is(err, ErrClosed) && c.published.Load() != r {
			continue // replaced while its graph caught up with the log
		}
		return info, err
	}
}

func (r *release) createSnapshot(ctx context.Context) (SnapshotInfo, error) {
	if !r.snapshotting.CompareAndSwap(false, true) {
		return SnapshotInfo{}, &BusyError{Operation: "snapshot of collection " + r.cfg.Name}
	}
	defer r.snapshotting.Store(false)
	return r.snapshot(ctx)
}

// snapshotIfDue starts a snapshot in the background once the log tail is long enough. The applier calls it.
func (r *release) snapshotIfDue() {
	tail := r.visible.Load() - r.snapshotLSN.Load()
	most := r.engine.opts.SnapshotTail
	if most < 0 || tail < uint64(most) || r.snapshotting.Load() || r.building.Load() || !r.backlog.settled() {
		return
	}
	r.background.Go(func() {
		if !r.calls.enter() {
			return // closing
		}
		defer r.leave()
		var (
			info SnapshotInfo
			err  error
		)
		r.engine.inBackground(func() { info, err = r.createSnapshot(context.Background()) })
		switch {
		case err == nil:
			r.engine.opts.Logger.Info("snapshot written", "collection", r.cfg.Name,
				"generation", info.Generation, "lsn", info.LSN, "items", info.Items, "bytes", info.Bytes)
		case errors.As(err, new(*BusyError)):
			// Another one runs.
		default:
			r.engine.opts.Logger.Error("snapshot failed", "collection", r.cfg.Name, "err", err)
		}
	})
}

// Snapshots returns the snapshots kept, newest first.
func (c *Collection) Snapshots(ctx context.Context) ([]SnapshotInfo, error) {
	r, err := c.acquire()
	if err != nil {
		return nil, err
	}
	defer r.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	kept, err := r.rows.Snapshots()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	infos := make([]SnapshotInfo, 0, len(kept))
	for _, k := range kept {
		if k.Err != nil {
			continue // recovery passes it over and the next snapshot replaces it; segue check names it
		}
		image, err := r.rows.OpenSnapshot(k.Generation)
		if errors.Is(err, storage.ErrNotFound) {
			continue // dropped since
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot %d: %w", k.Generation, err)
		}
		record, err := decodeSnapshotRecord(image.Header().Engine)
		if err != nil {
			return nil, fmt.Errorf("snapshot %d: %w", k.Generation, err)
		}
		infos = append(infos, SnapshotInfo{
			Generation: k.Generation, LSN: LSN(k.LSN), Items: record.Items, Bytes: k.Bytes, CreateTime: k.CreateTime,
		})
	}
	return infos, nil
}

func (r *release) snapshot(ctx context.Context) (info SnapshotInfo, err error) {
	kept, err := r.rows.Snapshots()
	if err != nil {
		return info, fmt.Errorf("list snapshots: %w", err)
	}
	info.Generation = 1
	if len(kept) > 0 {
		info.Generation = kept[0].Generation + 1
	}
	image, lsn, err := r.fixImage(ctx)
	if err != nil {
		return info, fmt.Errorf("begin snapshot: %w", err)
	}
	defer image.Close()
	info.LSN = lsn
	info.CreateTime = time.Now().UTC().Truncate(time.Microsecond)

	w, err := r.rows.NewSnapshot(info.Generation)
	if err != nil {
		return info, fmt.Errorf("begin snapshot: %w", err)
	}
	if err := r.stream(ctx, image, w, &info); err != nil {
		return info, errors.Join(err, w.Abort())
	}
	r.snapshotLSN.Store(uint64(lsn))
	if all, err := r.rows.Snapshots(); err == nil && len(all) > 0 && all[0].Generation == info.Generation {
		info.Bytes = all[0].Bytes
	}
	return info, r.retire(append([]storage.SnapshotInfo{{Generation: info.Generation, LSN: uint64(lsn)}}, kept...))
}

// fixImage has the applier fix the image between two groups: it holds exactly the writes up to lsn.
func (r *release) fixImage(ctx context.Context) (image *hnsw.Snapshot, lsn LSN, err error) {
	if err := r.settle(ctx); err != nil {
		return nil, 0, err
	}
	waited := r.within(ctx, func() {
		lsn = r.revision()
		image, err = r.index.BeginSnapshot()
	})
	if waited != nil {
		return nil, 0, waited
	}
	return image, lsn, err
}

// stream writes every section, then the header: the commit point.
func (r *release) stream(ctx context.Context, image *hnsw.Snapshot, w *storage.SnapshotWriter, info *SnapshotInfo) error {
	var (
		sections []storage.SectionInfo
		buf      []byte
		err      error
	)
	for _, sec := range image.Sections() {
		for n := range sec.Slabs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if buf, err = image.AppendSlab(buf[:0], sec.Name, n); err != nil {
				return fmt.Errorf("section %s slab %d: %w", sec.Name, n, err)
			}
			if err := w.Slab(sec.Name, n, sec.Compress, buf); err != nil {
				return fmt.Errorf("section %s slab %d: %w", sec.Name, n, err)
			}
		}
		sections = append(sections, storage.SectionInfo{Name: sec.Name, Slabs: sec.Slabs})
	}
	slabs := 0
	for first := uint32(0); first < image.Slots(); first += itemsSlabRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:0]
		for slot := first; slot < min(first+itemsSlabRows, image.Slots()); slot++ {
			if !image.Live(slot) {
				buf = binary.LittleEndian.AppendUint32(buf, 0)
				continue
			}
			info.Items++
			buf = appendItemRow(buf, r.table.entries.at(slot))
		}
		if err := w.Slab(sectionItems, slabs, true, buf); err != nil {
			return fmt.Errorf("section %s slab %d: %w", sectionItems, slabs, err)
		}
		slabs++
	}
	sections = append(sections, storage.SectionInfo{Name: sectionItems, Slabs: slabs})
	record, err := json.Marshal(snapshotRecord{Format: snapshotFormat, Items: info.Items, Slots: image.Slots()})
	if err != nil {
		return fmt.Errorf("encode snapshot header: %w", err)
	}
	return w.Commit(storage.SnapshotHeader{
		LSN: uint64(info.LSN), CreateTime: info.CreateTime, Engine: record, Index: image.Header(), Sections: sections,
	})
}

// appendItemRow writes one row of sectionItems: an entry without its slot and size.
func appendItemRow(dst []byte, e entry) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(e)-8))
	return append(dst, e[8:]...)
}

// retire drops, of all snapshots, newest first, those beyond the newest two and those with damaged headers, and
// the log records that none of the kept needs.
func (r *release) retire(all []storage.SnapshotInfo) error {
	var kept []storage.SnapshotInfo
	for _, s := range all {
		if s.Err == nil && len(kept) < snapshotsKept {
			kept = append(kept, s)
			continue
		}
		if err := r.rows.DropSnapshot(s.Generation); err != nil {
			return fmt.Errorf("drop snapshot %d: %w", s.Generation, err)
		}
	}
	if len(kept) < snapshotsKept {
		return nil // the only snapshot's fallback is the whole log, or the items
	}
	// The record at the oldest kept LSN stays, so that the log can be read from there.
	trim := r.limitTrim
	if trim == nil {
		trim = func(below uint64, fn func(uint64) error) error { return fn(below) }
	}
	if err := trim(kept[snapshotsKept-1].LSN, r.rows.TrimLog); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}
