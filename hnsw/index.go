package hnsw

import (
	"sync"
	"sync/atomic"
)

const (
	// nilSlot ends a row of links.
	nilSlot = 1<<32 - 1
	// noEntry is the entry point of an empty index.
	noEntry = 1<<64 - 1

	// minLinks is Index.minLinks, but under InnerProduct it is 1: there one-way links take the place of the others.
	minLinks = 4

	// cachePad separates words that different goroutines write; processors fetch cache lines in pairs.
	cachePad = 128
)

// Index is an HNSW graph over vectors in slots. See the package documentation for its rules.
//
// All methods are safe for concurrent use. Searchers never wait for anybody.
type Index struct {
	o      Options
	stride int // components of a vector row: Dim padded to whole cache lines, the pad zero
	m, m0  int // link words of a row above level 0 and on it
	levels [maxLevel]uint64

	forced Plan // of filtered searches, for tests; 0: by cost

	oneWayLinks bool // rows can hold one-way links; see links.go
	minLinks    int  // fewest two-way links of a live node on level 0, where there are that many other nodes

	mem     *arenas
	vectors vectors
	links0  []uint32 // row of slot s at s*m0
	upper   []uint32 // row of slot s on level l at (upperAt[s]+l-1)*m
	upperAt []uint32 // written once, when the slot is first allocated
	parents []uint32 // parent of a live slot in the tree of links, else a slot state; see state.go
	live    []uint64 // bit of slot s: searches may return s

	codes atomic.Pointer[codes] // 7-bit codes that walks read; nil in a small index; see codes.go

	_ [cachePad]byte

	entry     atomic.Uint64 // level<<32 | slot of the node every search starts from, or noEntry
	searchers atomic.Pointer[[]*Searcher]
	closed    atomic.Bool

	_ [cachePad]byte

	slots     atomic.Uint32 // slots ever allocated: 0..slots-1
	liveCount atomic.Int64
	deaths    atomic.Pointer[death]   // the last; see deaths.go
	epoch     atomic.Uint64           // advances with every deletion; see reclaim.go
	backlog   atomic.Pointer[backlog] // nil: none; see backlog.go
	commits   atomic.Uint64           // links committed; recent[i%len] is the i-th
	links     atomic.Int64            // links of live nodes on level 0, of both kinds
	distances atomic.Uint64           // distances computed by Link and Delete

	_ [cachePad]byte

	// mu is the committer: its holder alone writes links, parents of live slots, the live bits, the entry point, recent,
	// the limbo, the codec, the backlog and snapshot.
	mu       sync.Mutex
	c        committer
	recent   [recentLinks]uint32
	limbo    limbo
	fit      fitting
	catchUp  catchUp
	snapshot *Snapshot

	// allocMu guards what allocation needs. Lock order: mu, then allocMu.
	allocMu   sync.Mutex
	free      []uint32
	upperNext uint32
	holdFree  bool   // a snapshot is open: no slot is reused
	extended  uint32 // slots that Options.Vectors was extended for

	// growMu guards the growth of searchers.
	growMu sync.Mutex
}

// New returns an empty index. It reserves address space for o.MaxSlots slots, and touches almost none of it. Where it fails,
// o.Vectors stays the caller's.
//
// Errors: a join of *OptionError; ErrReservation.
func New(o Options) (*Index, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	stride := o.Precision.stride(o.Dim)
	mem, err := reserveArenas(&o)
	if err != nil {
		return nil, err
	}
	x := &Index{
		o: o, stride: stride, m: o.M, m0: 2 * o.M, levels: levelThresholds(o.M),
		oneWayLinks: o.Metric == InnerProduct,
		mem:         mem, vectors: vectors{stride, mem.vectors.rows, mem.halves.rows}, links0: mem.links0.rows, upper: mem.upper.rows,
		upperAt: mem.upperAt.rows, parents: mem.parents.rows, live: mem.live.rows,
	}
	x.minLinks = minLinks
	if x.oneWayLinks {
		x.minLinks = 1
	}
	x.entry.Store(noEntry)
	x.epoch.Store(1)
	x.deaths.Store(new(death))
	x.searchers.Store(new([]*Searcher))
	x.c.init(x)
	x.fit.at = fitAt
	return x, nil
}

// Options returns the options in effect: defaults filled in, MaxSlots as it was granted.
func (x *Index) Options() Options { return x.o }

// Len returns the number of live vectors.
func (x *Index) Len() int { return int(x.liveCount.Load()) }

// Slots returns one more than the highest slot that was ever allocated.
func (x *Index) Slots() int { return int(x.slots.Load()) }

// Close gives the memory back as soon as the last searcher and the open snapshot have been released. Every call that
// starts after Close fails with ErrClosed. Closing twice is harmless. It does not wait.
func (x *Index) Close() error {
	x.closed.Store(true)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unmapIfUnused()
	return nil
}

// unmapIfUnused gives the memory of a closed index back if nobody can touch it any more. The caller holds mu.
//
// Whoever uses the memory without mu has first taken a searcher or registered as an allocation, and then found the index
// open; so once closed is set and none is found here, none can come.
func (x *Index) unmapIfUnused() {
	if x.mem == nil || x.snapshot != nil || x.oldestEpoch() != noEpoch {
		return
	}
	x.mem.release()
	x.mem = nil
	x.releaseCodes()
	if given := x.o.Vectors; given != nil && given.Release != nil {
		given.Release()
	}
}

// isLive reports whether searches may return slot. It is safe without a lock; slot must be below the reserved count.
func (x *Index) isLive(slot uint32) bool {
	return atomic.LoadUint64(&x.live[slot>>6])>>(slot&63)&1 != 0
}

// setLive changes the live bit of slot. The caller holds mu.
func (x *Index) setLive(slot uint32, live bool) {
	w, bit := &x.live[slot>>6], uint64(1)<<(slot&63)
	if live {
		atomic.StoreUint64(w, *w|bit)
		x.liveCount.Add(1)
	} else {
		atomic.StoreUint64(w, *w&^bit)
		x.liveCount.Add(-1)
	}
}

func packEntryPoint(slot uint32, level int) uint64 { return uint64(level)<<32 | uint64(slot) }

func unpackEntryPoint(e uint64) (slot uint32, level int) { return uint32(e), int(e >> 32) }
