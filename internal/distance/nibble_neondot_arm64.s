//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The nibble kernels of NEON with the dot product extension. Two shifts leave a nibble in bits 3 to 6 of its byte, which is eight times its value and
// positive as a signed byte.

// l2U4NEONDot scores rows of nibbles by squared Euclidean distance.
//
// func l2U4NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)
TEXT ·l2U4NEONDot(SB), NOSPLIT, $0-72
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
	VSHL $4, V4.B16, V20.B16
	VSHL $4, V5.B16, V21.B16
	VSHL $4, V6.B16, V22.B16
	VSHL $4, V7.B16, V23.B16
	VUSHR $1, V20.B16, V20.B16
	VUSHR $1, V21.B16, V21.B16
	VUSHR $1, V22.B16, V22.B16
	VUSHR $1, V23.B16, V23.B16
	SABD16B(16, 20, 20)
	SABD16B(17, 21, 21)
	SABD16B(18, 22, 22)
	SABD16B(19, 23, 23)
	UDOT4S(20, 20, 0)
	UDOT4S(21, 21, 1)
	UDOT4S(22, 22, 2)
	UDOT4S(23, 23, 3)
	VLD1.P 64(R11), [V16.B16, V17.B16, V18.B16, V19.B16]
	VUSHR $4, V4.B16, V20.B16
	VUSHR $4, V5.B16, V21.B16
	VUSHR $4, V6.B16, V22.B16
	VUSHR $4, V7.B16, V23.B16
	VSHL $3, V20.B16, V20.B16
	VSHL $3, V21.B16, V21.B16
	VSHL $3, V22.B16, V22.B16
	VSHL $3, V23.B16, V23.B16
	SABD16B(16, 20, 20)
	SABD16B(17, 21, 21)
	SABD16B(18, 22, 22)
	SABD16B(19, 23, 23)
	UDOT4S(20, 20, 0)
	UDOT4S(21, 21, 1)
	UDOT4S(22, 22, 2)
	UDOT4S(23, 23, 3)
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

// dotU4S8NEONDot scores rows of nibbles by dot product.
//
// func dotU4S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)
TEXT ·dotU4S8NEONDot(SB), NOSPLIT, $0-72
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
	VSHL $4, V4.B16, V20.B16
	VSHL $4, V5.B16, V21.B16
	VSHL $4, V6.B16, V22.B16
	VSHL $4, V7.B16, V23.B16
	VUSHR $1, V20.B16, V20.B16
	VUSHR $1, V21.B16, V21.B16
	VUSHR $1, V22.B16, V22.B16
	VUSHR $1, V23.B16, V23.B16
	SDOT4S(16, 20, 0)
	SDOT4S(17, 21, 1)
	SDOT4S(18, 22, 2)
	SDOT4S(19, 23, 3)
	VLD1.P 64(R11), [V16.B16, V17.B16, V18.B16, V19.B16]
	VUSHR $4, V4.B16, V20.B16
	VUSHR $4, V5.B16, V21.B16
	VUSHR $4, V6.B16, V22.B16
	VUSHR $4, V7.B16, V23.B16
	VSHL $3, V20.B16, V20.B16
	VSHL $3, V21.B16, V21.B16
	VSHL $3, V22.B16, V22.B16
	VSHL $3, V23.B16, V23.B16
	SDOT4S(16, 20, 0)
	SDOT4S(17, 21, 1)
	SDOT4S(18, 22, 2)
	SDOT4S(19, 23, 3)
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
