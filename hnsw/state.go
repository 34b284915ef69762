package hnsw

import "sync/atomic"

// The word parents[slot] says where in its life a slot is. A live slot's word is its parent: the slot next to it on the way
// to the root of the tree of links (see doc.go), and the root's own word is the root. Any other state is a value that no
// slot can have.
//
//	free -> allocated -> linking -> live -> limbo -> free
//
// allocMu guards free -> allocated and limbo -> free, a compare-and-swap makes allocated -> linking, and the committer does
// the rest. A slot that was never allocated has no state.
const (
	stateFree      uint32 = 1<<32 - 1 - iota // holds nothing
	stateAllocated                           // holds a vector; waits for Link
	stateLinking                             // a Link is on its way
	stateLimbo                               // deleted; some reader may stand on it
)

func (x *Index) loadParent(slot uint32) uint32 { return atomic.LoadUint32(&x.parents[slot]) }

// setParent changes the word of a slot that is or becomes live, or stops being so. The caller holds mu.
func (x *Index) setParent(slot, to uint32) {
	x.preserve(sectionParents, slot)
	atomic.StoreUint32(&x.parents[slot], to)
}

// setState changes the state of a slot that is not live, and of which no open snapshot needs the parent.
func (x *Index) setState(slot, to uint32) { atomic.StoreUint32(&x.parents[slot], to) }

// isTreeLink reports whether the link u-v is an edge of the tree of links, which may not be dropped. The caller holds mu.
func (x *Index) isTreeLink(u, v uint32) bool { return x.loadParent(u) == v || x.loadParent(v) == u }
