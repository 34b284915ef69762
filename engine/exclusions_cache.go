package engine

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
)

// exclusionKey names an exclusion set.
type exclusionKey struct {
	collection uint32
	set        string
}

// exclusionCache keeps exclusion sets that searches used, resolved to slots. An entry takes about 12 bytes: its item's hash and its
// slot. The sets used longest ago go first.
//
// Invariant: a set that is loaded holds what the store holds. A change goes to the store first, then to the set that is cached at that
// moment: a load that began before sees it there, one that begins later in the store.
//
// Lock order: writes, then exclusionSet.mu, then mu.
type exclusionCache struct {
	seed   maphash.Seed
	writes [64]sync.Mutex // by hash of the key: serialise changes of a set; held over disk writes

	mu   sync.Mutex // guards what follows; held for a look
	sets map[exclusionKey]*list.Element
	used list.List // of *exclusionSet, the one used last in front
	held int64     // entries of all sets
}

// exclusionSet is one cached set.
type exclusionSet struct {
	key exclusionKey

	mu    sync.Mutex // guards replacing state; held while the set is read from the store
	state atomic.Pointer[excluded]
	held  int64 // what the cache counts for it; guarded by exclusionCache.mu
}

// excluded is a set as of one version of one release. It never changes once made.
type excluded struct {
	release uint64   // release.serial
	version uint64   // of the release's filters: what moved since is not in slots
	hashes  []uint64 // of the item ids, ascending
	slots   []uint32 // of its items that exist, in no order; nil where dense is set. Never one that its item has left: it may be given away
	dense   *hnsw.SlotSet
	expires int64 // when the first entry expires, microseconds; 0 never
	expired int64 // when the last entry expired that was left out, and would not have been before; 0 none
}

const (
	// maxCachedExclusions bounds the entries of all cached sets: about 120 MB.
	maxCachedExclusions = 10 << 20
	// exclusionSetCost is what a set takes beyond its entries, in entries.
	exclusionSetCost = 32
)

func (e *exclusionCache) init() {
	e.seed = maphash.MakeSeed()
	e.sets = make(map[exclusionKey]*list.Element)
}

func (e *exclusionCache) lockWrites(key exclusionKey) (unlock func()) {
	mu := &e.writes[maphash.Comparable(e.seed, key)%uint64(len(e.writes))]
	mu.Lock()
	return mu.Unlock
}

// set returns the cached set, which is made where there is none.
func (e *exclusionCache) set(key exclusionKey) *exclusionSet {
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := e.sets[key]; at != nil {
		e.used.MoveToFront(at)
		return setOf(at)
	}
	s := &exclusionSet{key: key}
	e.sets[key] = e.used.PushFront(s)
	return s
}

func setOf(at *list.Element) *exclusionSet {
	s, _ := at.Value.(*exclusionSet) // nothing else is in the list
	return s
}

// change applies fn to the state of a set of r's collection, if that is cached and loaded. A state of another release is dropped.
func (e *exclusionCache) change(key exclusionKey, r *release, fn func(x *excluded) *excluded) {
	e.mu.Lock()
	at := e.sets[key]
	e.mu.Unlock()
	if at == nil {
		return
	}
	s := setOf(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch x := s.state.Load(); {
	case x == nil:
	case x.release != r.serial:
		e.keep(s, nil)
	default:
		e.keep(s, fn(x))
	}
}

// keep makes x the state of s and drops what was used longest ago beyond the bound. s.mu is held.
func (e *exclusionCache) keep(s *exclusionSet, x *excluded) {
	s.state.Store(x)
	e.mu.Lock()
	defer e.mu.Unlock()
	if at := e.sets[s.key]; at == nil || setOf(at) != s {
		return // dropped meanwhile
	}
	n := int64(0)
	if x != nil {
		n = int64(len(x.hashes)) + exclusionSetCost
	}
	e.held += n - s.held
	s.held = n
	for e.held > maxCachedExclusions && e.used.Len() > 1 {
		e.drop(setOf(e.used.Back()).key)
	}
}

// drop forgets a set. mu is held.
func (e *exclusionCache) drop(key exclusionKey) {
	if at := e.sets[key]; at != nil {
		e.held -= setOf(at).held
		e.used.Remove(at)
		delete(e.sets, key)
	}
}

// forget drops a set.
func (e *exclusionCache) forget(key exclusionKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(key)
}

func (e *exclusionCache) hash(id string) uint64 { return maphash.String(e.seed, id) }

// add puts items into a set that is loaded.
func (e *exclusionCache) add(key exclusionKey, r *release, ids []string, expires int64) {
	e.change(key, r, func(x *excluded) *excluded {
		y := *x
		y.hashes = slices.Clone(x.hashes)
		for _, id := range ids {
			y.hashes = append(y.hashes, e.hash(id))
		}
		slices.Sort(y.hashes)
		y.hashes = slices.Compact(y.hashes)
		if expires != 0 && (y.expires == 0 || expires < y.expires) {
			y.expires = expires
		}
		return y.withSlots(func(add func(slot uint32)) {
			x.each(add)
			for _, id := range ids {
				if slot, ok := r.table.slotOf(id); ok {
					add(slot)
				}
			}
		})
	})
}

// remove takes items out of a set that is loaded.
func (e *exclusionCache) remove(key exclusionKey, r *release, ids []string) {
	gone := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		gone[e.hash(id)] = true
	}
	e.change(key, r, func(x *excluded) *excluded {
		y := *x
		y.hashes = slices.DeleteFunc(slices.Clone(x.hashes), func(h uint64) bool { return gone[h] })
		return y.withSlots(func(add func(slot uint32)) {
			x.each(func(slot uint32) {
				if !gone[maphash.Bytes(e.seed, r.table.entries.at(slot).idBytes())] {
					add(slot)
				}
			})
		})
	})
}

