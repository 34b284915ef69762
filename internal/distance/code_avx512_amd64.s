//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The code kernels of AVX-512 VNNI. VPDPBUSD multiplies unsigned by signed bytes and adds four products to a 32-bit lane;
// it wants its unsigned operand second here. |q-r| of 7-bit codes fits both.

// L2 and DOT add what a line of a row, in a register, and of a query, in memory, have in common to a sum; t is for L2's use.
#define L2(query, row, t, sum) \
	VPSUBB query, row, t \
	VPABSB t, t          \
	VPDPBUSD t, t, sum
#define DOT(query, row, t, sum) \
	VPDPBUSD query, row, sum

// SCORE scores rows two lines at a time, op is L2 or DOT.
#define SCORE(op) \
	MOVQ R8, AX                      \
	ANDQ $~127, AX                   \
row:                                     \
	ROWQ(SI, R9, R13)                \
	VPXOR X0, X0, X0                 \
	VPXOR X1, X1, X1                 \
	TESTQ AX, AX                     \
	JZ   tail                        \
step:                                    \
	LINES2                           \
	VMOVDQU8 (BX)(CX*1), Z4          \
	VMOVDQU8 64(BX)(CX*1), Z5        \
	op((DI)(CX*1), Z4, Z4, Z0)       \
	op(64(DI)(CX*1), Z5, Z5, Z1)     \
	ADDQ $128, CX                    \
	CMPQ CX, AX                      \
	JLT  step                        \
tail:                                    \
	CMPQ CX, R8                      \
	JGE  sum                         \
	LINES1                           \
	VMOVDQU8 (BX)(CX*1), Z4          \
	op((DI)(CX*1), Z4, Z4, Z0)       \
sum:                                     \
	VPADDD Z1, Z0, Z0                \
	FOLDZ(Z0, Y0, X0, Y4, X4)        \
	SUM4D(X0, X4)                    \
	VMOVD X0, (R12)                  \
	NEXT(4)

// SCORE4 scores rows with four queries: Zi belongs to query i.
#define SCORE4(op) \
row:                                                \
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP)) \
	ZERO4(X0, X1, X2, X3)                       \
step:                                               \
	LINES1                                      \
	VMOVDQU8 (BX)(CX*1), Z8                     \
	op((DI)(CX*1), Z8, Z4, Z0)                  \
	op((R9)(CX*1), Z8, Z5, Z1)                  \
	op((R13)(CX*1), Z8, Z6, Z2)                 \
	op((AX)(CX*1), Z8, Z7, Z3)                  \
	ADDQ $64, CX                                \
	CMPQ CX, R8                                 \
	JLT  step                                   \
	FOLDZ(Z0, Y0, X0, Y4, X4)                   \
	FOLDZ(Z1, Y1, X1, Y5, X5)                   \
	FOLDZ(Z2, Y2, X2, Y6, X6)                   \
	FOLDZ(Z3, Y3, X3, Y7, X7)                   \
	VPHADDD X1, X0, X0                          \
	VPHADDD X3, X2, X2                          \
	VPHADDD X2, X0, X0                          \
	VMOVDQU X0, (R12)                           \
	NEXT(16)

// l2U7AVX512 scores rows by squared Euclidean distance.
//
// func l2U7AVX512(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU7S8AVX512 scores rows by dot product.
//
// func dotU7S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2U7QuadAVX512 is l2U7AVX512 for four queries.
//
// func l2U7QuadAVX512(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadAVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU7S8QuadAVX512 is dotU7S8AVX512 for four queries.
//
// func dotU7S8QuadAVX512(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadAVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	SCORE4(DOT)
	ENDQ(n+40(FP), done+64(FP))
