//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The code kernels of AVX2. VPMADDUBSW multiplies unsigned by signed bytes (the unsigned operand stands second here) and
// adds neighbours in 16 bits, where 7-bit codes cannot saturate it: |2*127*-128| < 1<<15. VPMADDWD by ones (Y15) widens.

// ONES makes Y15 words of 1.
#define ONES \
	VPCMPEQW Y15, Y15, Y15 \
	VPSRLW $15, Y15, Y15

// L2 and DOT add what half a line of a row, in a register, and of a query, in memory, have in common to a sum; t is for their use.
#define L2(query, row, t, sum) \
	VPSUBB query, row, t  \
	VPABSB t, t           \
	VPMADDUBSW t, t, t    \
	VPMADDWD Y15, t, t    \
	VPADDD t, sum, sum
#define DOT(query, row, t, sum) \
	VPMADDUBSW query, row, t \
	VPMADDWD Y15, t, t       \
	VPADDD t, sum, sum

// SCORE scores rows, op is L2 or DOT.
#define SCORE(op) \
row:                                 \
	ROWQ(SI, R9, R13)            \
	VPXOR X0, X0, X0             \
	VPXOR X1, X1, X1             \
step:                                \
	LINES1                       \
	VMOVDQU (BX)(CX*1), Y4       \
	VMOVDQU 32(BX)(CX*1), Y5     \
	op((DI)(CX*1), Y4, Y4, Y0)   \
	op(32(DI)(CX*1), Y5, Y5, Y1) \
	ADDQ $64, CX                 \
	CMPQ CX, R8                  \
	JLT  step                    \
	VPADDD Y1, Y0, Y0            \
	FOLDY(Y0, X0, X4)            \
	SUM4D(X0, X4)                \
	VMOVD X0, (R12)              \
	NEXT(4)

// HALF4 adds half a line of a row to the sums of four queries: Yi belongs to query i.
#define HALF4(op, at) \
	VMOVDQU at(BX)(CX*1), Y8      \
	op(at(DI)(CX*1), Y8, Y4, Y0)  \
	op(at(R9)(CX*1), Y8, Y5, Y1)  \
	op(at(R13)(CX*1), Y8, Y6, Y2) \
	op(at(AX)(CX*1), Y8, Y7, Y3)

// SCORE4 scores rows with four queries.
#define SCORE4(op) \
row:                                                \
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP)) \
	ZERO4(X0, X1, X2, X3)                       \
step:                                               \
	LINES1                                      \
	HALF4(op, 0)                                \
	HALF4(op, 32)                               \
	ADDQ $64, CX                                \
	CMPQ CX, R8                                 \
	JLT  step                                   \
	FOLDY(Y0, X0, X4)                           \
	FOLDY(Y1, X1, X5)                           \
	FOLDY(Y2, X2, X6)                           \
	FOLDY(Y3, X3, X7)                           \
	VPHADDD X1, X0, X0                          \
	VPHADDD X3, X2, X2                          \
	VPHADDD X2, X0, X0                          \
	VMOVDQU X0, (R12)                           \
	NEXT(16)

// l2U7AVX2 scores rows by squared Euclidean distance.
//
// func l2U7AVX2(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	ONES
	SCORE(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU7S8AVX2 scores rows by dot product.
//
// func dotU7S8AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	ONES
	SCORE(DOT)
	ENDQ(n+40(FP), done+64(FP))

// l2U7QuadAVX2 is l2U7AVX2 for four queries.
//
// func l2U7QuadAVX2(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadAVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	ONES
	SCORE4(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU7S8QuadAVX2 is dotU7S8AVX2 for four queries.
//
// func dotU7S8QuadAVX2(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadAVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	FOURQ(queries+0(FP))
	ONES
	SCORE4(DOT)
	ENDQ(n+40(FP), done+64(FP))
