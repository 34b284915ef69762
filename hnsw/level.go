package hnsw

// maxLevel bounds the levels above 0. At M = 4 it is reached by one node in 4^15, a thousand million.
const maxLevel = 15

// levelThresholds returns t such that a node reaches level l if its hash is below t[l-1] = 2^64 / m^l.
//
// Malkov & Yashunin draw level = floor(-ln(u) / ln(M)) from uniform u, which is this very distribution; integer thresholds
// give the same levels on every machine, where logarithms may differ in the last bit.
func levelThresholds(m int) [maxLevel]uint64 {
	var t [maxLevel]uint64
	at := ^uint64(0)
	for l := range t {
		at /= uint64(m)
		t[l] = at
	}
	return t
}

// level returns the highest level of slot, a function of the seed and the slot alone: a slot has the same upper rows
// whoever lives in it, so upper rows are never freed, and a snapshot need not store levels.
func (x *Index) level(slot uint32) int {
	h := mix64(x.o.Seed + (uint64(slot)+1)*0x9e3779b97f4a7c15)
	l := 0
	for l < maxLevel && h < x.levels[l] {
		l++
	}
	return l
}

// mix64 is the finaliser of splitmix64 (Steele, Lea & Flood 2014).
func mix64(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
