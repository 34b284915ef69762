package engine

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/segue-ann/segue/engine/filter"
)

// filterSchema is what filters know of the schema; nil where it is open.
func (c *CollectionConfig) filterSchema() filter.Schema {
	if len(c.Attributes) == 0 {
		return nil
	}
	s := make(filter.Schema, len(c.Attributes))
	for _, a := range c.Attributes {
		s[a.Name] = filter.Field{Type: a.Type, Filterable: !a.NotFilterable}
	}
	return s
}

// loadFilters builds the filter index of a release that came from a snapshot. It runs beside the applier: only filtered
// searches wait for it.
func (r *release) loadFilters(ctx context.Context) {
	began := time.Now()
	if err := r.filters.Load(ctx, r.liveAttributes()); err != nil {
		return // closing
	}
	r.engine.opts.Logger.Info("filters loaded", "collection", r.cfg.Name, "items", r.table.len(),
		"bytes", r.filters.Stats().Bytes, "took", time.Since(began).Round(time.Millisecond))
}

// liveAttributes yields the slot and the encoded attributes of every item, ascending by slot. An item that is written meanwhile
// may come as it was before or after, or not at all.
func (r *release) liveAttributes() iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		slots := make([]uint32, 0, r.table.len())
		r.table.each(func(slot uint32) { slots = append(slots, slot) })
		slices.Sort(slots)
		for _, slot := range slots {
			if !yield(slot, r.table.entries.at(slot).attributes()) {
				return
			}
		}
	}
}
