package hnsw

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/distance"
)

// RestoreOptions are what an image does not say.
type RestoreOptions struct {
	// MaxSlots is Options.MaxSlots of the restored index; 0 means the default. Images with more slots are refused.
	MaxSlots int
	// Vectors is Options.Vectors of the restored index.
	Vectors *Memory
	// LateCodes leaves the codes that walks read to Index.Encode. Until then walks read the vectors.
	LateCodes bool
	// VectorsApart says that vectors come with PutVector: the image has no section of them.
	VectorsApart bool
}

// Restorer builds an index from an image. The image is not trusted: a slab with an impossible length, slot, level or
// component is refused, and nothing is allocated that a header of a few bytes could blow up beyond MaxSlots.
type Restorer struct {
	image image
	late  bool // RestoreOptions.LateCodes
	x     *Index
	apart *apart // RestoreOptions.VectorsApart; else nil
	// done[s][n] is set once slab n of section s is put.
	done [sectionCount][]atomic.Bool
}

// NewRestorer begins an index as the header describes it.
//
// Errors, after which o.Vectors stays the caller's: *FormatError; *OptionError if MaxSlots is too small for the image, or
// Vectors for MaxSlots; ErrReservation; that of Memory.Extend.
func NewRestorer(header []byte, o RestoreOptions) (*Restorer, error) {
	g, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if o.MaxSlots == 0 {
		o.MaxSlots = defaultMaxSlots
	}
	if o.MaxSlots < int(g.slots) {
		return nil, &OptionError{Field: "MaxSlots", Value: o.MaxSlots, Low: int(g.slots), High: maxSlots}
	}
	options := g.options(o.MaxSlots)
	options.Vectors = o.Vectors
	x, err := New(options)
	if err != nil {
		return nil, err
	}
	r := &Restorer{image: g, x: x, late: o.LateCodes}
	if err := r.layOut(); err != nil {
		x.o.Vectors = nil // stays the caller's
		r.Close()
		return nil, err
	}
	for id := range sectionCount {
		h := g.shape(id)
		r.done[id] = make([]atomic.Bool, h.slabs())
	}
	if o.VectorsApart {
		r.apart = &apart{put: make([]atomic.Uint64, (g.slots+63)/64)}
		r.done[sectionVectors] = nil
	}
	return r, nil
}

// layOut gives every slot its upper rows.
func (r *Restorer) layOut() error {
	x, g := r.x, &r.image
	if x.o.MaxSlots < int(g.slots) || int(g.upper)*x.m > len(x.upper) {
		return ErrReservation
	}
	upper := uint32(0)
	for slot := range g.slots {
		x.upperAt[slot] = upper
		upper += uint32(x.level(slot))
	}
	if upper != g.upper {
		return &FormatError{Problem: fmt.Sprintf("%d upper rows, where the levels of %d slots have %d", g.upper, g.slots, upper)}
	}
	if err := x.extend(g.slots); err != nil {
		return err
	}
	x.upperNext = upper
	x.slots.Store(g.slots)
	return nil
}

// Sections describes the sections the image has.
func (r *Restorer) Sections() []Section {
	all := r.image.sections()
	if r.apart != nil {
		all = slices.Delete(all, int(sectionVectors), int(sectionVectors)+1)
	}
	return all
}

// Close drops an index that was not finished. After Finish it does nothing.
func (r *Restorer) Close() {
	if r.x != nil {
		// Close of an index that nobody searches cannot fail.
		_ = r.x.Close()
		r.x = nil
	}
}

// PutSlab takes slab n of a section. Slabs come in any order, each once, and different ones concurrently. data is not kept.
// Errors: *FormatError, after which the restorer is good for nothing but Close; ErrClosed.
func (r *Restorer) PutSlab(section string, n int, data []byte) error {
	id, h, err := r.image.find(section, n)
	if err != nil {
		return err
	}
	if r.x == nil {
		return ErrClosed
	}
	if id == sectionVectors && r.apart != nil {
		return &FormatError{Section: section, Slab: n, Problem: "vectors come apart"}
	}
	from, to := h.slab(n)
	problem := ""
	switch {
	case len(data) != (to-from)*h.rowBytes:
		problem = fmt.Sprintf("%d bytes, not %d", len(data), (to-from)*h.rowBytes)
	case !r.done[id][n].CompareAndSwap(false, true):
		problem = "given twice"
	default:
		problem = r.put(id, h, data, from, to)
	}
	if problem != "" {
		return &FormatError{Section: section, Slab: n, Problem: problem}
	}
	return nil
}

