package hnsw

import "github.com/segue-ann/segue/internal/distance"

// linkScorer scores stored vectors against each other where links are chosen: on 7-bit codes where walks read those, else on
// the vectors. Whether one neighbor is nearer to another than to the node is a question that codes answer about as well as they
// order neighborhoods, from a quarter of the bytes, which the first level of the cache holds of a whole row of links.
//
// Keys on codes are the integers that the kernel gives: they order slots and have ratios as distances do, and mean nothing
// beside keys on vectors.
type linkScorer struct {
	scorer
	codes *codes // nil: vectors
	row   []uint8
}

// linkCodes returns what links are judged by: c, or nil for the vectors. Under InnerProduct and from nibbles a stored row is no
// query.
func (x *Index) linkCodes(c *codes) *codes {
	if c == nil || c.nibbles || x.o.Metric == InnerProduct {
		return nil
	}
	return c
}

// bindSlot makes slot the left side of every distance.
func (t *linkScorer) bindSlot(slot uint32) {
	if t.codes != nil {
		t.row = t.codes.row(slot)
		return
	}
	t.scorer.bindSlot(slot)
}

// keys sets keys[i] to the key of the distance to slots[i].
func (t *linkScorer) keys(slots, keys []uint32) {
	if t.codes == nil {
		t.scorer.keys(slots, keys)
		return
	}
	t.count += len(slots)
	distance.L2U7(t.row, t.codes.rows, t.codes.stride, slots, keys[:len(slots)])
}

// key returns the key of the distance to one slot.
func (t *linkScorer) key(slot uint32) uint32 {
	slots, keys := [1]uint32{slot}, [1]uint32{}
	t.keys(slots[:], keys[:])
	return keys[0]
}

// share returns a distance as a share of a longer one, from their keys.
func (t *linkScorer) share(near, far uint32) float32 {
	if t.codes != nil {
		return float32(near) / float32(far)
	}
	return keyDistance(near) / keyDistance(far)
}
