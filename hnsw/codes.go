package hnsw

import (
	"context"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/segue-ann/segue/internal/distance"
	"github.com/segue-ann/segue/internal/quantize"
)

// Codes. While the graph is walked, distances are computed on 7-bit codes of the vectors, a quarter of the bytes, or from
// nibbleDim components on their upper four bits, an eighth; the best of the beam are then rescored on the vectors
// themselves (rescore.go). Codes are derived: the vectors are the truth, and
// codes can be made anew at any time.
//
// A codec is one range for all components. Under InnerProduct it spans all of them and spanRoom more, because the vectors
// with the largest components are the answers: measured on 100,000 x 64 with log-normal norms (sigma 0.8), a range that leaves out
// 1e-4 of a sample's components holds recall@10 at .984 at any ef, where walks on vectors pass .999. It is fitted when the index reaches fitAt live vectors; below, walks use the
// vectors. It is fitted again whenever the index has grown by refitGrowth, and when the data has drifted out of the range.
// A new codec gets an arena of its own, which is filled and then published in one store; a searcher that began with the
// old one finishes with it, and may judge nodes that came meanwhile by what the old arena holds for them, which costs it a
// candidate at most.
//
// Codes are no use where near neighbours lie closer together than codes can tell: on 63,468 tracks of 64 dimensions walks
// on codes were no faster than on vectors, which fit the cache, and lost .02 of recall@10 at ef 64. So each fit is tried
// on neighbourhoods that the graph finds (codesTell), nibbles first, and where all fails walks stay on the vectors until the
// next fit.

const (
	fitAt       = 1024
	refitGrowth = 2
	// fitSample bounds the components that a codec is fitted on.
	fitSample = 1 << 17
	// A range has drifted when more than maxClipped of the components of the last driftWindow vectors lie outside.
	maxClipped  = 0.02
	driftWindow = 1024
	// A refitted codec is worth encoding everything again when its step differs by more than this share.
	refitStep = 0.1
	// spanRoom is the share by which the range of InnerProduct exceeds the largest components, so that it is not fitted
	// again for every vector that is a little larger.
	spanRoom = 0.1
	// nibbleDim is the dimension from which nibbles are tried. On mnist784 they need 2 % more distances for recall@10 .95 and
	// none more for .99, each of 7 cache lines for 13. With 128 components it is 5 to 8 % more, for one line of two, which
	// gains nothing.
	nibbleDim = 256
)

// codes are the codes of all vectors under one codec.
type codes struct {
	codec   quantize.U7
	nibbles bool // rows hold nibbles, not 7-bit codes
	stride  int  // bytes a row: whole cache lines, zeros after Dim
	mem     arena[uint8]
	rows    []uint8 // row of slot s at s*stride; written before the slot is linked
}

// newCodes returns codes without memory for rows.
func newCodes(codec quantize.U7, nibbles bool) *codes {
	c := &codes{codec: codec, nibbles: nibbles, stride: distance.PadU7(codec.Dim)}
	if nibbles {
		c.stride = distance.PadU4(codec.Dim)
	}
	return c
}

// queryBytes returns the length of a bound query.
func (c *codes) queryBytes() int {
	if c.nibbles {
		return 2 * c.stride
	}
	return c.stride
}

// encode writes the codes of vec, of Dim components, to a row and returns how many components were clipped.
func (c *codes) encode(row []uint8, vec []float32) (clipped int) {
	if c.nibbles {
		return c.codec.EncodeNibbles(row, vec)
	}
	return c.codec.Encode(row, vec)
}

// fitting is what the committer knows about the fit of the codec. Index.mu guards it.
type fitting struct {
	at      int // live vectors at the first fit: fitAt
	live    int // live vectors at the last fit
	vectors int // encoded since the last look at drift
	clipped int // components of them outside the range
	retired []retiredCodes
	due     *codes // what a restored index has still to encode; nil: nothing. See Index.Encode
}

