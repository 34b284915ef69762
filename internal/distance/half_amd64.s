//go:build amd64 && !race

#include "textflag.h"
#include "kernels_amd64.h"

// The kernels of half floats. Those that score are the float kernels with another load: CX counts bytes of the row, and twice
// as many of the query. They add in the same order, so the results are those of the float kernels for the row made float32, to the bit. Rows
// are whole lines of 32 half floats, so a step of AVX2 leaves nothing of a row.

// l2F16AVX512 scores rows by squared Euclidean distance.
//
// func l2F16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16AVX512(SB), NOSPLIT, $0-72
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
	VXORPS X0, X0, X0
	VXORPS X1, X1, X1
	VXORPS X2, X2, X2
	VXORPS X3, X3, X3
	TESTQ AX, AX
	JZ   tail

step:
	PREFETCHT0 (DX)(CX*1)
	PREFETCHT0 64(DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Z4
	VCVTPH2PS 32(BX)(CX*1), Z5
	VCVTPH2PS 64(BX)(CX*1), Z6
	VCVTPH2PS 96(BX)(CX*1), Z7
	VSUBPS (DI)(CX*2), Z4, Z4
	VSUBPS 64(DI)(CX*2), Z5, Z5
	VSUBPS 128(DI)(CX*2), Z6, Z6
	VSUBPS 192(DI)(CX*2), Z7, Z7
	VFMADD231PS Z4, Z4, Z0
	VFMADD231PS Z5, Z5, Z1
	VFMADD231PS Z6, Z6, Z2
	VFMADD231PS Z7, Z7, Z3
	ADDQ $128, CX
	CMPQ CX, AX
	JLT  step

tail:
	CMPQ CX, R8
	JGE  sum
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Z4
	VSUBPS (DI)(CX*2), Z4, Z4
	VFMADD231PS Z4, Z4, Z0
	ADDQ $32, CX
	JMP  tail

sum:
	SUM64F(Z0, Z1, Z2, Z3, Y0, X0, Y4, X4)
	VMOVSS X0, (R12)
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

// dotF16AVX512 scores rows by dot product.
//
// func dotF16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16AVX512(SB), NOSPLIT, $0-72
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
	VXORPS X0, X0, X0
	VXORPS X1, X1, X1
	VXORPS X2, X2, X2
	VXORPS X3, X3, X3
	TESTQ AX, AX
	JZ   tail

step:
	PREFETCHT0 (DX)(CX*1)
	PREFETCHT0 64(DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Z4
	VCVTPH2PS 32(BX)(CX*1), Z5
	VCVTPH2PS 64(BX)(CX*1), Z6
	VCVTPH2PS 96(BX)(CX*1), Z7
	VFMADD231PS (DI)(CX*2), Z4, Z0
	VFMADD231PS 64(DI)(CX*2), Z5, Z1
	VFMADD231PS 128(DI)(CX*2), Z6, Z2
	VFMADD231PS 192(DI)(CX*2), Z7, Z3
	ADDQ $128, CX
	CMPQ CX, AX
	JLT  step

tail:
	CMPQ CX, R8
	JGE  sum
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Z4
	VFMADD231PS (DI)(CX*2), Z4, Z0
	ADDQ $32, CX
	JMP  tail

sum:
	SUM64F(Z0, Z1, Z2, Z3, Y0, X0, Y4, X4)
	VMOVSS X0, (R12)
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

// l2F16AVX2 scores rows by squared Euclidean distance.
//
// func l2F16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16AVX2(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI

row:
	ROWQ(SI, R9, R13)
	VXORPS X0, X0, X0
	VXORPS X1, X1, X1
	VXORPS X2, X2, X2
	VXORPS X3, X3, X3

step:
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Y4
	VCVTPH2PS 16(BX)(CX*1), Y5
	VCVTPH2PS 32(BX)(CX*1), Y6
	VCVTPH2PS 48(BX)(CX*1), Y7
	VSUBPS (DI)(CX*2), Y4, Y4
	VSUBPS 32(DI)(CX*2), Y5, Y5
	VSUBPS 64(DI)(CX*2), Y6, Y6
	VSUBPS 96(DI)(CX*2), Y7, Y7
	VFMADD231PS Y4, Y4, Y0
	VFMADD231PS Y5, Y5, Y1
	VFMADD231PS Y6, Y6, Y2
	VFMADD231PS Y7, Y7, Y3
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step

	SUM32F(Y0, Y1, Y2, Y3, X0, X4)
	VMOVSS X0, (R12)
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

// dotF16AVX2 scores rows by dot product.
//
// func dotF16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16AVX2(SB), NOSPLIT, $0-72
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ out+48(FP), R12
	MOVQ ahead+56(FP), R13
	HEAD
	MOVQ query+0(FP), DI

row:
	ROWQ(SI, R9, R13)
	VXORPS X0, X0, X0
	VXORPS X1, X1, X1
	VXORPS X2, X2, X2
	VXORPS X3, X3, X3

step:
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Y4
	VCVTPH2PS 16(BX)(CX*1), Y5
	VCVTPH2PS 32(BX)(CX*1), Y6
	VCVTPH2PS 48(BX)(CX*1), Y7
	VFMADD231PS (DI)(CX*2), Y4, Y0
	VFMADD231PS 32(DI)(CX*2), Y5, Y1
	VFMADD231PS 64(DI)(CX*2), Y6, Y2
	VFMADD231PS 96(DI)(CX*2), Y7, Y3
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step

	SUM32F(Y0, Y1, Y2, Y3, X0, X4)
	VMOVSS X0, (R12)
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

// widenF16AVX512 makes rows float32: R12 is where the next one goes.
//
// func widenF16AVX512(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16AVX512(SB), NOSPLIT, $0-64
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ dst+0(FP), R12
	MOVQ ahead+48(FP), R13
	HEAD

row:
	ROWQ(SI, R9, R13)

step:
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Z0
	VCVTPH2PS 32(BX)(CX*1), Z1
	VMOVUPS Z0, (R12)(CX*2)
	VMOVUPS Z1, 64(R12)(CX*2)
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	LEAQ (R12)(R8*2), R12
	ADDQ $4, R10
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+56(FP)
	VZEROUPPER
	RET

// widenF16AVX2 makes rows float32.
//
// func widenF16AVX2(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16AVX2(SB), NOSPLIT, $0-64
	MOVQ rows+8(FP), SI
	MOVQ rowBytes+16(FP), R8
	MOVQ last+24(FP), R9
	MOVQ slots+32(FP), R10
	MOVQ n+40(FP), R11
	MOVQ dst+0(FP), R12
	MOVQ ahead+48(FP), R13
	HEAD

row:
	ROWQ(SI, R9, R13)

step:
	PREFETCHT0 (DX)(CX*1)
	VCVTPH2PS (BX)(CX*1), Y0
	VCVTPH2PS 16(BX)(CX*1), Y1
	VCVTPH2PS 32(BX)(CX*1), Y2
	VCVTPH2PS 48(BX)(CX*1), Y3
	VMOVUPS Y0, (R12)(CX*2)
	VMOVUPS Y1, 32(R12)(CX*2)
	VMOVUPS Y2, 64(R12)(CX*2)
	VMOVUPS Y3, 96(R12)(CX*2)
	ADDQ $64, CX
	CMPQ CX, R8
	JLT  step
	LEAQ (R12)(R8*2), R12
	ADDQ $4, R10
	DECQ R11
	JMP  row
done:
	MOVQ n+40(FP), AX
	SUBQ R11, AX
	MOVQ AX, done+56(FP)
	VZEROUPPER
	RET
