package engine

import (
	"fmt"

	"github.com/segue-ann/segue/storage"
)

// MemoryUse says how many bytes a process holds, and how many it may hold before writes that need more are refused.
type MemoryUse struct{ Used, Limit uint64 }

// MemoryLimitError says that a write would need memory beyond the limit. Nothing of it was written; reads go on, and so do deletes and
// what needs no memory of the index: profiles, exclusions, attributes.
type MemoryLimitError struct {
	// NeedBytes is about what the write would have added, UsedBytes what the process held, LimitBytes what it may hold.
	NeedBytes, UsedBytes, LimitBytes uint64
}

func (e *MemoryLimitError) Error() string {
	return fmt.Sprintf("writes are refused, reads go on: %d bytes of memory are in use and %d more are needed, the limit is %d", e.UsedBytes, e.NeedBytes, e.LimitBytes)
}

// entryBytes is about what an item takes besides vector, codes and links: its id, attributes, and words of tables.
const entryBytes = 128

// slotBytes is about how much memory one more slot takes.
func (c *CollectionConfig) slotBytes() uint64 {
	perSlot := c.Dim + 4*(2*c.M+2) + entryBytes // codes, level-0 links
	switch {
	case c.VectorStorage == VectorsInFile:
	case c.VectorPrecision == Float16:
		perSlot += 2 * c.Dim
	default:
		perSlot += 4 * c.Dim
	}
	return uint64(perSlot)
}

// memoryFor refuses n puts where the memory for those that find no slot to reuse would go beyond the limit. It is asked before
// anything is allocated or written.
func (r *release) memoryFor(n int) error {
	ask := r.engine.opts.Memory
	if ask == nil {
		return nil
	}
	reused := r.index.Available() - (r.index.Options().MaxSlots - r.index.Slots())
	if n -= max(reused, 0); n <= 0 {
		return nil
	}
	m, need := ask(), uint64(n)*r.cfg.slotBytes()
	// What is committed and not applied yet will be in the index before this is.
	m.Used += (r.committed.Load() - min(r.visible.Load(), r.committed.Load())) * r.cfg.slotBytes()
	if m.Limit > 0 && m.Used+need > m.Limit {
		return &MemoryLimitError{NeedBytes: need, UsedBytes: m.Used, LimitBytes: m.Limit}
	}
	return nil
}

// takesSlot says that the mutation needs a slot of the index.
func (m *mutation) takesSlot() bool { return m.kind == storage.LogPutItem && !m.keepsVector }
