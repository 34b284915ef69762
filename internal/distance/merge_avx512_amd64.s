//go:build amd64 && !race

#include "textflag.h"

// The merge of AVX-512. No branch depends on where an entry belongs. First every fresh entry is given its place: as many as there are
// less than it, of the others (counted eight at a time) and of the items (searched by halves; the searches do not wait for each
// other). A bit is set for every place. Then, from the end, items are moved eight places at a time, past the places whose bits
// are set: VPEXPANDQ leaves these free. A line is never stored before what it covers was read. At last the entries are put there.
//
// Registers: SI items, R8 n, DI fresh, R9 its entries in whole lines, K1 those beyond, BX the entry's number, DX itself, CX how
// many of fresh are less, AX where its search has come to, R11 how many items are left there, R13 places. The bits of 2048 places are
// at 0(SP), the places of 64 entries at 256(SP).

// func mergeAVX512(items *uint64, n int, fresh *uint64, m int) (first int)
TEXT ·mergeAVX512(SB), 0, $768-40
	MOVQ items+0(FP), SI
	MOVQ n+8(FP), R8
	MOVQ fresh+16(FP), DI
	MOVQ m+24(FP), CX
	VPXORQ Z0, Z0, Z0
	VMOVDQU64 Z0, 0(SP)
	VMOVDQU64 Z0, 64(SP)
	VMOVDQU64 Z0, 128(SP)
	VMOVDQU64 Z0, 192(SP)
	MOVQ CX, R9
	ANDQ $~7, R9
	ANDL $7, CX
	MOVL $1, AX
	SHLL CX, AX
	DECL AX
	KMOVW AX, K1
	VMOVDQU64.Z (DI)(R9*8), K1, Z2
	XORL BX, BX
	XORL R13, R13

entry:
	MOVQ (DI)(BX*8), DX
	VPBROADCASTQ DX, Z1
	VPCMPUQ $6, Z2, Z1, K1, K2
	KMOVW K2, CX
	POPCNTL CX, CX
	MOVQ R9, AX
	TESTQ AX, AX
	JZ   search

line:
	VPCMPUQ $6, -64(DI)(AX*8), Z1, K2
	KMOVW K2, R11
	POPCNTL R11, R11
	ADDQ R11, CX
	SUBQ $8, AX
	JNZ  line

search:
	MOVQ SI, AX
	MOVQ R8, R11
	CMPQ R11, $1
	JLT  place
	JEQ  last

half:
	MOVQ R11, R12
	SHRQ $1, R12
	LEAQ (AX)(R12*8), R10
	CMPQ -8(R10), DX
	CMOVQCS R10, AX
	SUBQ R12, R11
	CMPQ R11, $1
	JNE  half

last:
	LEAQ 8(AX), R10
	CMPQ (AX), DX
	CMOVQCS R10, AX

place:
	SUBQ SI, AX
	SHRQ $3, AX
	ADDQ CX, AX
	MOVQ AX, 256(SP)(BX*8)
	MOVQ AX, R10
	SHRQ $3, R10
	ANDL $7, AX
	MOVBLZX 0(SP)(R10*1), CX
	BTSL AX, CX
	SBBQ $-1, R13
	MOVB CX, 0(SP)(R10*1)
	INCQ BX
	CMPQ BX, m+24(FP)
	JNE  entry

	LEAQ -1(R8)(BX*1), AX
	SHRQ $3, AX
	SHLQ $3, AX

move:
	MOVQ AX, CX
	SHRQ $3, CX
	MOVBLZX 0(SP)(CX*1), DX
	POPCNTL DX, R10
	SUBQ R10, R13
	KMOVW DX, K1
	KNOTW K1, K1
	MOVQ AX, R11
	SUBQ R13, R11
	VMOVDQU64 (SI)(R11*8), Z0
	VPEXPANDQ.Z Z0, K1, Z0
	VMOVDQU64 Z0, (SI)(AX*8)
	SUBQ $8, AX
	TESTQ R13, R13
	JNZ  move
	BSFL DX, DX
	LEAQ 8(AX)(DX*1), AX
	MOVQ AX, first+32(FP)

put:
	MOVQ -8(DI)(BX*8), DX
	MOVQ 248(SP)(BX*8), AX
	MOVQ DX, (SI)(AX*8)
	DECQ BX
	JNZ  put
	VZEROUPPER
	RET
