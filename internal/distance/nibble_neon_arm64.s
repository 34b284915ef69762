//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The nibble kernels of plain NEON; see NIBBLES. Sums of two products fit 16 bits: 2*124*124 < 1<<16, |2*120*-128| < 1<<15.

#define L2(q, r, t, a, b, c, d) \
	SABD16B(q, r, q)        \
	SABD16B(q+1, r+1, q+1)  \
	SABD16B(q+2, r+2, q+2)  \
	SABD16B(q+3, r+3, q+3)  \
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

// l2U4NEON scores rows by squared Euclidean distance.
//
// func l2U4NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(NIBBLES, L2, SUM4D)
	END(n+40(FP), done+64(FP))

// dotU4S8NEON scores rows by dot product.
//
// func dotU4S8NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8NEON(SB), NOSPLIT, $0-72
	BEGIN(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVD query+0(FP), R0
	SCORE(NIBBLES, DOT, SUM4D)
	END(n+40(FP), done+64(FP))
