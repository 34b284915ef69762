package hnsw

import "github.com/segue-ann/segue/internal/distance"

// MaxQueries is the most query vectors of one search.
const MaxQueries = 64

// queries are several query vectors that are searched for at once: the distance of a slot is that to the nearest of them.
//
// A row is read from memory once for four queries. Keys of walks are those of estimated distances, unlike codeScorer's,
// because what the kernel gives for codes under InnerProduct has another scale for each query.
type queries struct {
	n      int
	metric Metric
	stride int       // floats a row
	stored *vectors  // of the index
	vecs   []float32 // n rows
	f32    [MaxQueries / 4][4][]float32

	codes       *codes // what walks read; nil: vectors
	unsigned    []uint8
	signed      []int8
	u7          [MaxQueries / 4][4][]uint8
	s8          [MaxQueries / 4][4][]int8
	base, scale [MaxQueries]float64 // distance = base + scale * what the kernel gives

	outF32 [scoreBatch][4]float32
	outU7  [scoreBatch][4]uint32
	outS8  [scoreBatch][4]int32
	// nearest[i] is the query that gave the i-th key of the last batch.
	nearest [scoreBatch]uint8
	count   int // distances computed since the owner last reset it
}

// reset makes room for n queries of x; vec returns it.
func (t *queries) reset(x *Index, n int) {
	t.n, t.metric, t.stride, t.stored, t.count = n, x.o.Metric, x.stride, &x.vectors, 0
	if len(t.vecs) < n*t.stride {
		t.vecs = make([]float32, n*t.stride)
	}
	for i := range (n + 3) / 4 * 4 { // the last four are filled up with the last query
		t.f32[i/4][i%4] = t.vec(min(i, n-1))
	}
}

func (t *queries) vec(i int) []float32 { return t.vecs[i*t.stride : (i+1)*t.stride : (i+1)*t.stride] }

// bindWalk binds the queries to what walks read.
func (t *queries) bindWalk(c *codes) {
	if t.codes = c; c == nil {
		return
	}
	n, signed := c.queryBytes(), c.signedQueries(t.metric)
	if signed && len(t.signed) < t.n*n {
		t.signed = make([]int8, t.n*n)
	} else if !signed && len(t.unsigned) < t.n*n {
		t.unsigned = make([]uint8, t.n*n)
	}
	for i := range (t.n + 3) / 4 * 4 {
		q := min(i, t.n-1)
		from, to := q*n, (q+1)*n
		if vec := t.vec(q)[:c.codec.Dim]; signed {
			t.s8[i/4][i%4] = t.signed[from:to:to]
			t.base[q], t.scale[q] = c.bindSigned(t.signed[from:to:to], t.metric, vec)
		} else {
			t.u7[i/4][i%4] = t.unsigned[from:to:to]
			t.base[q], t.scale[q] = c.bindCodes(t.unsigned[from:to:to], t.metric, vec)
		}
	}
}

// walkKeys sets keys[i] to the key of the distance from slots[i] to the nearest query, as walks see it. At most scoreBatch.
func (t *queries) walkKeys(slots, keys []uint32) {
	if t.codes == nil {
		t.keys(slots, keys)
		return
	}
	t.count += t.n * len(slots)
	c := t.codes
	for four := range (t.n + 3) / 4 {
		first := 4 * four
		most := min(4, t.n-first)
		if t.metric == InnerProduct {
			out := t.outS8[:len(slots)]
			if c.nibbles {
				distance.DotU4S8Quad(&t.s8[four], c.rows, c.stride, slots, out)
			} else {
				distance.DotU7S8Quad(&t.s8[four], c.rows, c.stride, slots, out)
			}
			for i := range out {
				for j, v := range out[i][:most] {
					t.offer(keys, i, first+j, distanceKey(float32(t.base[first+j]+t.scale[first+j]*float64(v))))
				}
			}
			continue
		}
		out := t.outU7[:len(slots)]
		if c.nibbles {
			distance.L2U4Quad(&t.s8[four], c.rows, c.stride, slots, out)
		} else {
			distance.L2U7Quad(&t.u7[four], c.rows, c.stride, slots, out)
		}
		for i := range out {
			for j, v := range out[i][:most] {
				t.offer(keys, i, first+j, distanceKey(float32(t.scale[first+j]*float64(v))))
			}
		}
	}
}

// keys is walkKeys on vectors: the keys are those that scorer gives, to the bit.
func (t *queries) keys(slots, keys []uint32) {
	t.count += t.n * len(slots)
	for four := range (t.n + 3) / 4 {
		first := 4 * four
		most := min(4, t.n-first)
		out := t.outF32[:len(slots)]
		halfCosine := t.metric == Cosine && t.stored.half != nil
		if t.metric == L2 || halfCosine {
			t.stored.l2Quad(&t.f32[four], slots, out)
		} else {
			t.stored.dotQuad(&t.f32[four], slots, out)
		}
		for i := range out {
			for j, v := range out[i][:most] {
				switch {
				case halfCosine:
					v = cosineOfL2(v)
				case t.metric == Cosine:
					v = max(1-v, 0)
				case t.metric == InnerProduct:
					v = 0 - v
				}
				t.offer(keys, i, first+j, distanceKey(v))
			}
		}
	}
}

// offer makes key the i-th if it is that of the first query, or lower than those before.
func (t *queries) offer(keys []uint32, i, query int, key uint32) {
	if query == 0 || key < keys[i] {
		keys[i], t.nearest[i] = key, uint8(query)
	}
}
