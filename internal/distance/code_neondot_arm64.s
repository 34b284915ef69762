//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The code kernels of NEON with the dot product extension: UDOT and SDOT add four products of bytes to a 32-bit lane. The
// codes of a row count as signed bytes where the query is signed; below 128 that is the same.

// l2U7NEONDot scores rows by squared Euclidean distance.
//
// func l2U7NEONDot(query *uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U7NEONDot(SB), NOSPLIT, $0-72
	MOVD rows+8(FP), R1
	MOVD rowBytes+16(FP), R2
	MOVD last+24(FP), R3
	MOVD slots+32(FP), R4
	MOVD n+40(FP), R5
	MOVD out+48(FP), R6
	MOVD ahead+56(FP), R7
	HEAD
	MOVD query+0(FP), R0

row:
	ROW
	MOVD R0, R11
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

step:
	PRFM (R9), PLDL1KEEP
	ADD  $64, R9
	VLD1.P 64(R8), [V4.B16, V5.B16, V6.B16, V7.B16]
	VLD1.P 64(R11), [V16.B16, V17.B16, V18.B16, V19.B16]
	UABD16B(16, 4, 4)
	UABD16B(17, 5, 5)
	UABD16B(18, 6, 6)
	UABD16B(19, 7, 7)
	UDOT4S(4, 4, 0)
	UDOT4S(5, 5, 1)
	UDOT4S(6, 6, 2)
	UDOT4S(7, 7, 3)
	SUBS $64, R10
	BNE  step
	VADD V1.S4, V0.S4, V0.S4
	VADD V3.S4, V2.S4, V2.S4
	VADD V2.S4, V0.S4, V0.S4
	VADDV V0.S4, V0
	FMOVS F0, (R6)
	ADD  $4, R6
	ADD  $4, R4
	SUB  $1, R5
	JMP  row

done:
	MOVD n+40(FP), R8
	SUB  R5, R8
	MOVD R8, done+64(FP)
	RET

// dotU7S8NEONDot scores rows by dot product.
//
// func dotU7S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU7S8NEONDot(SB), NOSPLIT, $0-72
	MOVD rows+8(FP), R1
	MOVD rowBytes+16(FP), R2
	MOVD last+24(FP), R3
	MOVD slots+32(FP), R4
	MOVD n+40(FP), R5
	MOVD out+48(FP), R6
	MOVD ahead+56(FP), R7
	HEAD
	MOVD query+0(FP), R0

row:
	ROW
	MOVD R0, R11
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

step:
	PRFM (R9), PLDL1KEEP
	ADD  $64, R9
	VLD1.P 64(R8), [V4.B16, V5.B16, V6.B16, V7.B16]
	VLD1.P 64(R11), [V16.B16, V17.B16, V18.B16, V19.B16]
	SDOT4S(16, 4, 0)
	SDOT4S(17, 5, 1)
	SDOT4S(18, 6, 2)
	SDOT4S(19, 7, 3)
	SUBS $64, R10
	BNE  step
	VADD V1.S4, V0.S4, V0.S4
	VADD V3.S4, V2.S4, V2.S4
	VADD V2.S4, V0.S4, V0.S4
	VADDV V0.S4, V0
	FMOVS F0, (R6)
	ADD  $4, R6
	ADD  $4, R4
	SUB  $1, R5
	JMP  row

done:
	MOVD n+40(FP), R8
	SUB  R5, R8
	MOVD R8, done+64(FP)
	RET

// l2U7QuadNEONDot is l2U7NEONDot for four queries: Vi belongs to query i.
//
// func l2U7QuadNEONDot(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)
TEXT ·l2U7QuadNEONDot(SB), NOSPLIT, $0-72
	MOVD rows+8(FP), R1
	MOVD rowBytes+16(FP), R2
	MOVD last+24(FP), R3
	MOVD slots+32(FP), R4
	MOVD n+40(FP), R5
	MOVD out+48(FP), R6
	MOVD ahead+56(FP), R7
	HEAD
	MOVD queries+0(FP), R8
	LDP  (R8), (R19, R20)
	LDP  16(R8), (R21, R22)

row:
	ROW
	MOVD R19, R11
	MOVD R20, R12
	MOVD R21, R13
	MOVD R22, R14
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

