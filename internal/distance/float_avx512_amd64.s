//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The float kernels of AVX-512: four partial vectors of sixteen floats; a step is 64 components, and what is left of a row (a
// whole number of lines) goes to the first of them, sixteen components at a time. Batch and quad add in the same order, and so do
// the kernels of half floats, which are those of float32 with another load: their results are those for the row made float32, to
// the bit.

// L2 and DOT add what components of a row, in a register, and a query, in memory, have in common to a sum; t is for L2's use.
#define L2(query, row, t, sum) \
	VSUBPS query, row, t  \
	VFMADD231PS t, t, sum
#define DOT(query, row, t, sum) \
	VFMADD231PS query, row, sum

// SCORE scores rows. load makes sixteen components of a row floats from w bytes, of which the query, where the offset counts
// by times as much, has 64; lines asks for 4*w bytes ahead; op is L2 or DOT.
#define SCORE(load, w, by, lines, op) \
	MOVQ R8, AX                        \
	ANDQ $~(4*w-1), AX                 \
row:                                       \
	ROWQ(SI, R9, R13)                  \
	ZERO4(X0, X1, X2, X3)              \
	TESTQ AX, AX                       \
	JZ   tail                          \
step:                                      \
	lines                              \
	load (BX)(CX*1), Z4                \
	load w(BX)(CX*1), Z5               \
	load (2*w)(BX)(CX*1), Z6           \
	load (3*w)(BX)(CX*1), Z7           \
	op((DI)(CX*by), Z4, Z4, Z0)        \
	op(64(DI)(CX*by), Z5, Z5, Z1)      \
	op(128(DI)(CX*by), Z6, Z6, Z2)     \
	op(192(DI)(CX*by), Z7, Z7, Z3)     \
	ADDQ $(4*w), CX                    \
	CMPQ CX, AX                        \
	JLT  step                          \
tail:                                      \
	CMPQ CX, R8                        \
	JGE  sum                           \
	LINES1                             \
	load (BX)(CX*1), Z4                \
	op((DI)(CX*by), Z4, Z4, Z0)        \
	ADDQ $w, CX                        \
	JMP  tail                          \
sum:                                       \
	SUM64F(Z0, Z1, Z2, Z3, Y0, X0, Y4, X4) \
	VMOVSS X0, (R12)                   \
	NEXT(4)

// STEP4 adds 64 components, in Z16-Z19, of one of four queries.
#define STEP4(query, op, a, b, c, d) \
	op((query)(CX*1), Z16, Z20, a)    \
	op(64(query)(CX*1), Z17, Z21, b)  \
	op(128(query)(CX*1), Z18, Z22, c) \
	op(192(query)(CX*1), Z19, Z23, d)

// SCORE4 scores rows with four queries: Z0-Z3 belong to the first, Z4-Z7 to the second, and so on.
#define SCORE4(op) \
	MOVQ R8, SI                                     \
	ANDQ $~255, SI                                  \
row:                                                    \
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP))     \
	ZERO4(X0, X1, X2, X3)                           \
	ZERO4(X4, X5, X6, X7)                           \
	ZERO4(X8, X9, X10, X11)                         \
	ZERO4(X12, X13, X14, X15)                       \
	TESTQ SI, SI                                    \
	JZ   tail                                       \
step:                                                   \
	LINES4                                          \
	VMOVUPS (BX)(CX*1), Z16                         \
	VMOVUPS 64(BX)(CX*1), Z17                       \
	VMOVUPS 128(BX)(CX*1), Z18                      \
	VMOVUPS 192(BX)(CX*1), Z19                      \
	STEP4(DI, op, Z0, Z1, Z2, Z3)                   \
	STEP4(R9, op, Z4, Z5, Z6, Z7)                   \
	STEP4(R13, op, Z8, Z9, Z10, Z11)                \
	STEP4(AX, op, Z12, Z13, Z14, Z15)               \
	ADDQ $256, CX                                   \
	CMPQ CX, SI                                     \
	JLT  step                                       \
tail:                                                   \
	CMPQ CX, R8                                     \
	JGE  sum                                        \
	LINES1                                          \
	VMOVUPS (BX)(CX*1), Z16                         \
	op((DI)(CX*1), Z16, Z20, Z0)                    \
	op((R9)(CX*1), Z16, Z21, Z4)                    \
	op((R13)(CX*1), Z16, Z22, Z8)                   \
	op((AX)(CX*1), Z16, Z23, Z12)                   \
	ADDQ $64, CX                                    \
	JMP  tail                                       \
sum:                                                    \
	SUM64F(Z0, Z1, Z2, Z3, Y0, X0, Y1, X1)          \
	VMOVSS X0, (R12)                                \
	SUM64F(Z4, Z5, Z6, Z7, Y4, X4, Y5, X5)          \
	VMOVSS X4, 4(R12)                               \
	SUM64F(Z8, Z9, Z10, Z11, Y8, X8, Y9, X9)        \
	VMOVSS X8, 8(R12)                               \
	SUM64F(Z12, Z13, Z14, Z15, Y12, X12, Y13, X13)  \
	VMOVSS X12, 12(R12)                             \
	NEXT(16)

// l2F32AVX512 scores rows by squared Euclidean distance.
//
// func l2F32AVX512(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F32AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VMOVUPS, 64, 1, LINES4, L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF32AVX512 scores rows by dot product.
//
// func dotF32AVX512(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF32AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VMOVUPS, 64, 1, LINES4, DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2F16AVX512 scores rows by squared Euclidean distance.
//
// func l2F16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VCVTPH2PS, 32, 2, LINES2, L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF16AVX512 scores rows by dot product.
//
// func dotF16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(VCVTPH2PS, 32, 2, LINES2, DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2F32QuadAVX512 is l2F32AVX512 for four queries.
//
// func l2F32QuadAVX512(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·l2F32QuadAVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotF32QuadAVX512 is dotF32AVX512 for four queries.
//
// func dotF32QuadAVX512(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·dotF32QuadAVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(DOT)
	ENDQ(n+40(FP), done+64(FP))

// widenF16AVX512 makes rows float32: R12 is where the next one goes.
//
// func widenF16AVX512(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16AVX512(SB), NOSPLIT, $0-64
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), dst+0(FP), ahead+48(FP))

row:
	ROWQ(SI, R9, R13)

step:
	LINES1
	VCVTPH2PS (BX)(CX*1), Z0
	VCVTPH2PS 32(BX)(CX*1), Z1
	VMOVUPS Z0, (R12)(CX*2)
	VMOVUPS Z1, 64(R12)(CX*2)
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	LEAQ (R12)(R8*2), R12
	NEXT(0)
	ENDQ(n+40(FP), done+56(FP))
