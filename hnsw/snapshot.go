package hnsw

import (
	"encoding/binary"
	"math"
	"sort"
	"sync"
	"sync/atomic"
)

// Snapshot is the image of the index at the instant BeginSnapshot returned, while searches, inserts and deletions go on.
//
// Vectors of live slots never change, and no slot is reused while a snapshot is open, so vectors are read in place. Of the
// sections that commits write, a slab is put aside before a commit first writes to it (copy on write); so the snapshot
// costs the memory of the slabs that are touched, a commit waits for one copy of a slab at most each, and searchers wait for
// nothing.
//
// The methods are safe for concurrent use.
type Snapshot struct {
	x      *Index
	image  image
	shapes [sectionCount]shape
	live   []uint64 // copy of the live bits

	// mu guards closed, and a slab's passage from in place to aside: readers of a slab hold it shared, so that it does not
	// change nor go away under them. It is taken after Index.mu.
	mu     sync.RWMutex
	closed bool
	// aside[s][n] is slab n of written section s as it was, or nil while no commit has touched it. The committer alone
	// sets it, holding both mutexes.
	aside [writtenSections][][]uint32
}

// BeginSnapshot opens the snapshot of the index as it is when it returns. Errors: ErrSnapshotOpen; ErrBacklog where
// slots wait or are hidden, which an image cannot say; ErrClosed. Cost: copies
// one bit a slot; writers wait meanwhile.
//
// While the snapshot is open deleted slots are not reused, so a full index may stay full: Close it soon.
func (x *Index) BeginSnapshot() (*Snapshot, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed.Load() {
		return nil, ErrClosed
	}
	if x.snapshot != nil {
		return nil, ErrSnapshotOpen
	}
	if x.backlog.Load() != nil {
		return nil, ErrBacklog
	}
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	x.holdFree = true
	s := &Snapshot{
		x: x,
		image: image{
			dim: x.o.Dim, m: x.m, efConstruction: x.o.EfConstruction, metric: x.o.Metric, precision: x.o.Precision, seed: x.o.Seed,
			slots: x.slots.Load(), upper: x.upperNext, live: uint32(x.Len()), entry: x.entry.Load(),
		},
	}
	c := x.codes.Load()
	if c == nil {
		c = x.fit.due
	}
	if c != nil {
		s.image.codec, s.image.nibbles, s.image.fitted = c.codec, c.nibbles, uint32(x.fit.live)
	}
	s.live = append(s.live, x.live[:(s.image.slots+63)/64]...)
	for id := range sectionCount {
		s.shapes[id] = s.image.shape(id)
	}
	for id := range writtenSections {
		s.aside[id] = make([][]uint32, s.shapes[id].slabs())
	}
	x.snapshot = s
	return s, nil
}

// Close ends the snapshot and lets slots be reused again. Closing twice is harmless.
func (s *Snapshot) Close() {
	x := s.x
	x.mu.Lock()
	defer x.mu.Unlock()
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.aside = [writtenSections][][]uint32{}
	s.mu.Unlock()
	if closed {
		return
	}
	x.snapshot = nil
	x.allocMu.Lock()
	x.holdFree = false
	x.allocMu.Unlock()
	if x.closed.Load() {
		x.unmapIfUnused()
		return
	}
	x.reclaim()
}

// Header returns the header of the image: all that NewRestorer needs to know.
func (s *Snapshot) Header() []byte { return s.image.appendHeader(nil) }

// Sections describes the sections of the image.
func (s *Snapshot) Sections() []Section { return s.image.sections() }

// Slots returns the number of slots in the image. Slots beyond did not exist yet.
func (s *Snapshot) Slots() uint32 { return s.image.slots }

// Live reports whether slot was live when the snapshot began.
func (s *Snapshot) Live(slot uint32) bool {
	return slot < s.image.slots && s.live[slot>>6]>>(slot&63)&1 != 0
}

// AppendSlab appends slab n of a section to dst: about half a megabyte, or less. The same slab gives the same bytes every
// time. Errors: *FormatError if there is no such slab, ErrClosed.
func (s *Snapshot) AppendSlab(dst []byte, section string, n int) ([]byte, error) {
	id, h, err := s.image.find(section, n)
	if err != nil {
		return dst, err
	}
	from, to := h.slab(n)
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.closed:
		return dst, ErrClosed
	case id == sectionVectors:
		return s.appendVectors(dst, from, to), nil
	case id == sectionLive:
		for _, w := range s.live[from:to] {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
		return dst, nil
	case s.aside[id][n] != nil:
		return s.appendRows(dst, id, s.aside[id][n], from, from, to), nil
	default:
		return s.appendRows(dst, id, s.x.section(id), 0, from, to), nil
	}
}

// appendRows appends rows from..to of a written section. words begins with row first; rows of slots that were not live are
// written as empty.
func (s *Snapshot) appendRows(dst []byte, id sectionID, words []uint32, first, from, to int) []byte {
	width := s.shapes[id].rowBytes / 4
	slot := uint32(from)
	if id == sectionUpper {
		slot = s.x.upperOwner(from, s.image.slots)
	}
	for r := from; r < to; r++ {
		row := words[(r-first)*width : (r-first+1)*width]
		live := s.Live(slot)
		for i := range row {
			w := uint32(nilSlot)
			if live {
				w = atomic.LoadUint32(&row[i])
			}
			dst = binary.LittleEndian.AppendUint32(dst, w)
		}
		if id != sectionUpper {
			slot++
		} else if r+1 < to {
			slot = s.x.upperOwner(r+1, s.image.slots)
		}
	}
	return dst
}

// upperOwner returns the slot, of the first slots, that has an upper row.
func (x *Index) upperOwner(row int, slots uint32) uint32 {
	// upperAt ascends, and a slot without upper rows stands where the next one's begin: the owner is the last slot that
	// begins at the row or before.
	return uint32(sort.Search(int(slots), func(i int) bool { return int(x.upperAt[i]) > row })) - 1
}

func (s *Snapshot) appendVectors(dst []byte, from, to int) []byte {
	v, zeros := &s.x.vectors, make([]byte, s.shapes[sectionVectors].rowBytes)
	for slot := from; slot < to; slot++ {
		at := slot * v.stride
		switch {
		case !s.Live(uint32(slot)):
			dst = append(dst, zeros...)
		case v.half != nil:
			for _, h := range v.half[at : at+s.image.dim] {
				dst = binary.LittleEndian.AppendUint16(dst, h)
			}
		default:
			for _, c := range v.full[at : at+s.image.dim] {
				dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(c))
			}
		}
	}
	return dst
}

// section returns the words of a section that commits write.
func (x *Index) section(id sectionID) []uint32 {
	switch id {
	case sectionLinks:
		return x.links0
	case sectionUpper:
		return x.upper
	default:
		return x.parents
	}
}

// preserve puts the slab of a row aside if a snapshot is open that has it and has not done so. The caller holds mu and is
// about to write the row.
func (x *Index) preserve(id sectionID, row uint32) {
	if x.snapshot != nil {
		x.snapshot.preserve(id, int(row))
	}
}

func (s *Snapshot) preserve(id sectionID, row int) {
	h := &s.shapes[id]
	if row >= h.rows || s.aside[id][row/h.slabRows] != nil {
		return
	}
	n := row / h.slabRows
	from, to := h.slab(n)
	width := h.rowBytes / 4
	words := s.x.section(id)[from*width : to*width]
	copied := make([]uint32, len(words))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range words {
		copied[i] = atomic.LoadUint32(&words[i])
	}
	s.aside[id][n] = copied
}
