package engine

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/hnsw"
)

// An item or a profile may expire. Its time stands in front of its encoded attributes, and so wherever those go: into rows,
// the table, snapshots, and other releases.
//
// What has expired is not there for any read that begins later, because every read compares with the clock: that does not wait
// for anything. The sweep (sweep.go) deletes it afterwards, to give its room back. A search that finds something expired looks
// further; so that it need not look far when much expires at once, what has expired and is not swept yet is also kept as a set
// of slots, which searches leave out as they leave out excluded items.

// ExpiryResolution is what times of expiry are rounded down to.
const ExpiryResolution = time.Microsecond

// micros is the time by the engine's clock, in microseconds since 1970 UTC.
func (e *Engine) micros() int64 { return e.opts.Now().UnixMicro() }

// expiryMicros is a time of expiry as it is kept; 0 is never.
func expiryMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// expiryTime is the inverse of expiryMicros.
func expiryTime(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// expiry checks a time of expiry against the clock.
func (p *problems) expiry(field string, t time.Time, now int64) {
	if !t.IsZero() && t.UnixMicro() <= now {
		p.add(ReasonOutOfRange, field, "must be in the future, is %s", t.UTC().Format(time.RFC3339))
	}
}

// over says whether encoded attributes are of something that has expired.
func over(attributes []byte, now int64) bool {
	at := attribute.Expiry(attributes)
	return at != 0 && at <= now
}

// find returns the slot of an item that is there: not deleted, and not expired.
func (r *release) find(id string) (slot uint32, ok bool) {
	slot, ok = r.table.slotOf(id)
	if !ok {
		return 0, false
	}
	attributes := r.table.entries.at(slot).attributes()
	return slot, attribute.Expiry(attributes) == 0 || !over(attributes, r.engine.micros())
}

// expiries knows which slots hold items that expire.
//
// The applier tells it of every item that gets a slot (add, after the id was bound to it), changes in it, or leaves it (drop,
// after the id was taken from it). collect, which anyone may call, believes a place in the heap only while the slot still holds
// an item of that time. Because it looks and marks under mu, and drop comes after the item has left, no mark outlives the item:
// a slot is reused only when every searcher that could have read its mark has gone.
type expiries struct {
	mu   sync.Mutex // guards the fields below; a leaf
	heap expiryHeap // what will expire, and what would have if it had not changed since
	live int        // items that expire
	due  hnsw.SlotSet

	// To look at without mu: due.Len(), and the time of the first place in the heap; 0 where there is none.
	dueLen, next atomic.Int64
}

// expiryPlace says that the item in slot expires at a time.
type expiryPlace struct {
	at   int64
	slot uint32
}

func (x *expiries) add(slot uint32, at int64) {
	if at == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live++
	heap.Push(&x.heap, expiryPlace{at, slot})
	x.publish()
}

// change says that the item in slot expires at another time.
func (x *expiries) change(slot uint32, from, to int64) {
	if from != to {
		x.drop(slot, from)
		x.add(slot, to)
	}
}

func (x *expiries) drop(slot uint32, at int64) {
	if at == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.live--
	x.due.Remove(slot)
	x.publish()
}

// publish makes what may be looked at without mu agree with the rest. mu is held.
func (x *expiries) publish() {
	x.dueLen.Store(int64(x.due.Len()))
	next := int64(0)
	if len(x.heap) > 0 {
		next = x.heap[0].at
	}
	x.next.Store(next)
}

// collect marks up to most items that have expired as due. It returns false when there are no others.
func (x *expiries) collect(t *table, now int64, most int) (more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.publish()
	if len(x.heap) > 2*x.live+minExpiryHeap {
		x.shrink(t)
	}
	for ; len(x.heap) > 0 && x.heap[0].at <= now; most-- {
		if most == 0 {
			return true
		}
		p, _ := heap.Pop(&x.heap).(expiryPlace)
		if t.expiresAt(p.slot) == p.at {
			x.due.Add(p.slot)
		}
	}
	return false
}

// minExpiryHeap is how long a heap may become before anyone looks for what is stale in it.
const minExpiryHeap = 1024

// shrink takes stale places out of the heap. mu is held.
func (x *expiries) shrink(t *table) {
	kept := x.heap[:0]
	for _, p := range x.heap {
		if t.expiresAt(p.slot) == p.at {
			kept = append(kept, p)
		}
	}
	x.heap = kept
	heap.Init(&x.heap)
}

// reconsider takes the marks back of what has not expired by a clock that was set back.
func (x *expiries) reconsider(t *table, now int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var not []expiryPlace
	for slot := range x.due.All() {
		if at := t.expiresAt(slot); at > now {
			not = append(not, expiryPlace{at, slot})
		}
	}
	for _, p := range not {
		x.due.Remove(p.slot)
		heap.Push(&x.heap, p)
	}
	x.publish()
}

// oldest returns up to most slots that are due.
func (x *expiries) oldest(most int) []uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	slots := make([]uint32, 0, min(most, x.due.Len()))
	for slot := range x.due.All() {
		if len(slots) == most {
			break
		}
		slots = append(slots, slot)
	}
	return slots
}

// expired says whether something is due. A search pays for little of what expires at once; the sweep marks the rest.
func (x *expiries) expired(t *table, now int64) bool {
	if next := x.next.Load(); next != 0 && next <= now {
		x.collect(t, now, searchCollect)
	}
	return x.dueLen.Load() > 0
}

const searchCollect = 256

// removeFrom takes what is due out of a set.
func (x *expiries) removeFrom(allowed *hnsw.SlotSet) {
	x.mu.Lock()
	defer x.mu.Unlock()
	allowed.AndNot(&x.due)
}

// expiresAt returns when the item that has this slot expires; 0 is never, or that no item has it.
func (t *table) expiresAt(slot uint32) int64 {
	e := t.entries.at(slot)
	if e == nil {
		return 0
	}
	at := attribute.Expiry(e.attributes())
	if at == 0 {
		return 0
	}
	if now, ok := t.slotOf(e.id()); !ok || now != slot {
		return 0
	}
	return at
}

// expiryHeap is a heap.Interface, soonest first.
type expiryHeap []expiryPlace

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *expiryHeap) Push(p any) {
	place, _ := p.(expiryPlace) // nothing else is pushed
	*h = append(*h, place)
}

// Pop implements heap.Interface.
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	*h = (*h)[:last]
	return p
}