// retiredCodes waits for the searchers that may still read it.
type retiredCodes struct {
	codes *codes
	stamp uint64
}

// row returns the codes of slot.
func (c *codes) row(slot uint32) []uint8 {
	at := int(slot) * c.stride
	return c.rows[at : at+c.stride : at+c.stride]
}

// encode writes the codes of the vector of slot, which no searcher can reach, and returns how many components were clipped.
// buf is as vectors.row has it.
func (x *Index) encode(c *codes, slot uint32, buf []float32) (clipped int) {
	return c.encode(c.row(slot), x.vectors.row(slot, buf)[:x.o.Dim])
}

// encodeForCommit makes sure that slot is coded under the codec in force. The caller holds mu.
func (x *Index) encodeForCommit(slot uint32, p *linkPlan) {
	c := x.codes.Load()
	if c == nil {
		return
	}
	if c != p.codes {
		p.clipped = x.encode(c, slot, nil)
	}
	x.fit.vectors++
	x.fit.clipped += p.clipped
}

// refit fits a codec if it is time to. The caller holds mu. Cost, where it does: sorting a sample; and encoding all vectors
// on all cores, while writers wait, where the codec changes.
func (x *Index) refit() {
	live, c := x.Len(), x.codes.Load()
	switch {
	case live < max(x.fit.at, refitGrowth*x.fit.live) && c == nil:
		return
	case live >= refitGrowth*x.fit.live:
	case c != nil && x.fit.clipped > 0 && x.o.Metric == InnerProduct:
	case x.fit.vectors >= max(driftWindow, live/8):
		drifted := float64(x.fit.clipped) > maxClipped*float64(x.fit.vectors*x.o.Dim)
		x.fit.vectors, x.fit.clipped = 0, 0
		if !drifted {
			return
		}
	default:
		return
	}
	x.fit.live, x.fit.vectors, x.fit.clipped, x.fit.due = live, 0, 0, nil
	codec, err := x.fitCodec(live)
	nibbles := err == nil && x.o.Dim >= nibbleDim && x.codesTell(newCodes(codec, true), live)
	if err != nil || !nibbles && !x.codesTell(newCodes(codec, false), live) { // an error: components that span more than float32 holds
		x.publishCodes(nil)
		return
	}
	if c != nil && c.nibbles == nibbles && x.o.Metric != InnerProduct &&
		math.Abs(float64(codec.Step)-float64(c.codec.Step)) < refitStep*float64(c.codec.Step) &&
		math.Abs(float64(codec.Lo)-float64(c.codec.Lo)) < refitStep*128*float64(c.codec.Step) {
		return
	}
	if next, ok := x.encodeAll(newCodes(codec, nibbles)); ok { // else no address space is left: as before
		x.publishCodes(next)
	}
}

// publishCodes makes c what walks read from now on; nil: the vectors. The caller holds mu.
func (x *Index) publishCodes(c *codes) {
	x.c.victims.scorer.codes = x.linkCodes(c)
	if old := x.codes.Swap(c); old != nil {
		x.fit.retired = append(x.fit.retired, retiredCodes{old, x.epoch.Load()})
		x.epoch.Add(1)
	}
}

const (
	// tellQueries neighbourhoods of tellEf nodes are looked at; of the tellBest nearest of each, codes must keep
	// minTold among the nearest 3/2*tellBest. Data that codes serve well keeps all but one or two of 640 (mnist784, its nibbles too,
	// clusters, Gaussian data of 20 to 128 components); 8,000 tracks keep about 600, at a recall@10 of .81 and .94 at ef
	// 16 and 64 where vectors give .985 and .996.
	tellQueries = 64
	tellEf      = 64
	tellBest    = 10
	minTold     = 0.99
)

