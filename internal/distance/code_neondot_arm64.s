//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The code kernels of NEON with the dot product extension: UDOT and SDOT add four products of bytes to a 32-bit lane. The
// codes of a row count as signed bytes where the query is signed; below 128 that is the same.

#define L2(q, r, t, a, b, c, d) \
	UABD16B(q, r, q)       \
	UABD16B(q+1, r+1, q+1) \
	UABD16B(q+2, r+2, q+2) \
	UABD16B(q+3, r+3, q+3) \
	UDOT4S(q, q, a)        \
	UDOT4S(q+1, q+1, b)    \
	UDOT4S(q+2, q+2, c)    \
	UDOT4S(q+3, q+3, d)

#define DOT(q, r, t, a, b, c, d) \
	SDOT4S(q, r, a)     \
	SDOT4S(q+1, r+1, b) \
	SDOT4S(q+2, r+2, c) \
	SDOT4S(q+3, r+3, d)

// l2U7NEONDot scores rows by squared Euclidean distance.
//
// func l2U7NEONDot(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7NEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, L2, SUM4D)
	END(n+40(FP), done+64(FP))

// dotU7S8NEONDot scores rows by dot product.
//
// func dotU7S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8NEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, DOT, SUM4D)
	END(n+40(FP), done+64(FP))

// l2U7QuadNEONDot is l2U7NEONDot for four queries.
//
// func l2U7QuadNEONDot(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadNEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(L2, 0, ZERO4, SUM4X4D)
	END(n+40(FP), done+64(FP))

// dotU7S8QuadNEONDot is dotU7S8NEONDot for four queries.
//
// func dotU7S8QuadNEONDot(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadNEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(DOT, 0, ZERO4, SUM4X4D)
	END(n+40(FP), done+64(FP))
