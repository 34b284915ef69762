//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The code kernels of plain NEON: products in 16 bits, two to a lane (7-bit codes cannot overflow it: |2*127*-128| < 1<<15),
// added in pairs to 32 bits. The codes of a row count as signed bytes where the query is signed; below 128 that is the same.

#define L2(q, r, t, a, b, c, d) \
	UABD16B(q, r, q)        \
	UABD16B(q+1, r+1, q+1)  \
	UABD16B(q+2, r+2, q+2)  \
	UABD16B(q+3, r+3, q+3)  \
	UMULL8H(q, q, t)        \
	UMULL8H(q+1, q+1, t+1)  \
	UMULL8H(q+2, q+2, t+2)  \
	UMULL8H(q+3, q+3, t+3)  \
	UMLAL28H(q, q, t)       \
	UMLAL28H(q+1, q+1, t+1) \
	UMLAL28H(q+2, q+2, t+2) \
	UMLAL28H(q+3, q+3, t+3) \
	UADALP4S(t, a)          \
	UADALP4S(t+1, b)        \
	UADALP4S(t+2, c)        \
	UADALP4S(t+3, d)

#define DOT(q, r, t, a, b, c, d) \
	SMULL8H(q, r, t)        \
	SMULL8H(q+1, r+1, t+1)  \
	SMULL8H(q+2, r+2, t+2)  \
	SMULL8H(q+3, r+3, t+3)  \
	SMLAL28H(q, r, t)       \
	SMLAL28H(q+1, r+1, t+1) \
	SMLAL28H(q+2, r+2, t+2) \
	SMLAL28H(q+3, r+3, t+3) \
	SADALP4S(t, a)          \
	SADALP4S(t+1, b)        \
	SADALP4S(t+2, c)        \
	SADALP4S(t+3, d)

// l2U7NEON scores rows by squared Euclidean distance.
//
// func l2U7NEON(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, L2, SUM4D)
	END(n+40(FP), done+64(FP))

// dotU7S8NEON scores rows by dot product.
//
// func dotU7S8NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(LINE, DOT, SUM4D)
	END(n+40(FP), done+64(FP))

// l2U7QuadNEON is l2U7NEON for four queries.
//
// func l2U7QuadNEON(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadNEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(L2, 0, ZERO4, SUM4X4D)
	END(n+40(FP), done+64(FP))

// dotU7S8QuadNEON is dotU7S8NEON for four queries.
//
// func dotU7S8QuadNEON(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadNEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOUR(queries+0(FP))
	SCORE4(DOT, 0, ZERO4, SUM4X4D)
	END(n+40(FP), done+64(FP))
