//go:build arm64 && !race

#include "textflag.h"
#include "kernels_arm64.h"

// The kernels of half floats. Those that score are the float kernels with another load, in steps of a line, which holds twice
// as many components. They add in the same order, so the results are those of the float kernels for the row made float32, to the bit.

// WIDEN makes a line of the row 32 floats, in V16 to V23.
#define WIDEN \
	VLD1.P 64(R8), [V4.H8, V5.H8, V6.H8, V7.H8] \
	FCVTL4S(4, 16)  \
	FCVTL24S(4, 17) \
	FCVTL4S(5, 18)  \
	FCVTL24S(5, 19) \
	FCVTL4S(6, 20)  \
	FCVTL24S(6, 21) \
	FCVTL4S(7, 22)  \
	FCVTL24S(7, 23)

// l2F16NEON scores rows by squared Euclidean distance.
//
// func l2F16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·l2F16NEON(SB), NOSPLIT, $0-72
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
	WIDEN
	VLD1.P 64(R11), [V24.S4, V25.S4, V26.S4, V27.S4]
	VLD1.P 64(R11), [V28.S4, V29.S4, V30.S4, V31.S4]
	FSUB4S(24, 16, 16)
	FSUB4S(25, 17, 17)
	FSUB4S(26, 18, 18)
	FSUB4S(27, 19, 19)
	FSUB4S(28, 20, 20)
	FSUB4S(29, 21, 21)
	FSUB4S(30, 22, 22)
	FSUB4S(31, 23, 23)
	VFMLA V16.S4, V16.S4, V0.S4
	VFMLA V17.S4, V17.S4, V1.S4
	VFMLA V18.S4, V18.S4, V2.S4
	VFMLA V19.S4, V19.S4, V3.S4
	VFMLA V20.S4, V20.S4, V0.S4
	VFMLA V21.S4, V21.S4, V1.S4
	VFMLA V22.S4, V22.S4, V2.S4
	VFMLA V23.S4, V23.S4, V3.S4
	SUBS $64, R10
	BNE  step
	FADD4S(1, 0, 0)
	FADD4S(3, 2, 2)
	FADD4S(2, 0, 0)
	FADDP4S(0, 0, 0)
	FADDP4S(0, 0, 0)
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

// dotF16NEON scores rows by dot product.
//
// func dotF16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
TEXT ·dotF16NEON(SB), NOSPLIT, $0-72
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
	WIDEN
	VLD1.P 64(R11), [V24.S4, V25.S4, V26.S4, V27.S4]
	VLD1.P 64(R11), [V28.S4, V29.S4, V30.S4, V31.S4]
	VFMLA V24.S4, V16.S4, V0.S4
	VFMLA V25.S4, V17.S4, V1.S4
	VFMLA V26.S4, V18.S4, V2.S4
	VFMLA V27.S4, V19.S4, V3.S4
	VFMLA V28.S4, V20.S4, V0.S4
	VFMLA V29.S4, V21.S4, V1.S4
	VFMLA V30.S4, V22.S4, V2.S4
	VFMLA V31.S4, V23.S4, V3.S4
	SUBS $64, R10
	BNE  step
	FADD4S(1, 0, 0)
	FADD4S(3, 2, 2)
	FADD4S(2, 0, 0)
	FADDP4S(0, 0, 0)
	FADDP4S(0, 0, 0)
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

// widenF16NEON makes rows float32: R6 is where the next line goes.
//
// func widenF16NEON(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)
TEXT ·widenF16NEON(SB), NOSPLIT, $0-64
	MOVD rows+8(FP), R1
	MOVD rowBytes+16(FP), R2
	MOVD last+24(FP), R3
	MOVD slots+32(FP), R4
	MOVD n+40(FP), R5
	MOVD dst+0(FP), R6
	MOVD ahead+48(FP), R7
	HEAD

row:
	ROW

step:
	PRFM (R9), PLDL1KEEP
	ADD  $64, R9
	WIDEN
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(R6)
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(R6)
	SUBS $64, R10
	BNE  step
	ADD  $4, R4
	SUB  $1, R5
	JMP  row

done:
	MOVD n+40(FP), R8
	SUB  R5, R8
	MOVD R8, done+56(FP)
	RET
