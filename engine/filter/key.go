package filter

import (
	"math"

	"github.com/segue-ann/segue/engine/attribute"
)

// span is a range of keys, both ends inside. Invariant: lo <= hi.
type span struct{ lo, hi uint64 }

// all are the spans of every key.
var all = []span{{0, math.MaxUint64}}

// intKey orders as v does.
func intKey(v int64) uint64 { return uint64(v) ^ 1<<63 }

// floatKey orders as f does; both zeros have one key.
func floatKey(f float64) uint64 {
	b := math.Float64bits(f + 0) // -0 + 0 is +0
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func boolKey(b bool) uint64 { return uint64(btoi(b)) }

// compareIntFloat compares v and f, which is not a NaN, exactly: -1, 0 or 1.
func compareIntFloat(v int64, f float64) int {
	switch {
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	t := int64(f) // toward zero; exact where f is whole
	switch {
	case v < t:
		return -1
	case v > t:
		return 1
	case f > float64(t):
		return -1
	case f < float64(t):
		return 1
	}
	return 0
}

// lowKey returns the least key of a column of type t that is inside a lower bound; false where none is.
func lowKey(t attribute.Type, b Bound) (uint64, bool) {
	if !b.Set {
		return 0, true
	}
	key, rounded := boundKey(t, b.Value)
	switch {
	case rounded > 0: // the key's value is above the bound
		return key, true
	case rounded < 0 || b.Open:
		return key + 1, key != math.MaxUint64
	}
	return key, true
}

// highKey is lowKey for an upper bound: the greatest key.
func highKey(t attribute.Type, b Bound) (uint64, bool) {
	if !b.Set {
		return math.MaxUint64, true
	}
	key, rounded := boundKey(t, b.Value)
	switch {
	case rounded < 0:
		return key, true
	case rounded > 0 || b.Open:
		return key - 1, key != 0
	}
	return key, true
}

// boundKey returns the key, in a column of type t, of the value nearest to v that the type can hold, and how that compares
// with v. The types are comparable.
func boundKey(t attribute.Type, v attribute.Value) (key uint64, rounded int) {
	switch {
	case v.Type == attribute.Timestamp:
		return intKey(v.Time.UnixMicro()), 0
	case t == attribute.Int && v.Type == attribute.Int:
		return intKey(v.Int), 0
	case t == attribute.Float && v.Type == attribute.Float:
		return floatKey(v.Float), 0
	case t == attribute.Float:
		f := float64(v.Int)
		return floatKey(f), -compareIntFloat(v.Int, f)
	case v.Float >= 1<<63:
		return intKey(math.MaxInt64), -1
	case v.Float < -1<<63:
		return intKey(math.MinInt64), 1
	}
	n := int64(v.Float)
	return intKey(n), compareIntFloat(n, v.Float)
}

// between returns the span of a column of type t between two bounds.
func between(t attribute.Type, low, high Bound) (span, bool) {
	lo, okLo := lowKey(t, low)
	hi, okHi := highKey(t, high)
	return span{lo, hi}, okLo && okHi && lo <= hi
}

// pointKey returns the key of v, which is no Keyword and no Markets, in a column of type t; false where no value of t equals v.
func pointKey(t attribute.Type, v attribute.Value) (uint64, bool) {
	if v.Type == attribute.Bool {
		return boolKey(v.Bool), true
	}
	key, rounded := boundKey(t, v)
	return key, rounded == 0
}