func (r *Restorer) put(id sectionID, h shape, data []byte, from, to int) (problem string) {
	switch id {
	case sectionVectors:
		return r.putVectors(data, from, to)
	case sectionLinks:
		return r.putLinks(data, from, to)
	case sectionUpper:
		return r.putUpper(data, from, to)
	case sectionParents:
		for i := range to - from {
			parent := binary.LittleEndian.Uint32(data[4*i:])
			if parent >= r.image.slots && parent != nilSlot {
				return fmt.Sprintf("slot %d has parent %d of %d slots", from+i, parent, r.image.slots)
			}
			r.x.parents[from+i] = parent
		}
	case sectionLive:
		for i := range to - from {
			w := binary.LittleEndian.Uint64(data[8*i:])
			if last := from+i == h.rows-1; last && r.image.slots%64 != 0 && w>>(r.image.slots%64) != 0 {
				return "live slots beyond the last"
			}
			r.x.live[from+i] = w
		}
	}
	return ""
}

func (r *Restorer) putVectors(data []byte, from, to int) (problem string) {
	x := r.x
	v, buf := &x.vectors, x.vectors.buffer()
	for slot := from; slot < to; slot++ {
		at := slot * v.stride
		if v.half != nil {
			halvesOf(v.half[at:at+x.o.Dim], data)
		} else {
			floatsOf(v.full[at:at+x.o.Dim], data)
		}
		data = data[x.o.Precision.bytes()*x.o.Dim:]
		row := v.row(uint32(slot), buf)
		// The row of a slot that is not live is zeros. A comparison with NaN is false, and a sum that overflows is too large.
		norm2 := distance.DotF32Pair(row, row)
		good := norm2 <= maxNorm2
		if x.o.Metric == Cosine {
			good = norm2 == 0 || math.Abs(float64(norm2)-1) < x.o.Precision.normTolerance()
		}
		if !good {
			return fmt.Sprintf("slot %d has a vector of squared norm %g", slot, norm2)
		}
	}
	return ""
}

// floatsOf fills dst from as many little-endian float32.
func floatsOf(dst []float32, data []byte) {
	for len(dst) >= 4 && len(data) >= 16 {
		dst[0] = math.Float32frombits(binary.LittleEndian.Uint32(data))
		dst[1] = math.Float32frombits(binary.LittleEndian.Uint32(data[4:]))
		dst[2] = math.Float32frombits(binary.LittleEndian.Uint32(data[8:]))
		dst[3] = math.Float32frombits(binary.LittleEndian.Uint32(data[12:]))
		dst, data = dst[4:], data[16:]
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
}

func halvesOf(dst []uint16, data []byte) {
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
}

func (r *Restorer) putLinks(data []byte, from, to int) (problem string) {
	for slot := from; slot < to; slot++ {
		if problem := r.putRow(r.x.row(uint32(slot), 0), data, uint32(slot), 0); problem != "" {
			return problem
		}
		data = data[4*r.x.m0:]
	}
	return ""
}

func (r *Restorer) putUpper(data []byte, from, to int) (problem string) {
	x := r.x
	for row := from; row < to; row++ {
		slot := x.upperOwner(row, r.image.slots)
		level := row - int(x.upperAt[slot]) + 1
		if problem := r.putRow(x.row(slot, level), data, slot, level); problem != "" {
			return problem
		}
		data = data[4*x.m:]
	}
	return ""
}

// putRow copies a row of links after checking each.
func (r *Restorer) putRow(row []uint32, data []byte, slot uint32, level int) (problem string) {
	ended := false
	for i := range row {
		word := binary.LittleEndian.Uint32(data[4*i:])
		id := word &^ oneWay
		switch {
		case word == nilSlot:
			ended = true
		case word != id && !r.x.oneWayLinks || ended || id >= r.image.slots || id == slot || level > 0 && r.x.level(id) < level:
			return fmt.Sprintf("slot %d, level %d: link %d is %#x", slot, level, i, word)
		}
		row[i] = word
	}
	return ""
}

// Finish returns the index once every slab is put. It checks what no slab can show alone: the counts, the entry point, that
// links lead to live slots, and the tree of links. Index.Check verifies the rest.
//
// Errors: *FormatError; ErrClosed. Cost: reads all links once.
func (r *Restorer) Finish() (*Index, error) {
	if r.x == nil {
		return nil, ErrClosed
	}
	for id := range sectionCount {
		for n := range r.done[id] {
			if !r.done[id][n].Load() {
				h := r.image.shape(id)
				return nil, &FormatError{Section: h.name, Slab: n, Problem: "missing"}
			}
		}
	}
	if r.apart != nil {
		if problem := r.apart.complete(r.x.live); problem != "" {
			return nil, &FormatError{Section: SectionVectors, Problem: problem}
		}
	}
	if problem := r.settle(); problem != "" {
		return nil, &FormatError{Problem: problem}
	}
	x := r.x
	if r.image.codec.Step != 0 {
		x.fit.live = int(r.image.fitted)
		x.fit.due = newCodes(r.image.codec, r.image.nibbles)
		if !r.late && !x.encodeDue() {
			return nil, ErrReservation
		}
	}
	r.x = nil
	return x, nil
}

// Encode makes the codes that Finish left out, if it did (RestoreOptions.LateCodes). Searches go on meanwhile, on vectors;
// writers wait. Where there is no address space for codes they stay on vectors until the index has grown. Cost: O(Dim) a slot,
// on all cores.
func (x *Index) Encode() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed.Load() {
		x.encodeDue()
	}
}

