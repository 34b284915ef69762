//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The nibble kernels of AVX2. A nibble is moved to bits 3 to 6 of its byte, which is eight times its value; shifts are of
// 16-bit lanes, and the mask (Y14) takes away what crosses over. Sums of two products do not saturate 16 bits:
// 2*124*124 and |2*120*-128| are below 1<<15. Y15 is words of 1, as in codes.

// L2 and DOT add what 32 nibbles of a row, in a register, and of a query, in memory, have in common to a sum.
#define L2(query, row, sum) \
	VPSUBB query, row, row   \
	VPABSB row, row          \
	VPMADDUBSW row, row, row \
	VPMADDWD Y15, row, row   \
	VPADDD row, sum, sum
#define DOT(query, row, sum) \
	VPMADDUBSW query, row, row \
	VPMADDWD Y15, row, row     \
	VPADDD row, sum, sum

// SCORE scores rows, op is L2 or DOT.
#define SCORE(op) \
	VPCMPEQW Y15, Y15, Y15   \
	VPSRLW $15, Y15, Y15     \
	MOVL $0x78787878, AX     \
	VMOVD AX, X14            \
	VPBROADCASTD X14, Y14    \
row:                             \
	ROWQ(SI, R9, R13)        \
	VPXOR X0, X0, X0         \
	VPXOR X1, X1, X1         \
step:                            \
	LINES1                   \
	VMOVDQU (BX)(CX*1), Y4   \
	VMOVDQU 32(BX)(CX*1), Y5 \
	VPSLLW $3, Y4, Y6        \
	VPSLLW $3, Y5, Y7        \
	VPSRLW $1, Y4, Y4        \
	VPSRLW $1, Y5, Y5        \
	VPAND Y14, Y6, Y6        \
	VPAND Y14, Y7, Y7        \
	VPAND Y14, Y4, Y4        \
	VPAND Y14, Y5, Y5        \
	op((DI)(CX*2), Y6, Y0)   \
	op(32(DI)(CX*2), Y7, Y1) \
	op(64(DI)(CX*2), Y4, Y0) \
	op(96(DI)(CX*2), Y5, Y1) \
	ADDQ $64, CX             \
	CMPQ CX, R8              \
	JLT  step                \
	VPADDD Y1, Y0, Y0        \
	FOLDY(Y0, X0, X4)        \
	SUM4D(X0, X4)            \
	VMOVD X0, (R12)          \
	NEXT(4)

// l2U4AVX2 scores rows by squared Euclidean distance.
//
// func l2U4AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU4S8AVX2 scores rows by dot product.
//
// func dotU4S8AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8AVX2(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(DOT)
	ENDQ(n+40(FP), done+64(FP))
