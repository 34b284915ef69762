package rank

import (
	"hash/fnv"
	"math"
)

// Transform turns the number of an attribute into a number that is worth a boost's weight.
type Transform uint8

const (
	// Linear is the number itself.
	Linear Transform = iota + 1
	// Log is the natural logarithm of 1 + the number, and 0 for numbers below 0: what suits counts of plays.
	Log
	// Decay is 2^(-age/half-life): 1 for an age of 0 or less, 0.5 after one half-life. The number is the age, in the
	// unit of the half-life.
	Decay
)

// Boost adds to the rank value of a candidate what one of its attributes is worth.
type Boost struct {
	Transform Transform
	// Weight is what a transformed number of 1 adds, in units of the score; negative to push down.
	Weight float64
	// HalfLife is positive; only for Decay.
	HalfLife float64
}

// Contribution returns what x adds. x is finite; so is the result, which is bounded by a quarter of the largest float64 so
// that no sum of a few overflows.
func (b Boost) Contribution(x float64) float64 {
	switch b.Transform {
	case Log:
		x = math.Log1p(max(x, 0))
	case Decay:
		x = math.Exp2(-max(x, 0) / b.HalfLife)
	}
	const most = math.MaxFloat64 / 4
	return min(max(b.Weight*x, -most), most)
}

// Noise returns the standard Gumbel noise of an item under a seed. The order of value + temperature*Noise is a sample
// without replacement in which every next item is drawn with probability proportional to exp(value/temperature) (the
// Gumbel-top-k trick: Kool, van Hoof & Welling 2019). The same seed and id give the same noise on every machine.
func Noise(seed uint64, id string) float64 {
	h := fnv.New64a()
	var b [8]byte
	for i := range b {
		b[i] = byte(seed >> (8 * i))
	}
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(id))
	// 53 bits in (0, 1): never 0, never 1.
	u := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
	return -math.Log(-math.Log(u))
}

// mix is the finalizer of splitmix64: FNV alone leaves the high bits of similar ids alike.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