// codesTell reports whether codes like c, which has no rows yet, order neighbourhoods of live nodes well enough. The caller
// holds mu. Cost: tellQueries searches.
func (x *Index) codesTell(c *codes, live int) bool {
	s := x.Acquire()
	defer s.Release()
	c.rows = make([]uint8, tellEf*c.stride)
	told, all, buf := 0, 0, x.vectors.buffer()
	for vec := range x.sample(max(1, live/tellQueries), tellQueries) {
		found := s.neighborhood(vec, tellEf)
		best := min(tellBest, len(found))
		s.code.bind(c, x.o.Metric, vec)
		order := make([]uint64, len(found)) // by code; in the slots' place stand ranks by true distance
		for rank, e := range found {
			c.encode(c.row(uint32(rank)), x.vectors.row(entrySlot(e), buf)[:x.o.Dim])
			s.ids[0] = uint32(rank)
			s.code.keys(s.ids[:1], s.keys[:1])
			order[rank] = packEntry(s.keys[0], uint32(rank))
		}
		slices.Sort(order)
		for _, e := range order[:min(len(order), best+best/2)] {
			if int(entrySlot(e)) < best {
				told++
			}
		}
		all += best
	}
	return float64(told) >= minTold*float64(all)
}

// neighborhood returns the ef nearest nodes of vec, a stored vector, that a walk on vectors finds, as entries.
func (s *Searcher) neighborhood(vec []float32, ef int) []uint64 {
	clear(s.query[copy(s.query, vec):])
	s.scorer.bind(s.query)
	s.walking = nil
	s.descend(s.x.entry.Load(), 0)
	// The background context is never done, so beam cannot fail.
	_ = s.beam(context.Background(), 0, reach{width: ef}, 0)
	return s.pool.sorted()
}

// fitCodec fits a codec on live vectors at even distances over the slots; under InnerProduct on all of them.
func (x *Index) fitCodec(live int) (quantize.U7, error) {
	if x.o.Metric == InnerProduct {
		return quantize.SpanU7(x.o.Dim, x.sample(1, live), spanRoom)
	}
	most := max(256, fitSample/x.o.Dim)
	return quantize.FitU7(x.o.Dim, x.sample(max(1, live/most), most), quantize.ClipL2)
}

// sample yields every step-th live vector, at most n. A vector is good until the next.
func (x *Index) sample(step, n int) iter.Seq[[]float32] {
	return func(yield func([]float32) bool) {
		seen, given, buf := 0, 0, x.vectors.buffer()
		for slot := range x.slots.Load() {
			if !x.isLive(slot) {
				continue
			}
			if seen++; seen%step != 0 {
				continue
			}
			if given++; given > n || !yield(x.vectors.row(slot, buf)[:x.o.Dim]) {
				return
			}
		}
	}
}

// encodeAll gives c, which has no rows yet, those of all live vectors. The caller holds mu, so that none becomes live
// meanwhile.
func (x *Index) encodeAll(c *codes) (*codes, bool) {
	if !c.mem.reserve(uint64(x.o.MaxSlots) * uint64(c.stride)) {
		return nil, false
	}
	c.rows = c.mem.rows
	slots, workers := x.slots.Load(), uint32(runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			buf := x.vectors.buffer()
			for slot := slots / workers * w; slot < slots/workers*(w+1) || w == workers-1 && slot < slots; slot++ {
				if x.isLive(slot) {
					x.encode(c, slot, buf)
				}
			}
		})
	}
	wg.Wait()
	return c, true
}

// dropRetired gives back codes that no searcher can read any more. The caller holds mu.
func (x *Index) dropRetired(oldest uint64) {
	for len(x.fit.retired) > 0 && x.fit.retired[0].stamp < oldest {
		x.fit.retired[0].codes.mem.release()
		x.fit.retired = x.fit.retired[1:]
	}
}

// releaseCodes gives all codes back. The index is closed and nobody reads.
func (x *Index) releaseCodes() {
	x.dropRetired(noEpoch)
	if c := x.codes.Swap(nil); c != nil {
		c.mem.release()
	}
}

