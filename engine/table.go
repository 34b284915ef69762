package engine

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// table is the border between item ids and slots: id -> slot, and slot -> entry (id, LSN, attributes).
//
// Neither direction holds a Go pointer per item, so the garbage collector sees a handful of large objects
// whatever the number of items: ids live in the entry arena, the id -> slot map is open addressing over
// packed words that compare ids through the arena.
//
// Concurrency: one writer (the applier); any number of readers.
type table struct {
	seed    maphash.Seed
	shards  [tableShards]idShard
	entries entryArena
}

const tableShards = 64

// idShard is one open-addressing map with linear probing and backward-shift deletion.
// A word is hash tag (high 32 bits) and slot+1 (low 32 bits); zero is empty.
type idShard struct {
	mu    sync.RWMutex // guards words and n
	words []uint64     // length is a power of two, load <= 3/4
	n     int
	_     [64]byte
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	t.entries.init()
	return t
}

func (t *table) hash(id string) (shard *idShard, tag uint32) {
	h := maphash.String(t.seed, id)
	return &t.shards[h>>58&(tableShards-1)], uint32(h)
}

// slotOf returns the slot of a live item. O(1), no allocation.
func (t *table) slotOf(id string) (uint32, bool) {
	s, tag := t.hash(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, ok := s.find(t, id, tag); ok {
		return uint32(s.words[i]) - 1, true
	}
	return 0, false
}

func (s *idShard) find(t *table, id string, tag uint32) (int, bool) {
	if len(s.words) == 0 {
		return 0, false
	}
	mask := len(s.words) - 1
	for i := int(tag) & mask; s.words[i] != 0; i = (i + 1) & mask {
		if uint32(s.words[i]>>32) == tag && t.entries.at(uint32(s.words[i])-1).hasID(id) {
			return i, true
		}
	}
	return 0, false
}

// bind makes slot the slot of id and returns the slot it replaces. The entry of slot must be set already.
func (t *table) bind(id string, slot uint32) (old uint32, replaced bool) {
	s, tag := t.hash(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	word := uint64(tag)<<32 | uint64(slot+1)
	if i, ok := s.find(t, id, tag); ok {
		old = uint32(s.words[i]) - 1
		s.words[i] = word
		return old, true
	}
	if 4*(s.n+1) > 3*len(s.words) {
		s.grow()
	}
	s.insert(word)
	s.n++
	return 0, false
}

// bindFirst makes slot the slot of e's item, and reports whether the item is bound already. Many goroutines may call it, and
// nothing else that writes.
func (t *table) bindFirst(e entry, slot uint32) (again bool) {
	h := maphash.Bytes(t.seed, e.idBytes())
	s, tag := &t.shards[h>>58&(tableShards-1)], uint32(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if 4*(s.n+1) > 3*len(s.words) {
		s.grow()
	}
	mask := len(s.words) - 1
	i := int(tag) & mask
	for ; s.words[i] != 0; i = (i + 1) & mask {
		if uint32(s.words[i]>>32) == tag && bytes.Equal(t.entries.at(uint32(s.words[i])-1).idBytes(), e.idBytes()) {
			return true
		}
	}
	s.words[i] = uint64(tag)<<32 | uint64(slot+1)
	s.n++
	return false
}

// unbind forgets id and returns the slot it had.
func (t *table) unbind(id string) (uint32, bool) {
	s, tag := t.hash(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.find(t, id, tag)
	if !ok {
		return 0, false
	}
	slot := uint32(s.words[i]) - 1
	mask := len(s.words) - 1
	for j := (i + 1) & mask; s.words[j] != 0; j = (j + 1) & mask {
		home := int(s.words[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask { // word j may stand at i without leaving its probe run
			s.words[i], i = s.words[j], j
		}
	}
	s.words[i] = 0
	s.n--
	return slot, true
}

func (s *idShard) insert(word uint64) {
	mask := len(s.words) - 1
	i := int(word>>32) & mask
	for s.words[i] != 0 {
		i = (i + 1) & mask
	}
	s.words[i] = word
}

// reserve makes an empty shard large enough for about n ids.
func (s *idShard) reserve(n int) {
	size := 16
	for 3*size < 4*(n+n/16) {
		size *= 2
	}
	s.words = make([]uint64, size)
}

func (s *idShard) grow() {
	old := s.words
	s.words = make([]uint64, max(16, 2*len(old)))
	for _, w := range old {
		if w != 0 {
			s.insert(w)
		}
	}
}

// len returns the number of bound ids.
func (t *table) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += s.n
		s.mu.RUnlock()
	}
	return n
}

// each calls fn for every bound slot in no particular order, holding a shard's read lock: fn must not bind or unbind.
func (t *table) each(fn func(slot uint32)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, w := range s.words {
			if w != 0 {
				fn(uint32(w) - 1)
			}
		}
		s.mu.RUnlock()
	}
}

// What becomes of the item in a slot: nothing yet, another slot (which plus one), or it is deleted.
const (
	itemStays   = 0
	itemDeleted = 1<<32 - 1
)

// replace notes that the item in slot old gets slot by. It comes before by can be found, and so before bind.
func (t *table) replace(old, by uint32) { t.entries.next(old).Store(by + 1) }

// drop notes that the item in slot is deleted, which unbind has done.
func (t *table) drop(slot uint32) { t.entries.next(slot).Store(itemDeleted) }

// stale reports whether a slot that a search found does not stand for its item: because that is deleted, or has been given another
// slot that was found too. Of the slots of one item that are among those found it leaves exactly the last, also while the item moves:
// whoever has found a slot sees that it replaced the one before. Without a later one the old slot stands; it was the item's when
// the search began. The caller holds the searcher, so no slot on the way has been reused.
func (t *table) stale(slot uint32, found func(slot uint32) bool) bool {
	for {
		next := t.entries.next(slot).Load()
		switch {
		case next == itemStays:
			return false
		case next == itemDeleted || found(next-1):
			return true
		}
		slot = next - 1
	}
}

// bytes returns the memory held: map words, offsets and arena.
func (t *table) bytes() int64 {
	total := t.entries.bytes()
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		total += int64(len(s.words)) * 8
		s.mu.RUnlock()
	}
	return total
}

// entry is one slot's record in the arena:
//
//	slot u32 | size u32 | LSN u64 | id length u16 | id | attributes
//
// size counts the whole entry. Its bytes never change once published.
type entry []byte

const (
	entryPrefix = 4 + 4 // what a row of sectionItems does not have
	entryHeader = entryPrefix + 8 + 2
)

func (e entry) slot() uint32       { return binary.LittleEndian.Uint32(e) }
func (e entry) size() int          { return int(binary.LittleEndian.Uint32(e[4:])) }
func (e entry) lsn() LSN           { return LSN(binary.LittleEndian.Uint64(e[8:])) }
func (e entry) idLen() int         { return int(binary.LittleEndian.Uint16(e[16:])) }
func (e entry) idBytes() []byte    { return e[entryHeader : entryHeader+e.idLen()] }
func (e entry) id() string         { return string(e.idBytes()) }
func (e entry) attributes() []byte { return e[entryHeader+e.idLen():] }

// touch reads a byte of each line of the id and the attributes that come first, so that their cache misses overlap with others.
func (e entry) touch() (b byte) {
	for at := 64; at < min(len(e), 256); at += 64 {
		b |= e[at]
	}
	return b
}

func (e entry) hasID(id string) bool {
	return e != nil && string(e.idBytes()) == id
}

// entryArena is a log of entries in chunks, and the offset of each slot's newest entry. An overwritten
// entry is garbage; a chunk that is mostly garbage is rewritten to the head and dropped, and Go's
// collector frees it when the last reader lets go of its bytes.
//
// Invariant: chunk indexes are never used twice, so an offset read before a chunk was dropped finds nil
// and is read again.
type entryArena struct {
	chunks  atomic.Pointer[[]*entryChunk]
	offsets atomic.Pointer[[]*offsetPage]
	head    int   // index of the chunk that takes new entries; -1 before the first
	held    int64 // bytes of all chunks; atomic access
}

type entryChunk struct {
	data []byte
	used int // bytes taken; writer only
	live int // bytes of entries that are some slot's newest; writer only
}

// offsetPage is what is known of 64 Ki slots.
type offsetPage struct {
	entry [offsetPageSlots]atomic.Uint64 // chunk index+1 (high 32 bits) and byte offset (low 32); zero is none
	next  [offsetPageSlots]atomic.Uint32 // what becomes of its item; see table.stale
}

const (
	offsetPageSlots = 1 << 16
	entryChunkBytes = 1 << 20
)

func (a *entryArena) init() {
	a.head = -1
	a.chunks.Store(new([]*entryChunk))
	a.offsets.Store(new([]*offsetPage))
}

// at returns the entry of slot, or nil. The bytes stay valid as long as the caller holds them.
func (a *entryArena) at(slot uint32) entry {
	pages := *a.offsets.Load()
	p := int(slot / offsetPageSlots)
	if p >= len(pages) {
		return nil
	}
	for {
		off := pages[p].entry[slot%offsetPageSlots].Load()
		if off == 0 {
			return nil
		}
		c := (*a.chunks.Load())[off>>32-1]
		if c == nil {
			continue // compacted since: the offset has moved
		}
		e := entry(c.data[uint32(off):])
		return e[:e.size()]
	}
}

// touch reads what at and next will read of slot, which has or had an entry, but for the entry itself.
func (a *entryArena) touch(slot uint32) {
	page := (*a.offsets.Load())[slot/offsetPageSlots]
	page.entry[slot%offsetPageSlots].Load()
	page.next[slot%offsetPageSlots].Load()
}

// next returns what becomes of the item in slot, which has or had an entry.
func (a *entryArena) next(slot uint32) *atomic.Uint32 {
	return &(*a.offsets.Load())[slot/offsetPageSlots].next[slot%offsetPageSlots]
}

// set writes the entry of slot, whose item stays there. One writer.
func (a *entryArena) set(slot uint32, id string, lsn LSN, attributes []byte) {
	e := a.reserve(slot, entryHeader+len(id)+len(attributes))
	binary.LittleEndian.PutUint32(e, slot)
	binary.LittleEndian.PutUint32(e[4:], uint32(len(e)))
	binary.LittleEndian.PutUint64(e[8:], uint64(lsn))
	binary.LittleEndian.PutUint16(e[16:], uint16(len(id)))
	copy(e[entryHeader:], id)
	copy(e[entryHeader+len(id):], attributes)
	a.next(slot).Store(itemStays)
	a.publish(slot, e)
}

// reserve returns room of n bytes at the head.
func (a *entryArena) reserve(slot uint32, n int) entry {
	chunks := *a.chunks.Load()
	if a.head < 0 || chunks[a.head].used+n > len(chunks[a.head].data) {
		chunks = append(chunks, &entryChunk{data: make([]byte, max(entryChunkBytes, n))})
		atomic.AddInt64(&a.held, int64(len(chunks[len(chunks)-1].data)))
		a.head = len(chunks) - 1
		a.chunks.Store(&chunks)
	}
	pages := *a.offsets.Load()
	if p := int(slot / offsetPageSlots); p >= len(pages) {
		for len(pages) <= p {
			pages = append(pages, new(offsetPage))
		}
		a.offsets.Store(&pages)
	}
	c := chunks[a.head]
	return c.data[c.used : c.used+n : c.used+n]
}

// reserveLoad makes an empty arena ready for chunks of a snapshot and the entries of slots.
func (a *entryArena) reserveLoad(slots uint32, chunks int) {
	pages := make([]*offsetPage, (int(slots)+offsetPageSlots-1)/offsetPageSlots)
	for i := range pages {
		pages[i] = new(offsetPage)
	}
	list := make([]*entryChunk, chunks)
	a.chunks.Store(&list)
	a.offsets.Store(&pages)
}

// addLoaded makes c chunk n. Different chunks may come concurrently, each before its entries.
func (a *entryArena) addLoaded(n int, c *entryChunk) {
	(*a.chunks.Load())[n] = c
	atomic.AddInt64(&a.held, int64(len(c.data)))
}

// putLoaded appends the entry of slot to chunk n, which has room; row is the entry without slot and size.
func (a *entryArena) putLoaded(n int, c *entryChunk, slot uint32, row []byte) entry {
	e := entry(c.data[c.used : c.used+entryPrefix+len(row)])
	binary.LittleEndian.PutUint32(e, slot)
	binary.LittleEndian.PutUint32(e[4:], uint32(len(e)))
	copy(e[entryPrefix:], row)
	(*a.offsets.Load())[slot/offsetPageSlots].entry[slot%offsetPageSlots].Store(uint64(n+1)<<32 | uint64(c.used))
	c.used += len(e)
	c.live = c.used
	return e
}

// publish makes e, just written at the head, the entry of slot.
func (a *entryArena) publish(slot uint32, e entry) {
	chunks := *a.chunks.Load()
	c := chunks[a.head]
	word := uint64(a.head+1)<<32 | uint64(c.used)
	c.used += len(e)
	c.live += len(e)
	old := (*a.offsets.Load())[slot/offsetPageSlots].entry[slot%offsetPageSlots].Swap(word)
	if old != 0 {
		oc := chunks[old>>32-1]
		oc.live -= entry(oc.data[uint32(old):]).size()
	}
}

// compact rewrites up to max chunks that are at least half garbage. The applier calls it between groups.
func (a *entryArena) compact(most int) {
	for i, c := range *a.chunks.Load() {
		if most == 0 {
			return
		}
		if c == nil || i == a.head || 2*c.live > c.used {
			continue
		}
		most--
		for at := 0; at < c.used; {
			e := entry(c.data[at:])
			e = e[:e.size()]
			word := uint64(i+1)<<32 | uint64(at)
			at += len(e)
			if (*a.offsets.Load())[e.slot()/offsetPageSlots].entry[e.slot()%offsetPageSlots].Load() == word {
				moved := a.reserve(e.slot(), len(e))
				copy(moved, e)
				a.publish(e.slot(), moved)
			}
		}
		chunks := append([]*entryChunk(nil), *a.chunks.Load()...)
		chunks[i] = nil
		atomic.AddInt64(&a.held, -int64(len(c.data)))
		a.chunks.Store(&chunks)
	}
}

func (a *entryArena) bytes() int64 {
	return atomic.LoadInt64(&a.held) + int64(len(*a.offsets.Load()))*offsetPageSlots*(8+4)
}
