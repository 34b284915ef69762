//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The nibble kernels of NEON with the dot product extension; see NIBBLES.

#define L2(q, r, t, a, b, c, d) \
	SABD16B(q, r, q)       \
	SABD16B(q+1, r+1, q+1) \
	SABD16B(q+2, r+2, q+2) \
	SABD16B(q+3, r+3, q+3) \
	UDOT4S(q, q, a)        \
	UDOT4S(q+1, q+1, b)    \
	UDOT4S(q+2, q+2, c)    \
	UDOT4S(q+3, q+3, d)

#define DOT(q, r, t, a, b, c, d) \
	SDOT4S(q, r, a)     \
	SDOT4S(q+1, r+1, b) \
	SDOT4S(q+2, r+2, c) \
	SDOT4S(q+3, r+3, d)

// l2U4NEONDot scores rows by squared Euclidean distance.
//
// func l2U4NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4NEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(NIBBLES, L2, SUM4D)
	END(n+40(FP), done+64(FP))

// dotU4S8NEONDot scores rows by dot product.
//
// func dotU4S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8NEONDot(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(NIBBLES, DOT, SUM4D)
	END(n+40(FP), done+64(FP))
