//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The code kernels of AVX-512 VNNI. VPDPBUSD multiplies unsigned by signed bytes and adds four products to a 32-bit lane;
// it wants its unsigned operand second here. |q-r| of 7-bit codes fits both.

// l2U7AVX512 scores rows by squared Euclidean distance.
//
// func l2U7AVX512(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7AVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	MOVQ R8, AX
	ANDQ $~127, AX

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1
	TESTQ AX, AX
	JZ   tail

step:
	PREFETCHT0 (DX)(CX*1)
	PREFETCHT0 64(DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VMOVDQU8 64(BX)(CX*1), Z5
	VPSUBB (DI)(CX*1), Z4, Z4
	VPSUBB 64(DI)(CX*1), Z5, Z5
	VPABSB Z4, Z4
	VPABSB Z5, Z5
	VPDPBUSD Z4, Z4, Z0
	VPDPBUSD Z5, Z5, Z1
	ADDQ $128, CX
	CMPQ CX, AX
	JLT  step

tail:
	CMPQ CX, R8
	JGE  sum
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VPSUBB (DI)(CX*1), Z4, Z4
	VPABSB Z4, Z4
	VPDPBUSD Z4, Z4, Z0

sum:
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

// dotU7S8AVX512 scores rows by dot product.
//
// func dotU7S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8AVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI
	MOVQ R8, AX
	ANDQ $~127, AX

row:
	ROWQ(SI, R9, R13)
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1
	TESTQ AX, AX
	JZ   tail

step:
	PREFETCHT0 (DX)(CX*1)
	PREFETCHT0 64(DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VMOVDQU8 64(BX)(CX*1), Z5
	VPDPBUSD (DI)(CX*1), Z4, Z0
	VPDPBUSD 64(DI)(CX*1), Z5, Z1
	ADDQ $128, CX
	CMPQ CX, AX
	JLT  step

tail:
	CMPQ CX, R8
	JGE  sum
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z4
	VPDPBUSD (DI)(CX*1), Z4, Z0

sum:
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

// l2U7QuadAVX512 is l2U7AVX512 for four queries: Zi belongs to query i.
//
// func l2U7QuadAVX512(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadAVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ queries+0(FP), CX
	MOVQ 0(CX), DI
	MOVQ 8(CX), R9
	MOVQ 16(CX), R13
	MOVQ 24(CX), AX

row:
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP))
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1
	VPXOR X2, X2, X2
	VPXOR X3, X3, X3

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z8
	VPSUBB (DI)(CX*1), Z8, Z4
	VPSUBB (R9)(CX*1), Z8, Z5
	VPSUBB (R13)(CX*1), Z8, Z6
	VPSUBB (AX)(CX*1), Z8, Z7
	VPABSB Z4, Z4
	VPABSB Z5, Z5
	VPABSB Z6, Z6
	VPABSB Z7, Z7
	VPDPBUSD Z4, Z4, Z0
	VPDPBUSD Z5, Z5, Z1
	VPDPBUSD Z6, Z6, Z2
	VPDPBUSD Z7, Z7, Z3
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	FOLDZ(Z0, Y0, X0, Y4, X4)
	FOLDZ(Z1, Y1, X1, Y5, X5)
	FOLDZ(Z2, Y2, X2, Y6, X6)
	FOLDZ(Z3, Y3, X3, Y7, X7)
	VPHADDD X1, X0, X0
	VPHADDD X3, X2, X2
	VPHADDD X2, X0, X0
	VMOVDQU X0, (R12)
	ADDQ $4, R10
	ADDQ $16, R12
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+64(FP)
	VZEROUPPER
	RET

// dotU7S8QuadAVX512 is dotU7S8AVX512 for four queries.
//
// func dotU7S8QuadAVX512(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadAVX512(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ queries+0(FP), CX
	MOVQ 0(CX), DI
	MOVQ 8(CX), R9
	MOVQ 16(CX), R13
	MOVQ 24(CX), AX

row:
	ROWQ(rows+8(FP), last+24(FP), ahead+56(FP))
	VPXOR X0, X0, X0
	VPXOR X1, X1, X1
	VPXOR X2, X2, X2
	VPXOR X3, X3, X3

step:
	PREFETCHT0 (DX)(CX*1)
	VMOVDQU8 (BX)(CX*1), Z8
	VPDPBUSD (DI)(CX*1), Z8, Z0
	VPDPBUSD (R9)(CX*1), Z8, Z1
	VPDPBUSD (R13)(CX*1), Z8, Z2
	VPDPBUSD (AX)(CX*1), Z8, Z3
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	FOLDZ(Z0, Y0, X0, Y4, X4)
	FOLDZ(Z1, Y1, X1, Y5, X5)
	FOLDZ(Z2, Y2, X2, Y6, X6)
	FOLDZ(Z3, Y3, X3, Y7, X7)
	VPHADDD X1, X0, X0
	VPHADDD X3, X2, X2
	VPHADDD X2, X0, X0
	VMOVDQU X0, (R12)
	ADDQ $4, R10
	ADDQ $16, R12
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+64(FP)
	VZEROUPPER
	RET
