package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/segue-ann/segue/hnsw"
)

// ReleaseExport describes a release that is exported.
type ReleaseExport struct {
	Config CollectionConfig
	Model  EmbeddingModel
	// Items is how many there are.
	Items int
	Graph GraphInfo
}

// What a batch of an export holds at most.
const (
	exportBatchRows  = 1000
	exportBatchBytes = 512 << 10
)

// ExportRelease gives a whole release (0 means the published one) as an import takes it: begin is called once, then batch with
// numbered batches of items in ascending order of id, of profiles, and of the graph. What they are given is theirs. Loads the
// release where it is not loaded. Errors: *NotFoundError; *StateError of a release that is not whole, or that was written to
// meanwhile; *BusyError while a snapshot of it is being written; those of begin and batch.
func (c *Collection) ExportRelease(ctx context.Context, id uint32, begin func(ReleaseExport) error, batch func(ImportRows) error) error {
	info, err := c.Release(ctx, id)
	if err != nil {
		return err
	}
	if !info.State.whole() {
		return &StateError{What: fmt.Sprintf("release %d", info.ID), State: info.State, Want: "READY, PUBLISHED or RETIRED"}
	}
	r, err := c.acquireWhole(ctx, info.ID)
	if err != nil {
		return err
	}
	defer r.leave()
	e := export{r: r, batch: batch, digest: newRowsDigest()}
	err = e.run(ctx, func(g GraphInfo) error {
		return begin(ReleaseExport{Config: *c.cfg, Model: r.model, Items: r.table.len(), Graph: g})
	})
	if err == nil && r.appended.Load() != uint64(e.lsn) || e.stale {
		return &StateError{What: fmt.Sprintf("release %d", info.ID), State: info.State, Want: "one that is not written to while it is exported"}
	}
	return err
}

// acquireWhole returns a whole release, loaded, for a call that must call its leave.
func (c *Collection) acquireWhole(ctx context.Context, id uint32) (*release, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.calls.leave()
	c.admin.Lock()
	defer c.admin.Unlock()
	r, err := c.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if !r.calls.enter() {
		return nil, ErrClosed
	}
	return r, nil
}

// export is one run of ExportRelease.
type export struct {
	r      *release
	lsn    LSN // of the image
	batch  func(ImportRows) error
	next   ImportRows
	bytes  int // of next
	digest *rowsDigest
	slots  []byte // of sectionRows
	stale  bool   // a row was met that the image does not hold
}

func (e *export) run(ctx context.Context, begin func(GraphInfo) error) error {
	r := e.r
	if !r.snapshotting.CompareAndSwap(false, true) {
		return &BusyError{Operation: "snapshot of collection " + r.cfg.Name}
	}
	defer r.snapshotting.Store(false)
	image, lsn, err := r.fixImage(ctx)
	if err != nil {
		return fmt.Errorf("begin export: %w", err)
	}
	defer image.Close()
	e.lsn = lsn
	parts := 2 + (4*r.table.len()+4*rowsSlabRows-1)/(4*rowsSlabRows)
	for _, sec := range image.Sections() {
		if sec.Name != hnsw.SectionVectors {
			parts += sec.Slabs
		}
	}
	if err := begin(GraphInfo{Build: rand.Text(), Index: image.Header(), Parts: parts}); err != nil {
		return err
	}
	if err := e.items(ctx); err != nil {
		return err
	}
	if err := e.profiles(ctx); err != nil {
		return err
	}
	return e.graph(ctx, image)
}

// flush gives the batch away, where it holds anything.
func (e *export) flush() error {
	if len(e.next.Items)+len(e.next.Profiles)+len(e.next.Parts) == 0 {
		return nil
	}
	e.next.Sequence++
	err := e.batch(e.next)
	e.next, e.bytes = ImportRows{Sequence: e.next.Sequence}, 0
	return err
}

// added counts a row of the batch, which is given away when it is full.
func (e *export) added(size int) error {
	if e.bytes += size; e.bytes >= exportBatchBytes || len(e.next.Items)+len(e.next.Profiles) == exportBatchRows {
		return e.flush()
	}
	return nil
}

func (e *export) items(ctx context.Context) error {
	r := e.r
	for row, err := range r.rows.Items("", 0) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read items: %w", err)
		}
		it, err := r.item(row)
		if err != nil {
			return err
		}
		it.Revision = 0
		slot, ok := r.table.slotOf(row.ID)
		if !ok || LSN(row.LSN) > e.lsn || !r.index.Holds(slot, it.Vector) {
			e.stale = true
			return nil
		}
		e.slots = binary.LittleEndian.AppendUint32(e.slots, slot)
		e.digest.add(it.ID, it.Vector)
		e.next.Items = append(e.next.Items, it)
		if err := e.added(len(row.ID) + len(row.Vector) + len(row.Attributes)); err != nil {
			return err
		}
	}
	return e.flush()
}

func (e *export) profiles(ctx context.Context) error {
	for after, more := "", true; more && !e.stale; {
		more = false
		for row, err := range e.r.rows.Profiles(after, exportBatchRows) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("read profiles: %w", err)
			}
			after, more = row.UserID, true
			p, err := e.r.profileOf(&row)
			if err != nil {
				return err
			}
			p.Revision = 0
			e.next.Profiles = append(e.next.Profiles, p)
			if err := e.added(len(row.UserID) + len(row.Vectors)); err != nil {
				return err
			}
		}
	}
	return e.flush()
}

// graph gives the parts away: one a batch, the headers first.
func (e *export) graph(ctx context.Context, image *hnsw.Snapshot) error {
	if e.stale {
		return nil
	}
	part := func(section string, slab int, data []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		e.next.Parts = append(e.next.Parts, GraphPart{Section: section, Slab: slab, Data: data})
		return e.flush()
	}
	header, err := json.Marshal(graphHeader{Format: graphFormat, Items: len(e.slots) / 4, Digest: e.digest.String()})
	if err != nil {
		return fmt.Errorf("encode the graph's header: %w", err)
	}
	if err := part(sectionGraph, 0, header); err != nil {
		return err
	}
	if err := part(sectionIndex, 0, image.Header()); err != nil {
		return err
	}
	for _, sec := range image.Sections() {
		for n := range sec.Slabs {
			if sec.Name == hnsw.SectionVectors {
				break
			}
			b, err := image.AppendSlab(nil, sec.Name, n)
			if err != nil {
				return fmt.Errorf("section %s slab %d: %w", sec.Name, n, err)
			}
			if err := part(sec.Name, n, b); err != nil {
				return err
			}
		}
	}
	for n := 0; n*4*rowsSlabRows < len(e.slots); n++ {
		from := n * 4 * rowsSlabRows
		if err := part(sectionRows, n, e.slots[from:min(from+4*rowsSlabRows, len(e.slots))]); err != nil {
			return err
		}
	}
	return nil
}
