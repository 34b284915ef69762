//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The float kernels of AVX2: four partial vectors of eight floats; a step is 32 components, and the line of floats that may be
// left goes to the first two of them. Batch and quad add in the same order, and so do the kernels of half floats, which are those
// of float32 with another load: their results are those for the row made float32, to the bit. Rows of half floats are whole
// steps.

// L2 and DOT add what components of a row, in a register, and a query, in memory, have in common to a sum; t is for L2's use.
#define L2(query, row, t, sum) \
	VSUBPS query, row, t  \
	VFMADD231PS t, t, sum
#define DOT(query, row, t, sum) \
	VFMADD231PS query, row, sum

// SCORE scores rows. load makes eight components of a row floats from w bytes, of which the query, where the offset counts by
// times as much, has 32; lines asks for 4*w bytes ahead; op is L2 or DOT.
#define SCORE(load, w, by, lines, op) \
	MOVQ R8, AX                    \
	ANDQ $~(4*w-1), AX             \
row:                                   \
	ROWQ(SI, R9, R13)              \
	ZERO4(X0, X1, X2, X3)          \
	TESTQ AX, AX                   \
	JZ   tail                      \
step:                                  \
	lines                          \
	load (BX)(CX*1), Y4            \
	load w(BX)(CX*1), Y5           \
	load (2*w)(BX)(CX*1), Y6       \
	load (3*w)(BX)(CX*1), Y7       \
	op((DI)(CX*by), Y4, Y4, Y0)    \
	op(32(DI)(CX*by), Y5, Y5, Y1)  \
	op(64(DI)(CX*by), Y6, Y6, Y2)  \
	op(96(DI)(CX*by), Y7, Y7, Y3)  \
	ADDQ $(4*w), CX                \
	CMPQ CX, AX                    \
	JLT  step                      \
tail:                                  \
	CMPQ CX, R8                    \
	JGE  sum                       \
	LINES1                         \
	load (BX)(CX*1), Y4            \
	load w(BX)(CX*1), Y5           \
	op((DI)(CX*by), Y4, Y4, Y0)    \
	op(32(DI)(CX*by), Y5, Y5, Y1)  \
sum:                                   \
	SUM32F(Y0, Y1, Y2, Y3, X0, X4) \
	VMOVSS X0, (R12)               \
	NEXT(4)

// PAIR scores a row with two of four queries, and leaves the results at and 4 bytes behind in out. Sixteen registers hold no
// more; the second pair finds the row in the first cache. Labels are the caller's, so that two fit into one kernel.
#define PAIR(q, r, lines, op, at, step, tail, sum) \
	ZERO4(X0, X1, X2, X3)             \
	ZERO4(X4, X5, X6, X7)             \
	TESTQ SI, SI                      \
	JZ   tail                         \
step:                                     \
	lines                             \
	VMOVUPS (BX)(CX*1), Y8            \
	VMOVUPS 32(BX)(CX*1), Y9          \
	VMOVUPS 64(BX)(CX*1), Y10         \
	VMOVUPS 96(BX)(CX*1), Y11         \
	op((q)(CX*1), Y8, Y12, Y0)        \
	op(32(q)(CX*1), Y9, Y13, Y1)      \
	op(64(q)(CX*1), Y10, Y14, Y2)     \
	op(96(q)(CX*1), Y11, Y15, Y3)     \
	op((r)(CX*1), Y8, Y12, Y4)        \
	op(32(r)(CX*1), Y9, Y13, Y5)      \
	op(64(r)(CX*1), Y10, Y14, Y6)     \
	op(96(r)(CX*1), Y11, Y15, Y7)     \
	ADDQ $128, CX                     \
	CMPQ CX, SI                       \
	JLT  step                         \
tail:                                     \
	CMPQ CX, R8                       \
	JGE  sum                          \
	lines                             \
	VMOVUPS (BX)(CX*1), Y8            \
	VMOVUPS 32(BX)(CX*1), Y9          \
	op((q)(CX*1), Y8, Y12, Y0)        \
	op(32(q)(CX*1), Y9, Y13, Y1)      \
	op((r)(CX*1), Y8, Y14, Y4)        \
	op(32(r)(CX*1), Y9, Y15, Y5)      \
sum:                                      \
	SUM32F(Y0, Y1, Y2, Y3, X0, X1)    \
	VMOVSS X0, at(R12)                \
	SUM32F(Y4, Y5, Y6, Y7, X4, X5)    \
	VMOVSS X4, (at+4)(R12)

#define NOLINES

// SCORE4 scores rows with four queries.
#define SCORE4(op) \
	MOVQ R8, SI                                         \
	ANDQ $~127, SI                                      \
row:                                                        \
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP))         \
	PAIR(DI, R9, LINES2, op, 0, step, tail, sum)        \
	XORL CX, CX                                         \
	PAIR(R13, AX, NOLINES, op, 8, step2, tail2, sum2)   \
	NEXT(16)

// l2F32AVX2 scores rows by squared Euclidean distance.
//
// func l2F32AVX2(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F32AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VMOVUPS, 32, 1, LINES2, L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF32AVX2 scores rows by dot product.
//
// func dotF32AVX2(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF32AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VMOVUPS, 32, 1, LINES2, DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2F16AVX2 scores rows by squared Euclidean distance.
//
// func l2F16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VCVTPH2PS, 16, 2, LINES1, L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF16AVX2 scores rows by dot product.
//
// func dotF16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VCVTPH2PS, 16, 2, LINES1, DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2F32QuadAVX2 is l2F32AVX2 for four queries.
//
// func l2F32QuadAVX2(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·l2F32QuadAVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF32QuadAVX2 is dotF32AVX2 for four queries.
//
// func dotF32QuadAVX2(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·dotF32QuadAVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(DOT)
	ENDQ(n+40(FP), done+64(FP))

// widenF16AVX2 makes rows float32: R12 is where the next one goes.
//
// func widenF16AVX2(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16AVX2(SB), NOSPLIT, $0-64
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), dst+0(FP), ahead+48(FP))

row:
	ROWQ(SI, R9, R13)

step:
	LINES1
	VCVTPH2PS (BX)(CX*1), Y0
	VCVTPH2PS 16(BX)(CX*1), Y1
	VCVTPH2PS 32(BX)(CX*1), Y2
	VCVTPH2PS 48(BX)(CX*1), Y3
	VMOVUPS Y0, (R12)(CX*2)
	VMOVUPS Y1, 32(R12)(CX*2)
	VMOVUPS Y2, 64(R12)(CX*2)
	VMOVUPS Y3, 96(R12)(CX*2)
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	LEAQ (R12)(R8*2), R12
	NEXT(0)
	ENDQ(n+40(FP), done+56(FP))