step:
	PRFM (R9), PLDL1KEEP
	ADD  $64, R9
	VLD1.P 64(R8), [V16.B16, V17.B16, V18.B16, V19.B16]
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16]
	UABD16B(20, 16, 20)
	UABD16B(21, 17, 21)
	UABD16B(22, 18, 22)
	UABD16B(23, 19, 23)
	UDOT4S(20, 20, 0)
	UDOT4S(21, 21, 0)
	UDOT4S(22, 22, 0)
	UDOT4S(23, 23, 0)
	VLD1.P 64(R12), [V20.B16, V21.B16, V22.B16, V23.B16]
	UABD16B(20, 16, 20)
	UABD16B(21, 17, 21)
	UABD16B(22, 18, 22)
	UABD16B(23, 19, 23)
	UDOT4S(20, 20, 1)
	UDOT4S(21, 21, 1)
	UDOT4S(22, 22, 1)
	UDOT4S(23, 23, 1)
	VLD1.P 64(R13), [V20.B16, V21.B16, V22.B16, V23.B16]
	UABD16B(20, 16, 20)
	UABD16B(21, 17, 21)
	UABD16B(22, 18, 22)
	UABD16B(23, 19, 23)
	UDOT4S(20, 20, 2)
	UDOT4S(21, 21, 2)
	UDOT4S(22, 22, 2)
	UDOT4S(23, 23, 2)
	VLD1.P 64(R14), [V20.B16, V21.B16, V22.B16, V23.B16]
	UABD16B(20, 16, 20)
	UABD16B(21, 17, 21)
	UABD16B(22, 18, 22)
	UABD16B(23, 19, 23)
	UDOT4S(20, 20, 3)
	UDOT4S(21, 21, 3)
	UDOT4S(22, 22, 3)
	UDOT4S(23, 23, 3)
	SUBS $64, R10
	BNE  step
	VADDP V1.S4, V0.S4, V0.S4
	VADDP V3.S4, V2.S4, V2.S4
	VADDP V2.S4, V0.S4, V0.S4
	VST1.P [V0.S4], 16(R6)
	ADD  $4, R4
	SUB  $1, R5
	JMP  row

done:
	MOVD n+40(FP), R8
	SUB  R5, R8
	MOVD R8, done+64(FP)
	RET

// dotU7S8QuadNEONDot is dotU7S8NEONDot for four queries.
//
// func dotU7S8QuadNEONDot(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)
TEXT ·dotU7S8QuadNEONDot(SB), NOSPLIT, $0-72
	MOVD rows+8(FP), R1
	MOVD rowBytes+16(FP), R2
	MOVD last+24(FP), R3
	MOVD slots+32(FP), R4
	MOVD n+40(FP), R5
	MOVD out+48(FP), R6
	MOVD ahead+56(FP), R7
	HEAD
	MOVD queries+0(FP), R8
	LDP  (R8), (R19, R20)
	LDP  16(R8), (R21, R22)

row:
	ROW
	MOVD R19, R11
	MOVD R20, R12
	MOVD R21, R13
	MOVD R22, R14
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16

step:
	PRFM (R9), PLDL1KEEP
	ADD  $64, R9
	VLD1.P 64(R8), [V16.B16, V17.B16, V18.B16, V19.B16]
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16]
	SDOT4S(20, 16, 0)
	SDOT4S(21, 17, 0)
	SDOT4S(22, 18, 0)
	SDOT4S(23, 19, 0)
	VLD1.P 64(R12), [V20.B16, V21.B16, V22.B16, V23.B16]
	SDOT4S(20, 16, 1)
	SDOT4S(21, 17, 1)
	SDOT4S(22, 18, 1)
	SDOT4S(23, 19, 1)
	VLD1.P 64(R13), [V20.B16, V21.B16, V22.B16, V23.B16]
	SDOT4S(20, 16, 2)
	SDOT4S(21, 17, 2)
	SDOT4S(22, 18, 2)
	SDOT4S(23, 19, 2)
	VLD1.P 64(R14), [V20.B16, V21.B16, V22.B16, V23.B16]
	SDOT4S(20, 16, 3)
	SDOT4S(21, 17, 3)
	SDOT4S(22, 18, 3)
	SDOT4S(23, 19, 3)
	SUBS $64, R10
	BNE  step
	VADDP V1.S4, V0.S4, V0.S4
	VADDP V3.S4, V2.S4, V2.S4
	VADDP V2.S4, V0.S4, V0.S4
	VST1.P [V0.S4], 16(R6)
	ADD  $4, R4
	SUB  $1, R5
	JMP  row

done:
	MOVD n+40(FP), R8
	SUB  R5, R8
	MOVD R8, done+64(FP)
	RET
