package hnsw

import "math"

// A key is a distance as a uint32 whose integer order is the order of the distances, negative ones included: the sign bit
// of a positive float32 is set, every bit of a negative one is flipped. Keys never come from NaN (vectors that could make
// one are refused) nor from minus zero (scorer adds it away), so equal distances have equal keys.
//
// A pool entry packs a candidate into one uint64, key<<32 | slot<<1 | expanded, so that sorting integers sorts candidates
// by distance and then by slot. Entries of one pool have distinct slots, so the flag never decides.

func distanceKey(d float32) uint32 {
	b := math.Float32bits(d)
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

func keyDistance(k uint32) float32 {
	return math.Float32frombits(k ^ (uint32(int32(^k)>>31) | 1<<31))
}

func packEntry(key, slot uint32) uint64 { return uint64(key)<<32 | uint64(slot)<<1 }

func entryKey(e uint64) uint32  { return uint32(e >> 32) }
func entrySlot(e uint64) uint32 { return uint32(e) >> 1 }