// excluded returns a set as it is now, for the slots of r. Cost: a look where nothing changed; else by what moved; the first time, and
// once entries expire, a read of the set from the store.
func (r *release) excluded(ctx context.Context, set string) (*excluded, error) {
	e, key := &r.engine.exclusions, exclusionKey{r.rows.ID(), set}
	s := e.set(key)
	now := r.engine.micros()
	if x := s.state.Load(); x.current(r, now) {
		return x, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.state.Load()
	if x.current(r, now) {
		return x, nil
	}
	if x != nil && x.release == r.serial && !x.over(now) {
		if moved, version, ok := r.filters.Moved(x.version); ok {
			x = r.advanceExcluded(x, moved, version)
			e.keep(s, x)
			return x, nil
		}
	}
	x, err := r.loadExclusions(ctx, set, now)
	if err != nil {
		return nil, err
	}
	e.keep(s, x)
	return x, nil
}

// loadExclusions reads a set from the store.
func (r *release) loadExclusions(ctx context.Context, set string, now int64) (*excluded, error) {
	x := &excluded{release: r.serial, version: r.filters.Version()} // before the first look into the table
	var slots []uint32
	for row, err := range r.engine.store.Exclusions(r.rows.ID(), set, "", 0) {
		if err != nil {
			return nil, fmt.Errorf("read exclusion set %q: %w", clip(set), err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if row.ExpireTime != 0 {
			if row.ExpireTime <= now {
				x.expired = max(x.expired, row.ExpireTime)
				continue
			}
			if x.expires == 0 || row.ExpireTime < x.expires {
				x.expires = row.ExpireTime
			}
		}
		x.hashes = append(x.hashes, r.engine.exclusions.hash(row.ItemID))
		if slot, ok := r.table.slotOf(row.ItemID); ok {
			slots = append(slots, slot)
		}
	}
	slices.Sort(x.hashes)
	return x.withSlots(func(add func(slot uint32)) {
		for _, s := range slots {
			add(s)
		}
	}), nil
}

// current says whether x is of r, holds every write that is visible, and no expired entry.
func (x *excluded) current(r *release, now int64) bool {
	return x != nil && x.release == r.serial && x.version == r.filters.Version() && !x.over(now)
}

// over says whether other entries have expired now; also fewer, where the clock was set back.
func (x *excluded) over(now int64) bool { return x.expires != 0 && x.expires <= now || now < x.expired }

// advanceExcluded returns x after slots moved. A searcher is held since before: a slot that was live has had one item only.
func (r *release) advanceExcluded(x *excluded, moved []filter.Move, version uint64) *excluded {
	y := *x
	y.version = version
	if len(moved) == 0 {
		return &y
	}
	now := make(map[uint32]bool, len(moved)) // slot -> whether an excluded item has it
	for _, m := range moved {
		now[m.Slot] = m.Live && x.holds(&r.engine.exclusions, r.table.entries.at(m.Slot).idBytes())
	}
	if x.dense != nil {
		y.dense = x.dense.Clone()
		for slot, is := range now {
			if is {
				y.dense.Add(slot)
			} else {
				y.dense.Remove(slot)
			}
		}
		return &y
	}
	y.slots = slices.DeleteFunc(slices.Clone(x.slots), func(slot uint32) bool { _, moved := now[slot]; return moved })
	for slot, is := range now {
		if is {
			y.slots = append(y.slots, slot)
		}
	}
	return &y
}

// each calls fn with every slot.
func (x *excluded) each(fn func(slot uint32)) {
	for _, s := range x.slots {
		fn(s)
	}
	if x.dense != nil {
		for s := range x.dense.All() {
			fn(s)
		}
	}
}

// withSlots sets the slots of x to those that fill adds, as a list or, where that takes four times as much or is no longer than
// it, as a bitmap.
func (x *excluded) withSlots(fill func(add func(slot uint32))) *excluded {
	x.slots, x.dense = nil, nil
	var list []uint32
	fill(func(slot uint32) { list = append(list, slot) })
	if len(list) == 0 {
		return x
	}
	highest := slices.MaxFunc(list, cmp.Compare[uint32])
	if 4*4*len(list) < int(highest)/8 {
		x.slots = list
		return x
	}
	x.dense = hnsw.NewSlotSet(int(highest) + 1)
	for _, s := range list {
		x.dense.Add(s)
	}
	return x
}

// removeFrom takes the excluded slots out of allowed.
func (x *excluded) removeFrom(allowed *hnsw.SlotSet) {
	for _, s := range x.slots {
		allowed.Remove(s)
	}
	if x.dense != nil {
		allowed.AndNot(x.dense)
	}
}

// holds says whether an item is in the set.
func (x *excluded) holds(e *exclusionCache, id []byte) bool {
	_, ok := slices.BinarySearch(x.hashes, maphash.Bytes(e.seed, id))
	return ok
}
