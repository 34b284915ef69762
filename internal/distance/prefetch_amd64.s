//go:build amd64 && !race

#include "textflag.h"

// func prefetchRow(row *byte, bytes int)
TEXT ·prefetchRow(SB), NOSPLIT, $0-16
	MOVQ row+0(FP), BX
	MOVQ bytes+8(FP), CX
	ADDQ BX, CX

line:
	PREFETCHT0 (BX)
	ADDQ $64, BX
	CMPQ BX, CX
	JCS  line
	RET

// func prefetchRows(rows *byte, rowBytes int, slots *uint32, n int)
TEXT ·prefetchRows(SB), NOSPLIT, $0-32
	MOVQ rows+0(FP), SI
	MOVQ rowBytes+8(FP), R8
	MOVQ slots+16(FP), R10
	MOVQ n+24(FP), R11

row:
	MOVL (R10), BX
	IMULQ R8, BX
	ADDQ SI, BX
	LEAQ (BX)(R8*1), DX

line:
	PREFETCHT0 (BX)
	ADDQ $64, BX
	CMPQ BX, DX
	JCS  line
	ADDQ $4, R10
	DECQ R11
	JNZ  row
	RET
