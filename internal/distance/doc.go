// Package distance computes distances between one query (or four) and many rows of an arena.
//
// # Vocabulary
//
// An arena is one slice that holds rows of equal length; row i starts at rows[i*stride]. A slot is a row number. A tier is
// a set of kernels written for one instruction set; the best tier of the machine is chosen once, when the program starts.
//
// # Shapes
//
// Every batch function scores a query against the rows named by slots, in the order of slots: out[j] is the result for row
// slots[j]. Slots may repeat. The caller pads: a row of D components has a stride of PadF32(D) floats or PadU7(D) bytes (a
// whole number of 64-byte cache lines) and zeros after the D-th; the query is padded in the same way. A zero pad adds
// nothing to any of the four results, so no kernel has a tail.
//
//	L2F32    sum (q-r)^2   float32 query, float32 rows    squared Euclidean, no root is taken
//	DotF32   sum q*r       float32 query, float32 rows
//	L2U7     sum (q-r)^2   7-bit codes on both sides
//	DotU7S8  sum q*r       signed 8-bit query, 7-bit codes in the rows
//	L2F16    sum (q-r)^2   float32 query, half floats in the rows
//	DotF16   sum q*r       float32 query, half floats in the rows
//
// A row of half floats has a stride of PadF16(D). Nibbles have a layout of their own; see L2U4.
//
// The Pair functions score one vector against another of any length. The Quad functions score four queries against each
// row, reading the row from memory once: out[j][i] is for queries[i] and row slots[j].
//
// Besides distances there is Merge, of what they were computed for: the candidates of a round and those of the beam.
//
// # What is the same in every tier, and what is not
//
// The integer kernels return the same integers in every tier: a 7-bit code keeps every intermediate of every instruction
// set below saturation (2*127*128 < 1<<15), and integer addition has no order. The float kernels return the same bits for
// the same input in one tier, whatever the batch, the order of slots or the form (batch, Pair and Quad agree to the bit),
// but tiers differ from each other by rounding, because each has its own number of partial sums and the assembly fuses
// multiply and add. L2F16 and DotF16 return the bits that L2F32 and DotF32 have in the same tier for the row made float32. The
// generic tier never fuses, so it returns the same bits on every architecture. The relative error of L2F32 is below
// (D/8+16)*2^-24, and that of DotF32 is below the same factor times sum |q*r|.
//
// Float inputs are taken to be finite, and small enough that no sum overflows; NaN and infinities go through as IEEE 754
// has it. Codes above 127 are a broken invariant of the caller: results are then unspecified and differ between tiers, but
// nothing outside the arena is read.
//
// # Safety and concurrency
//
// A slot whose row is not wholly inside rows, a wrong stride, a wrong query length or a short out panics: these are
// broken invariants of the caller, not input errors. No function writes anything but out, keeps any argument or
// allocates (Pair allocates only for lengths above 512 that are not a multiple of 16). All functions are safe for
// concurrent use as long as nobody writes the rows they read.
//
// # Choosing a tier
//
// The environment variable SEGUE_DISTANCE_TIER, read once when the program starts, names a tier: generic everywhere; avx2
// or avx512 on amd64; neon or neondot on arm64. A name that is unknown, or that this machine cannot run, is ignored, and
// the best tier is used as if it had not been set; Tier says what was chosen. Builds with the race detector have the generic
// tier only, because the detector does not see what assembly reads.
//
// # Assembly
//
// A tier's kernels of one kind are one body each, a macro that takes the operation (L2 or DOT) and the load; the functions that Go
// calls are its uses. What tiers of one architecture share is in kernels_amd64.h and kernels_arm64.h.
//
// # Non-goals
//
// No lists of rows by address: arenas never move, so base plus slot*stride is enough, and Go needs no uintptr. No choice of
// metric, no normalisation, no encoding: those belong to hnsw and to internal/quantize.
package distance
