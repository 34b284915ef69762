//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The nibble kernels of AVX2. A nibble is moved to bits 3 to 6 of its byte, which is eight times its value; shifts are of
// 16-bit lanes, and the mask (Y14) takes away what crosses over. Sums of two products do not saturate 16 bits:
// 2*124*124 and |2*120*-128| are below 1<<15.

// l2U4AVX2 scores rows of nibbles by squared Euclidean distance.
//
// func l2U4AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4AVX2(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	VPCMPEQW Y15, Y15, Y15
	VPSRLW $15, Y15, Y15
	MOVL $0x78787878, AX
	VMOVD AX, X14
	VPBROADCASTD X14, Y14

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU (BX)(CX*1), Y4
	VMOVDQU 32(BX)(CX*1), Y5
	VPSLLW $3, Y4, Y6
	VPSLLW $3, Y5, Y7
	VPSRLW $1, Y4, Y4
	VPSRLW $1, Y5, Y5
	VPAND Y14, Y6, Y6
	VPAND Y14, Y7, Y7
	VPAND Y14, Y4, Y4
	VPAND Y14, Y5, Y5
	VPSUBB (DI)(CX*2), Y6, Y6
	VPSUBB 32(DI)(CX*2), Y7, Y7
	VPSUBB 64(DI)(CX*2), Y4, Y4
	VPSUBB 96(DI)(CX*2), Y5, Y5
	VPABSB Y6, Y6
	VPABSB Y7, Y7
	VPABSB Y4, Y4
	VPABSB Y5, Y5
	VPMADDUBSW Y6, Y6, Y6
	VPMADDUBSW Y7, Y7, Y7
	VPMADDUBSW Y4, Y4, Y4
	VPMADDUBSW Y5, Y5, Y5
	VPMADDWD Y15, Y6, Y6
	VPMADDWD Y15, Y7, Y7
	VPMADDWD Y15, Y4, Y4
	VPMADDWD Y15, Y5, Y5
	VPADDD Y6, Y0, Y0
	VPADDD Y7, Y1, Y1
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	VPADDD Y1, Y0, Y0
	FOLDY(Y0, X0, X4)
	SUM4D(X0, X4)
	VMOVD X0, (R12)
	ADDQ $4, R10
	ADDQ $4, R12
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+64(FP)
	VZEROUPPER
	RET

// dotU4S8AVX2 scores rows of nibbles by dot product.
//
// func dotU4S8AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8AVX2(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	VPCMPEQW Y15, Y15, Y15
	VPSRLW $15, Y15, Y15
	MOVL $0x78787878, AX
	VMOVD AX, X14
	VPBROADCASTD X14, Y14

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU (BX)(CX*1), Y4
	VMOVDQU 32(BX)(CX*1), Y5
	VPSLLW $3, Y4, Y6
	VPSLLW $3, Y5, Y7
	VPSRLW $1, Y4, Y4
	VPSRLW $1, Y5, Y5
	VPAND Y14, Y6, Y6
	VPAND Y14, Y7, Y7
	VPAND Y14, Y4, Y4
	VPAND Y14, Y5, Y5
	VPMADDUBSW (DI)(CX*2), Y6, Y6
	VPMADDUBSW 32(DI)(CX*2), Y7, Y7
	VPMADDUBSW 64(DI)(CX*2), Y4, Y4
	VPMADDUBSW 96(DI)(CX*2), Y5, Y5
	VPMADDWD Y15, Y6, Y6
	VPMADDWD Y15, Y7, Y7
	VPMADDWD Y15, Y4, Y4
	VPMADDWD Y15, Y5, Y5
	VPADDD Y6, Y0, Y0
	VPADDD Y7, Y1, Y1
	VPADDD Y4, Y0, Y0
	VPADDD Y5, Y1, Y1
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	VPADDD Y1, Y0, Y0
	FOLDY(Y0, X0, X4)
	SUM4D(X0, X4)
	VMOVD X0, (R12)
	ADDQ $4, R10
	ADDQ $4, R12
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+64(FP)
	VZEROUPPER
	RET
