package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// restore replaces index and table by the image in snapshot k. On error the release is as before.
//
// Slabs are read, verified and copied into place on all cores: first those of the index, then those of the table, while the
// index is looked over as a whole. Codes and filters are left for when the release serves.
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
	memory, err := r.vectorMemory()
	if err != nil {
		return err
	}
	into, err := hnsw.NewRestorer(reader.Header().Index, hnsw.RestoreOptions{MaxSlots: r.maxSlots(), Vectors: memory, LateCodes: true})
	if err != nil {
		releaseMemory(memory)
		return fmt.Errorf("index header: %w", err)
	}
	defer into.Close()
	r.loading.begin(r.cfg.Name, PhaseSnapshot, k.Bytes)
	put := func(s slab, data []byte) error {
		if err := into.PutSlab(s.section, s.n, data); err != nil {
			return fmt.Errorf("section %s slab %d: %w", s.section, s.n, err)
		}
		return nil
	}
	var slabs []slab
	for _, sec := range into.Sections() {
		slabs = appendSlabs(slabs, sec.Name, sec.Slabs)
	}
	if err := r.readSlabs(ctx, reader, slabs, put); err != nil {
		return err
	}
	var (
		index *hnsw.Index
		load  tableLoad
		g     errgroup.Group
	)
	g.Go(func() (err error) {
		index, err = into.Finish()
		return err
	})
	g.Go(func() (err error) {
		load, err = r.readTable(ctx, reader, record)
		return err
	})
	if err = g.Wait(); err == nil {
		err = r.agree(record, index, load.table)
	}
	if err != nil {
		if index != nil {
			err = errors.Join(err, index.Close())
		}
		return err
	}
	old := r.index
	r.index, r.table, r.expiries, r.filters = index, load.table, load.expiries, filter.New(r.cfg.filterSchema(), true)
	return old.Close()
}

// agree compares what the parts of an image say of each other.
func (r *release) agree(record snapshotRecord, index *hnsw.Index, t *table) error {
	if got, want := index.Options(), r.index.Options(); got.Dim != want.Dim || got.Metric != want.Metric || got.Precision != want.Precision {
		return fmt.Errorf("image of dimension %d, metric %v and precision %v", got.Dim, got.Metric, got.Precision)
	}
	if int(record.Slots) != index.Slots() || t.len() != record.Items || index.Len() != record.Items {
		return fmt.Errorf("%w: %d of %d slots, %d of %d items, %d live in the graph",
			errItemsSection, index.Slots(), record.Slots, t.len(), record.Items, index.Len())
	}
	return nil
}

// slab names a slab of a snapshot.
type slab struct {
	section string
	n       int
}

func appendSlabs(dst []slab, section string, slabs int) []slab {
	for n := range slabs {
		dst = append(dst, slab{section, n})
	}
	return dst
}

// readSlabs reads slabs on all cores and gives each, verified, to fn, which must not keep it.
func (r *release) readSlabs(ctx context.Context, reader *storage.SnapshotReader, slabs []slab, fn func(slab, []byte) error) error {
	bufs := make([][]byte, max(1, runtime.GOMAXPROCS(0)))
	return parallel(len(slabs), nil, func(worker, i int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := slabs[i]
		data, err := reader.ReadSlab(s.section, s.n, bufs[worker])
		if err != nil {
			return err
		}
		bufs[worker] = data
		r.loading.add(int64(len(data)))
		return fn(s, data)
	})
}

var errItemsSection = errors.New("section items does not match the image")

// readTable builds the table, and what expires, from sectionItems.
func (r *release) readTable(ctx context.Context, reader *storage.SnapshotReader, record snapshotRecord) (tableLoad, error) {
	sections := reader.Header().Sections
	at := slices.IndexFunc(sections, func(s storage.SectionInfo) bool { return s.Name == sectionItems })
	slabs := (int(record.Slots) + itemsSlabRows - 1) / itemsSlabRows
	if at < 0 && slabs > 0 || at >= 0 && sections[at].Slabs != slabs {
		return tableLoad{}, fmt.Errorf("%w: %d slots are not in %d slabs", errItemsSection, record.Slots, slabs)
	}
	load := newTableLoad(record.Slots, record.Items, slabs)
	return load, r.readSlabs(ctx, reader, appendSlabs(nil, sectionItems, slabs), func(s slab, data []byte) error {
		first := uint32(s.n) * itemsSlabRows
		return load.slab(s.n, first, min(first+itemsSlabRows, record.Slots), data)
	})
}

// tableLoad is a table that is filled a slab of the items section at a time, and which of its items expire.
type tableLoad struct {
	table    *table
	expiries *expiries
}

// newTableLoad prepares for slots and items that come in a number of slabs.
func newTableLoad(slots uint32, items, slabs int) tableLoad {
	t := newTable()
	t.entries.reserveLoad(slots, slabs)
	for i := range t.shards {
		t.shards[i].reserve(items / tableShards)
	}
	return tableLoad{t, new(expiries)}
}

// slab takes slab n, which holds the rows of slots first..end. Different slabs may come concurrently. The bytes were
// verified, but not what they say.
func (l tableLoad) slab(n int, first, end uint32, data []byte) error {
	bad := func(slot uint32) error { return fmt.Errorf("%w: slab %d slot %d", errItemsSection, n, slot) }
	size, rest := 0, data
	for slot := first; slot < end; slot++ {
		row, after, ok := cutItemRow(rest)
		if !ok {
			return bad(slot)
		}
		if rest = after; len(row) > 0 {
			size += entryPrefix + len(row)
		}
	}
	if len(rest) > 0 {
		return bad(end)
	}
	c := &entryChunk{data: make([]byte, size)}
	l.table.entries.addLoaded(n, c)
	rest = data
	for slot := first; slot < end; slot++ {
		row, after, _ := cutItemRow(rest)
		if rest = after; len(row) == 0 {
			continue
		}
		e := l.table.entries.putLoaded(n, c, slot, row)
		if l.table.bindFirst(e, slot) {
			return fmt.Errorf("%w: item %q stands twice", errItemsSection, clip(e.id()))
		}
		l.expiries.add(slot, attribute.Expiry(e.attributes()))
	}
	return nil
}

// cutItemRow cuts the first row off b, without its size; an empty one means no live item.
func cutItemRow(b []byte) (row, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	size := binary.LittleEndian.Uint32(b)
	b = b[4:]
	if size == 0 {
		return nil, b, true
	}
	const fixed = entryHeader - entryPrefix
	if size < fixed || uint64(size) > uint64(len(b)) {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[8:]))
	return b[:size], b[size:], n > 0 && fixed+n <= int(size)
}
