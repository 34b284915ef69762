//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The nibble kernels of AVX-512 VNNI. A nibble is moved to bits 3 to 6 of its byte, which is eight times its value; shifts
// are of 16-bit lanes, and the mask (Z16) takes away what crosses over.

// l2U4AVX512 scores rows of nibbles by squared Euclidean distance.
//
// func l2U4AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4AVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	MOVL $0x78787878, AX
	VPBROADCASTD AX, Z16

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VPSLLW $3, Z4, Z5
	VPSRLW $1, Z4, Z4
	VPANDD Z16, Z5, Z5
	VPANDD Z16, Z4, Z4
	VPSUBB (DI)(CX*2), Z5, Z5
	VPSUBB 64(DI)(CX*2), Z4, Z4
	VPABSB Z5, Z5
	VPABSB Z4, Z4
	VPDPBUSD Z5, Z5, Z0
	VPDPBUSD Z4, Z4, Z1
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	VPADDD Z1, Z0, Z0
	FOLDZ(Z0, Y0, X0, Y4, X4)
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

// dotU4S8AVX512 scores rows of nibbles by dot product.
//
// func dotU4S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8AVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	MOVL $0x78787878, AX
	VPBROADCASTD AX, Z16

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VPSLLW $3, Z4, Z5
	VPSRLW $1, Z4, Z4
	VPANDD Z16, Z5, Z5
	VPANDD Z16, Z4, Z4
	VPDPBUSD (DI)(CX*2), Z5, Z0
	VPDPBUSD 64(DI)(CX*2), Z4, Z1
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	VPADDD Z1, Z0, Z0
	FOLDZ(Z0, Y0, X0, Y4, X4)
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
