//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The float kernels of NEON: four partial vectors of four floats; a step is one line of the row. Batch and quad add in the same
// order, and so do the kernels of half floats, which are those of float32 with another load, of twice as many components: their
// results are those for the row made float32, to the bit.

#define L2(q, r, t, a, b, c, d) \
	FSUB4S(q, r, q)       \
	FSUB4S(q+1, r+1, q+1) \
	FSUB4S(q+2, r+2, q+2) \
	FSUB4S(q+3, r+3, q+3) \
	FMLA4S(q, q, a)       \
	FMLA4S(q+1, q+1, b)   \
	FMLA4S(q+2, q+2, c)   \
	FMLA4S(q+3, q+3, d)

#define DOT(q, r, t, a, b, c, d) \
	FMLA4S(q, r, a)     \
	FMLA4S(q+1, r+1, b) \
	FMLA4S(q+2, r+2, c) \
	FMLA4S(q+3, r+3, d)

// FOLD adds up four partial vectors, in the order of all float kernels.
#define FOLD(a) \
	FADD4S(a+1, a, a)     \
	FADD4S(a+3, a+2, a+2) \
	FADD4S(a+2, a, a)

#define SUM4F \
	FOLD(0)          \
	FADDP4S(0, 0, 0) \
	FADDP4S(0, 0, 0)

#define SUM4X4F \
	FOLD(0)            \
	FOLD(4)            \
	FOLD(8)            \
	FOLD(12)           \
	FADDP4S(4, 0, 0)   \
	FADDP4S(12, 8, 8)  \
	FADDP4S(8, 0, 0)

// WIDEN makes a line of the row 32 floats, in V16 to V23.
#define WIDEN \
	VLD1.P 64(R8), [V4.H8, V5.H8, V6.H8, V7.H8] \
	FCVTL4S(4, 16)  \
	FCVTL24S(4, 17) \
	FCVTL4S(5, 18)  \
	FCVTL24S(5, 19) \
	FCVTL4S(6, 20)  \
	FCVTL24S(6, 21) \
	FCVTL4S(7, 22)  \
	FCVTL24S(7, 23)

// HALFLINE is LINE of half floats, which are two lines of the query.
#define HALFLINE(op) \
	WIDEN                                                \
	VLD1.P 64(R11), [V24.B16, V25.B16, V26.B16, V27.B16] \
	VLD1.P 64(R11), [V28.B16, V29.B16, V30.B16, V31.B16] \
	op(24, 16, 0, 0, 1, 2, 3)                            \
	op(28, 20, 0, 0, 1, 2, 3)

// l2F32NEON scores rows by squared Euclidean distance.
//
// func l2F32NEON(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F32NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, L2, SUM4F)
	END(n+40(FP), done+64(FP))

// dotF32NEON scores rows by dot product.
//
// func dotF32NEON(query *float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF32NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, DOT, SUM4F)
	END(n+40(FP), done+64(FP))

// l2F16NEON scores rows by squared Euclidean distance.
//
// func l2F16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(HALFLINE, L2, SUM4F)
	END(n+40(FP), done+64(FP))

// dotF16NEON scores rows by dot product.
//
// func dotF16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(HALFLINE, DOT, SUM4F)
	END(n+40(FP), done+64(FP))

// l2F32QuadNEON is l2F32NEON for four queries.
//
// func l2F32QuadNEON(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·l2F32QuadNEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(L2, 1, ZERO16, SUM4X4F)
	END(n+40(FP), done+64(FP))

// dotF32QuadNEON is dotF32NEON for four queries.
//
// func dotF32QuadNEON(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)
TEXT ·dotF32QuadNEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(DOT, 1, ZERO16, SUM4X4F)
	END(n+40(FP), done+64(FP))

// widenF16NEON makes rows float32: R6 is where the next line goes.
//
// func widenF16NEON(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16NEON(SB), NOSPLIT, $0-64
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), dst+0(FP), ahead+48(FP))

row:
	ROW

step:
	AHEAD
	WIDEN
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R6)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R6)
	SUBS $64, R10
	BNE  step
	NEXT
	END(n+40(FP), done+56(FP))
