//go:build arm64 && !race

#include "textflag.h"

// func prefetchRow(row *byte, bytes int)
TEXT ·prefetchRow(SB), NOSPLIT, $0-16
	MOVD row+0(FP), R8
	MOVD bytes+8(FP), R9
	ADD  R8, R9, R9

line:
	PRFM (R8), PLDL1KEEP
	ADD  $64, R8
	CMP  R9, R8
	BLO  line
	RET

// func prefetchRows(rows *byte, rowBytes int, slots *uint32, n int)
TEXT ·prefetchRows(SB), NOSPLIT, $0-32
	MOVD rows+0(FP), R1
	MOVD rowBytes+8(FP), R2
	MOVD slots+16(FP), R4
	MOVD n+24(FP), R5

row:
	MOVWU.P 4(R4), R8
	MUL  R2, R8, R8
	ADD  R1, R8, R8
	ADD  R2, R8, R9

line:
	PRFM (R8), PLDL1KEEP
	ADD  $64, R8
	CMP  R9, R8
	BLO  line
	SUBS $1, R5
	BNE  row
	RET
