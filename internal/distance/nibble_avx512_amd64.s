//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The nibble kernels of AVX-512 VNNI. A nibble is moved to bits 3 to 6 of its byte, which is eight times its value; shifts
// are of 16-bit lanes, and the mask (Z16) takes away what crosses over. |q-r| fits both operands of VPDPBUSD, as in codes.

// L2 and DOT add what 64 nibbles of a row, in a register, and of a query, in memory, have in common to a sum.
#define L2(query, row, sum) \
	VPSUBB query, row, row \
	VPABSB row, row        \
	VPDPBUSD row, row, sum
#define DOT(query, row, sum) \
	VPDPBUSD query, row, sum

// SCORE scores rows, op is L2 or DOT.
#define SCORE(op) \
	MOVL $0x78787878, AX      \
	VPBROADCASTD AX, Z16      \
row:                              \
	ROWQ(SI, R9, R13)         \
	VPXOR X0, X0, X0          \
	VPXOR X1, X1, X1          \
step:                             \
	LINES1                    \
	VMOVDQU8 (BX)(CX*1), Z4   \
	VPSLLW $3, Z4, Z5         \
	VPSRLW $1, Z4, Z4         \
	VPANDD Z16, Z5, Z5        \
	VPANDD Z16, Z4, Z4        \
	op((DI)(CX*2), Z5, Z0)    \
	op(64(DI)(CX*2), Z4, Z1)  \
	ADDQ $64, CX              \
	CMPQ CX, R8               \
	JLT  step                 \
	VPADDD Z1, Z0, Z0         \
	FOLDZ(Z0, Y0, X0, Y4, X4) \
	SUM4D(X0, X4)             \
	VMOVD X0, (R12)           \
	NEXT(4)

// l2U4AVX512 scores rows by squared Euclidean distance.
//
// func l2U4AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(L2)
	ENDQ(n+40(FP), done+64(FP))

// dotU4S8AVX512 scores rows by dot product.
//
// func dotU4S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8AVX512(SB), NOSPLIT, $0-72
	BEGINQ(rows+8(FP), rowBytes+16(FP), last+24(FP), slots+32(FP), n+40(FP), out+48(FP), ahead+56(FP))
	MOVQ query+0(FP), DI
	SCORE(DOT)
	ENDQ(n+40(FP), done+64(FP))