// encodeDue makes the codes of an image that has some. The caller holds mu, or is alone.
func (x *Index) encodeDue() bool {
	if x.fit.due == nil {
		return true
	}
	c, ok := x.encodeAll(x.fit.due)
	x.fit.due = nil
	if ok {
		x.publishCodes(c)
	}
	return ok
}

// settle sets the counts, the entry point and the free list.
func (r *Restorer) settle() (problem string) {
	x, g := r.x, &r.image
	live := 0
	for _, w := range x.live[:(g.slots+63)/64] {
		live += bits.OnesCount64(w)
	}
	if live != int(g.live) {
		return fmt.Sprintf("%d live slots, the header says %d", live, g.live)
	}
	// What each part of the slots shows, and in the last place whether their parents make a tree.
	parts := make([]settled, runtime.GOMAXPROCS(0)+1)
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() {
			if p == len(parts)-1 {
				parts[p].cyclic = !x.treeIsSound()
				return
			}
			from := uint64(g.slots) * uint64(p) / uint64(len(parts)-1)
			to := uint64(g.slots) * uint64(p+1) / uint64(len(parts)-1)
			parts[p].look(x, uint32(from), uint32(to))
		})
	}
	wg.Wait()
	top, roots, cyclic := 0, 0, false
	for _, p := range parts {
		x.links.Add(p.links)
		if p.problem != "" {
			return p.problem
		}
		top, roots, cyclic = max(top, p.top), roots+p.roots, cyclic || p.cyclic
	}
	for i := range g.slots {
		if slot := g.slots - 1 - i; !x.isLive(slot) { // the lowest free slot is used first
			x.parents[slot] = stateFree
			x.free = append(x.free, slot)
		}
	}
	if g.entry != noEntry {
		if slot, level := unpackEntryPoint(g.entry); !x.isLive(slot) || level != top || x.level(slot) != top {
			return fmt.Sprintf("entry point %#x, the highest level is %d", g.entry, top)
		}
	}
	if roots != min(1, live) || cyclic {
		return fmt.Sprintf("the tree of links of %d nodes has %d roots, or goes round", live, roots)
	}
	x.liveCount.Store(int64(live))
	x.entry.Store(g.entry)
	return ""
}

// settled is what a part of the slots shows.
type settled struct {
	top, roots int
	links      int64 // on level 0
	cyclic     bool
	problem    string
}

// look checks slots from..to against the others, all of which are put.
func (p *settled) look(x *Index, from, to uint32) {
	var ids [2 * maxM]uint32
	for slot := from; slot < to; slot++ {
		parent := x.parents[slot]
		if !x.isLive(slot) {
			if parent != nilSlot || rowLength(x.row(slot, 0)) > 0 {
				p.problem = fmt.Sprintf("slot %d has links and is not live", slot)
				return
			}
			continue
		}
		if parent == nilSlot || !x.isLive(parent) || parent != slot && linkIndex(x.row(slot, 0), parent) < 0 {
			p.problem = fmt.Sprintf("slot %d has parent %#x", slot, parent)
			return
		}
		if parent == slot {
			p.roots++
		}
		p.links += int64(rowLength(x.row(slot, 0)))
		level := x.level(slot)
		p.top = max(p.top, level)
		for ; level >= 0; level-- {
			for _, id := range appendLinks(ids[:0], x.row(slot, level)) {
				if !x.isLive(id) {
					p.problem = fmt.Sprintf("slot %d, level %d: link to %d, which is not live", slot, level, id)
					return
				}
			}
		}
	}
}

// treeIsSound reports whether the parents of all live slots lead to a root. O(slots).
func (x *Index) treeIsSound() bool {
	slots := x.slots.Load()
	walk := make([]uint32, slots) // the walk that first came by; walk n starts at slot n-1
	for slot := range slots {
		for at := slot; at != nilSlot && x.isLive(at) && walk[at] == 0; at = x.parents[at] {
			walk[at] = slot + 1
			if up := x.parents[at]; up != at && up != nilSlot && walk[up] == slot+1 {
				return false
			}
		}
	}
	return true
}
