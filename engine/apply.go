package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/internal/background"
	"github.com/segue-ann/segue/storage"
)

// applyLoop is the applier: it alone writes table and index, group after group in LSN order, so that no
// lock orders writers. It ends when the release is closed.
func (r *release) applyLoop() {
	defer close(r.stopped)
	r.index.Encode() // what a snapshot leaves out; searches do without it so long
	for {
		select {
		case g, open := <-r.groups:
			if !open {
				return
			}
			r.applyGroup(g)
		case fn := <-r.inside:
			fn()
		case <-r.backlog.pending():
			r.catchUpStep()
		}
	}
}

func (r *release) applyGroup(g *writeGroup) {
	if err := r.apply(g.mutations, atOnce); err != nil {
		err = fmt.Errorf("apply LSN %d to %d: %w", g.mutations[0].lsn, g.mutations[len(g.mutations)-1].lsn, err)
		r.fail(err)
		for _, w := range g.writes {
			w.finish(err)
		}
		return
	}
	r.visible.Store(uint64(g.mutations[len(g.mutations)-1].lsn))
	r.announce()
	for _, w := range g.writes {
		w.finish(nil)
	}
	r.table.entries.compact(1)
	r.snapshotIfDue()
}

// fail stops the writes of a release whose graph does not have what is durable: going on would serve a view that skips a write.
// Reads keep the last visible state; a restart replays from the log.
func (r *release) fail(err error) {
	r.engine.opts.Logger.Error("collection takes no more writes", "collection", r.cfg.Name, "err", err)
	r.failed.Store(&err)
	r.announce()
}

// linking says when apply changes the graph.
type linking bool

const (
	// atOnce links and deletes before apply returns.
	atOnce linking = false
	// later leaves it to the backlog: searches answer as if it had been done.
	later linking = true
)

// apply brings mutations, which ascend by LSN, into table, index and filters. It is idempotent: an item whose slot already has
// its LSN or a later one is left alone, so replay may start anywhere before the first missing record. A put whose vector the
// item's slot holds already changes the attributes only. Cost, at once: else O(efConstruction * M) distances an upsert, spread
// over all cores.
func (r *release) apply(mutations []mutation, when linking) error {
	r.applies.Add(1)
	defer r.applies.Add(1)
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
		if slot, ok := r.table.slotOf(m.id); ok && (m.keepsVector || r.index.Holds(slot, m.vector)) {
			old := r.table.entries.at(slot).attributes()
			r.table.entries.set(slot, m.id, m.lsn, m.attributes)
			r.filters.Update(slot, old, m.attributes)
			r.expiries.change(slot, attribute.Expiry(old), attribute.Expiry(m.attributes))
			continue
		}
		if m.vector == nil { // of an item that the store has and the table lacks: broken, but not beyond what is stored
			v, err := r.decodeVector(nil, dtypeF32, uint32(r.cfg.Dim), m.row)
			if err != nil {
				return fmt.Errorf("item %q: %w", m.id, err)
			}
			m.vector = v
		}
		slot, err := r.index.Allocate(m.vector)
		if err != nil {
			return fmt.Errorf("item %q: %w", m.id, err)
		}
		// The entry comes before the link: a search translates every slot it can reach. A filter comes before it too, or
		// a replaced item would be missing from both sides for a moment.
		// So does what a search needs to know of an item that moves.
		r.table.entries.set(slot, m.id, m.lsn, m.attributes)
		if old, ok := r.table.slotOf(m.id); ok {
			r.table.replace(old, slot)
		}
		r.filters.Insert(slot, m.attributes)
		puts = append(puts, put{m, slot})
	}
	r.filters.Publish()
	if err := r.link(len(puts), func(i int) uint32 { return puts[i].slot }, when); err != nil {
		return err
	}
	for _, p := range puts {
		old, replaced := r.table.bind(p.m.id, p.slot)
		r.filters.Settle(p.slot)
		r.expiries.add(p.slot, attribute.Expiry(p.m.attributes))
		if replaced {
			if err := r.retireSlot(old, when); err != nil {
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
			r.table.drop(slot)
			if err := r.retireSlot(slot, when); err != nil {
				return fmt.Errorf("delete item %q: %w", m.id, err)
			}
		}
	}
	r.filters.Publish()
	return nil
}

// retireSlot takes a slot that no item has any more out of index, filters and expiries.
func (r *release) retireSlot(slot uint32, when linking) error {
	attributes := r.table.entries.at(slot).attributes()
	r.filters.Remove(slot, attributes)
	r.expiries.drop(slot, attribute.Expiry(attributes))
	if when == later {
		return r.index.Hide(slot)
	}
	return r.index.Delete(slot)
}

// link lets searches find n allocated slots.
func (r *release) link(n int, slot func(i int) uint32, when linking) error {
	if when == later {
		slots := make([]uint32, n)
		for i := range slots {
			slots[i] = slot(i)
		}
		return r.index.Await(slots...)
	}
	var pause func(worker int, more func() bool)
	if r.building.Load() {
		if r.threads != nil && r.threads.Idle() {
			if r.engine.readSince(recently) {
				return r.threads.Each(n, func(_, i int) error { return r.index.Link(slot(i)) })
			}
		} else {
			pause = r.yield
		}
	}
	return parallel(n, pause, func(_, i int) error { return r.index.Link(slot(i)) })
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

// parallel runs fn(worker, 0..n-1) on all cores and returns the first error. pause, unless nil, is called before each, by a worker that
// holds nothing others would have to wait for; more tells it whether there is still something to do. That of worker 0 must return.
func parallel(n int, pause func(worker int, more func() bool), fn func(worker, i int) error) error {
	if pause == nil {
		pause = func(int, func() bool) {}
	}
	workers := min(background.Processors(), n)
	if workers <= 1 {
		for i := range n {
			pause(0, func() bool { return true })
			if err := fn(0, i); err != nil {
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
	more := func() bool { return next.Load() < int64(n) }
	for worker := range workers {
		wg.Go(func() {
			for {
				pause(worker, more)
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := fn(worker, i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return first
}
