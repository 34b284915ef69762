package hnsw

import "math"

// scoreBatch is the most rows scored by one kernel call, and the room of the buffers of a hop: two full level-0 rows.
const scoreBatch = 4 * maxM

// scorer turns one bound query and a batch of slots into keys. A traversal on quantised codes has
// another, codeScorer.
//
// The metric is looked at once a batch, never once a row. Batch and pair results are the same to the bit whatever the
// batch, so a distance that Search returns equals what Searcher.Distance computes later.
type scorer struct {
	metric  Metric
	vectors *vectors
	query   []float32 // stride floats, zeros after Dim
	own     []float32 // what bindSlot makes the query of; nil: in place
	out     [scoreBatch]float32
	count   int // rows scored since the owner last reset it
}

func (t *scorer) init(x *Index) {
	t.metric, t.vectors, t.own = x.o.Metric, &x.vectors, x.vectors.buffer()
}

// bind makes query, of stride floats, the left side of every distance. It is not copied.
func (t *scorer) bind(query []float32) { t.query = query }

// bindSlot makes the vector of slot the left side of every distance.
func (t *scorer) bindSlot(slot uint32) {
	t.query = t.vectors.row(slot, t.own)
}

// keys sets keys[i] to the key of the distance from the query to slots[i].
func (t *scorer) keys(slots, keys []uint32) {
	t.count += len(slots)
	for len(slots) > 0 {
		n := min(len(slots), scoreBatch)
		t.batch(slots[:n], keys[:n])
		slots, keys = slots[n:], keys[n:]
	}
}

func (t *scorer) batch(slots, keys []uint32) {
	out := t.out[:len(slots)]
	keys = keys[:len(out)]
	switch {
	case t.metric == Cosine && t.vectors.half != nil:
		t.vectors.l2(t.query, slots, out)
		for i, d := range out {
			keys[i] = math.Float32bits(cosineOfL2(d)) | 1<<31
		}
	case t.metric == L2:
		t.vectors.l2(t.query, slots, out)
		for i, d := range out {
			keys[i] = math.Float32bits(d) | 1<<31
		}
	case t.metric == Cosine:
		t.vectors.dot(t.query, slots, out)
		for i, dot := range out {
			// Rounding can take the dot product of unit vectors above 1; a distance is never negative.
			keys[i] = math.Float32bits(max(1-dot, 0)) | 1<<31
		}
	default:
		t.vectors.dot(t.query, slots, out)
		for i, dot := range out {
			keys[i] = distanceKey(0 - dot) // 0-0 is plus zero, where -0 would be another key
		}
	}
}

// cosineOfL2 returns the cosine distance of two vectors about as long as 1, of which d is the squared Euclidean distance.
//
// Rounding to half precision changes the norm of a vector by 3e-5 or so. 1-dot takes that for distance, as much as lies between one
// near neighbour and the next: it left recall@10 of .74 on tracks. In |q-x|^2/2 the first order of it cancels, and what is left shrinks with the
// distance.
func cosineOfL2(d float32) float32 { return d / 2 }
