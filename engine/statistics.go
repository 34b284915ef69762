package engine

import "context"

// Statistics is a collection's state in numbers. The fields of one call may be taken at slightly different
// moments.
type Statistics struct {
	Items        int
	Slots        int // ever used: live and retired
	RetiredSlots int // waiting to be reused
	MaxLevel     int
	MeanDegree   float64 // links per live node at level 0
	// IndexBytes is memory taken by vectors, links, the table of ids and attributes, and filters; BytesPerVector is
	// IndexBytes per live item, 0 where there are none.
	IndexBytes     int64
	BytesPerVector float64
	// FileBytes is what vectors take of a scratch file instead of memory.
	FileBytes int64
	// Revision is the visible LSN, SnapshotRevision that of the newest snapshot; LogTail is how many log
	// records a restart would replay.
	Revision         LSN
	SnapshotRevision LSN
	LogTail          int
	// Backlog is how many changes of the log, since a restart, every search looks at because the graph lacks them.
	Backlog int
	// DiskBytes is the size of the whole store, all collections together.
	DiskBytes int64
}

// Statistics returns the collection's numbers. Cost: one pass over the links of a sample of nodes.
func (c *Collection) Statistics(ctx context.Context) (Statistics, error) {
	r, err := c.acquire()
	if err != nil {
		return Statistics{}, err
	}
	defer r.leave()
	if err := ctx.Err(); err != nil {
		return Statistics{}, err
	}
	x := r.index.Stats()
	s := Statistics{
		Items:            r.table.len(),
		Slots:            x.Slots,
		RetiredSlots:     x.Slots - r.table.len(),
		Backlog:          int(r.backlog.left.Load()),
		MaxLevel:         x.MaxLevel,
		MeanDegree:       x.MeanDegree0,
		IndexBytes:       x.Bytes + r.table.bytes() + r.filters.Stats().Bytes,
		FileBytes:        x.GivenBytes,
		Revision:         r.revision(),
		SnapshotRevision: LSN(r.snapshotLSN.Load()),
		DiskBytes:        c.engine.DiskBytes(),
	}
	if s.Items > 0 {
		s.BytesPerVector = float64(s.IndexBytes) / float64(s.Items)
	}
	s.LogTail = int(s.Revision - s.SnapshotRevision)
	return s, nil
}