// signedQueries reports whether bound queries are signed bytes: for products, and for nibbles. Else they are 7-bit codes.
func (c *codes) signedQueries(metric Metric) bool { return c.nibbles || metric == InnerProduct }

// bindSigned binds query, of Dim components, to dst of queryBytes, and returns what distance = base + scale*d has for the
// integer d that the kernel gives.
func (c *codes) bindSigned(dst []int8, metric Metric, query []float32) (base, scale float64) {
	if metric == InnerProduct {
		var q quantize.DotQuery
		if c.nibbles {
			q = c.codec.BindDotNibbles(dst, query)
		} else {
			q = c.codec.BindDot(dst, query)
		}
		return -float64(q.Base), -float64(q.Scale)
	}
	return 0, halfIfCosine(metric, c.codec.BindL2Nibbles(dst, query))
}

// bindCodes is bindSigned where queries are not signed.
func (c *codes) bindCodes(dst []uint8, metric Metric, query []float32) (base, scale float64) {
	return 0, halfIfCosine(metric, c.codec.BindL2(dst, query))
}

func halfIfCosine(metric Metric, q quantize.L2Query) float64 {
	if metric == Cosine {
		return float64(q.Scale) / 2 // |x-y|^2 = 2(1-cos) for unit vectors
	}
	return float64(q.Scale)
}

// codeScorer turns one bound query and a batch of slots into keys of distances between codes. Such keys order slots about
// as the keys of scorer do, and mean nothing beside them.
type codeScorer struct {
	codes *codes
	dot   bool // InnerProduct: products; else squared distances
	u7    []uint8
	s8    []int8
	scale float64 // distance = base + scale * what the kernel gives; see estimate
	base  float64
	ints  [scoreBatch]int32
	count int
}

// bind binds query, of Dim components.
func (t *codeScorer) bind(c *codes, metric Metric, query []float32) {
	t.codes, t.dot = c, metric == InnerProduct
	n := c.queryBytes()
	if c.signedQueries(metric) {
		if len(t.s8) != n {
			t.s8 = make([]int8, n)
		}
		t.base, t.scale = c.bindSigned(t.s8, metric, query)
		return
	}
	if len(t.u7) != n {
		t.u7 = make([]uint8, n)
	}
	t.base, t.scale = c.bindCodes(t.u7, metric, query)
}

// keys sets keys[i] to the key of the distance from the query to slots[i].
func (t *codeScorer) keys(slots, keys []uint32) {
	t.count += len(slots)
	c := t.codes
	switch {
	case t.dot:
		t.dotKeys(slots, keys)
	case c.nibbles:
		distance.L2U4(t.s8, c.rows, c.stride, slots, keys[:len(slots)])
	default:
		distance.L2U7(t.u7, c.rows, c.stride, slots, keys[:len(slots)])
	}
}

func (t *codeScorer) dotKeys(slots, keys []uint32) {
	c := t.codes
	for len(slots) > 0 {
		n := min(len(slots), scoreBatch)
		ints := t.ints[:n]
		if c.nibbles {
			distance.DotU4S8(t.s8, c.rows, c.stride, slots[:n], ints)
		} else {
			distance.DotU7S8(t.s8, c.rows, c.stride, slots[:n], ints)
		}
		for i, dot := range ints {
			keys[i] = uint32(-dot) ^ 1<<31 // ascending as the product descends
		}
		slots, keys = slots[n:], keys[n:]
	}
}

// estimate returns the distance that a key stands for.
func (t *codeScorer) estimate(key uint32) float64 {
	if t.dot {
		return t.base - t.scale*float64(int32(key^1<<31))
	}
	return t.scale * float64(key)
}

// farther returns the key of a distance that exceeds that of key by a share of it.
func (t *codeScorer) farther(key uint32, share float64) uint32 {
	by := share * math.Abs(t.estimate(key)) / max(math.Abs(t.scale), math.SmallestNonzeroFloat32) // a query of zeros has scale 0
	return uint32(min(float64(key)+by, math.MaxUint32))
}
