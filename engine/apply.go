package engine

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/storage"
)

// applyLoop is the applier: it alone writes table and index, group after group in LSN order, so that no
// lock orders writers. It ends when the release is closed.
func (r *release) applyLoop() {
	defer close(r.stopped)
	for {
		select {
		case g, open := <-r.groups:
			if !open {
				return
			}
			r.applyGroup(g)
		case fn := <-r.inside:
			fn()
		}
	}
}

func (r *release) applyGroup(g *writeGroup) {
	if err := r.apply(g.mutations); err != nil {
		// Durable but not searchable: going on would serve a view that skips a write. Reads keep the last
		// visible state, writes stop; a restart replays from the log.
		err = fmt.Errorf("apply LSN %d to %d: %w", g.mutations[0].lsn, g.mutations[len(g.mutations)-1].lsn, err)
		r.engine.opts.Logger.Error("collection takes no more writes", "collection", r.cfg.Name, "err", err)
		r.failed.Store(&err)
		r.announce()
		for _, w := range g.writes {
			w.done <- err
		}
		return
	}
	r.visible.Store(uint64(g.mutations[len(g.mutations)-1].lsn))
	r.announce()
	for _, w := range g.writes {
		w.done <- nil
	}
	r.table.entries.compact(1)
	r.snapshotIfDue()
}

// apply brings mutations, which ascend by LSN, into table, index and filters. It is idempotent: an item whose slot already has its LSN or a later one is left alone, so
// replay may start anywhere before the first missing record. A put whose vector the item's slot holds already
// changes the attributes only. Cost: else O(efConstruction * M) distances an upsert, spread over all cores.
func (r *release) apply(mutations []mutation) error {
	last := newest(mutations)
	type put struct {
		m    *mutation
		slot uint32
	}
	var puts []put
	for i := range mutations {
		m := &mutations[i]
		if m.kind != storage.LogPutItem || last(m.id) != i || r.applied(m) {
			continue
		}
		if slot, ok := r.table.slotOf(m.id); ok && r.index.Holds(slot, m.vector) {
			old := r.table.entries.at(slot).attributes()
			r.table.entries.set(slot, m.id, m.lsn, m.attributes)
			r.filters.Update(slot, old, m.attributes)
			r.expiries.change(slot, attribute.Expiry(old), attribute.Expiry(m.attributes))
			continue
		}
		slot, err := r.index.Allocate(m.vector)
		if err != nil {
			return fmt.Errorf("item %q: %w", m.id, err)
		}
		// The entry comes before the link: a search translates every slot it can reach. A filter comes before it too, or
		// a replaced item would be missing from both sides for a moment.
		r.table.entries.set(slot, m.id, m.lsn, m.attributes)
		r.filters.Insert(slot, m.attributes)
		puts = append(puts, put{m, slot})
	}
	r.filters.Publish()
	var pause func(worker int)
	if r.building.Load() {
		pause = r.pause
	}
	if err := parallel(len(puts), pause, func(i int) error { return r.index.Link(puts[i].slot) }); err != nil {
		return err
	}
	for _, p := range puts {
		// For a moment old and new are both found; searches keep the bound one.
		old, replaced := r.table.bind(p.m.id, p.slot)
		r.filters.Settle(p.slot)
		r.expiries.add(p.slot, attribute.Expiry(p.m.attributes))
		if replaced {
			if err := r.retireSlot(old); err != nil {
				return fmt.Errorf("retire slot of item %q: %w", p.m.id, err)
			}
		}
	}
	for i := range mutations {
		m := &mutations[i]
		if m.kind != storage.LogDeleteItem && m.kind != storage.LogExpireItem || last(m.id) != i || r.applied(m) {
			continue
		}
		if slot, ok := r.table.unbind(m.id); ok {
			if err := r.retireSlot(slot); err != nil {
				return fmt.Errorf("delete item %q: %w", m.id, err)
			}
		}
	}
	r.filters.Publish()
	return nil
}

// retireSlot takes a slot that no item has any more out of index, filters and expiries.
func (r *release) retireSlot(slot uint32) error {
	attributes := r.table.entries.at(slot).attributes()
	r.filters.Remove(slot, attributes)
	r.expiries.drop(slot, attribute.Expiry(attributes))
	return r.index.Delete(slot)
}

// newest returns a function that tells the index of the last item mutation of an id.
func newest(mutations []mutation) (last func(id string) int) {
	at := make(map[string]int, len(mutations))
	for i := range mutations {
		if m := &mutations[i]; m.kind != storage.LogSkip && !m.ofProfile() {
			at[m.id] = i
		}
	}
	return func(id string) int { return at[id] }
}

// applied says whether the table already holds m's item at m's LSN or a later one.
func (r *release) applied(m *mutation) bool {
	slot, ok := r.table.slotOf(m.id)
	return ok && r.table.entries.at(slot).lsn() >= m.lsn
}

// parallel runs fn(0..n-1) on all cores and returns the first error. pause, unless nil, is called before each.
func parallel(n int, pause func(worker int), fn func(i int) error) error {
	if pause == nil {
		pause = func(int) {}
	}
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			pause(0)
			if err := fn(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for worker := range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				pause(worker)
				if err := fn(i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return first
}
