package hnsw

import (
	"math"

	"github.com/segue-ann/segue/internal/distance"
)

// scoreBatch is the most rows scored by one kernel call, and the room of the buffers of a hop: two full level-0 rows.
const scoreBatch = 4 * maxM

// scorer turns one bound query and a batch of slots into keys. It is the only place that knows how stored vectors are
// represented while the graph is walked; a traversal on quantised codes is another scorer.
//
// The metric is looked at once a batch, never once a row. Batch and pair results are the same to the bit whatever the
// batch, so a distance that Search returns equals what Searcher.Distance computes later.
type scorer struct {
	metric Metric
	stride int
	rows   []float32
	query  []float32 // stride floats, zeros after Dim
	out    [scoreBatch]float32
	count  int // rows scored since the owner last reset it
}

func (t *scorer) init(x *Index) {
	t.metric, t.stride, t.rows = x.o.Metric, x.stride, x.vectors
}

// bind makes query, of stride floats, the left side of every distance. It is not copied.
func (t *scorer) bind(query []float32) { t.query = query }

// bindSlot makes the vector of slot the left side of every distance.
func (t *scorer) bindSlot(slot uint32) {
	at := int(slot) * t.stride
	t.query = t.rows[at : at+t.stride : at+t.stride]
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
	switch t.metric {
	case L2:
		distance.L2F32(t.query, t.rows, t.stride, slots, out)
		for i, d := range out {
			keys[i] = math.Float32bits(d) | 1<<31
		}
	case Cosine:
		distance.DotF32(t.query, t.rows, t.stride, slots, out)
		for i, dot := range out {
			// Rounding can take the dot product of unit vectors above 1; a distance is never negative.
			keys[i] = math.Float32bits(max(1-dot, 0)) | 1<<31
		}
	case InnerProduct:
		distance.DotF32(t.query, t.rows, t.stride, slots, out)
		for i, dot := range out {
			keys[i] = distanceKey(0 - dot) // 0-0 is plus zero, where -0 would be another key
		}
	}
}

// key returns the key of the distance from the query to one slot.
func (t *scorer) key(slot uint32) uint32 {
	slots, keys := [1]uint32{slot}, [1]uint32{}
	t.keys(slots[:], keys[:])
	return keys[0]
}
