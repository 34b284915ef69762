// What the arm64 kernels share.
//
// Registers: R1 rows, R2 bytes in a row, R3 offset of the last whole row, R4 slots left, R5 how many, R6 out left, R7
// prefetch distance in rows; R8 the row, R9 the row to prefetch, R10 bytes left of the row. The queries begin at R0, or at
// R19-R22 if there are four; R11-R14 walk along them.
//
// A prefetch cannot fault, so its slot need not be checked.

// Instructions that Go's assembler does not have, as the Arm Architecture Reference Manual encodes them. Operands stand
// in Go's order: second source, first source, destination, each the number of a V register.
#define FSUB4S(m, n, d)   WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))
#define FADD4S(m, n, d)   WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
#define FADDP4S(m, n, d)  WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))
#define UABD16B(m, n, d)  WORD $(0x6E207400 | (m)<<16 | (n)<<5 | (d))
#define SABD16B(m, n, d)   WORD $(0x4E207400 | (m)<<16 | (n)<<5 | (d))
#define UMULL8H(m, n, d)  WORD $(0x2E20C000 | (m)<<16 | (n)<<5 | (d))
#define UMLAL28H(m, n, d) WORD $(0x6E208000 | (m)<<16 | (n)<<5 | (d))
#define SMULL8H(m, n, d)  WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d))
#define SMLAL28H(m, n, d) WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d))
#define UADALP4S(n, d)    WORD $(0x6E606800 | (n)<<5 | (d))
#define SADALP4S(n, d)    WORD $(0x4E606800 | (n)<<5 | (d))
#define UDOT4S(m, n, d)   WORD $(0x6E809400 | (m)<<16 | (n)<<5 | (d))
#define SDOT4S(m, n, d)   WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d))
#define FCVTL4S(n, d)     WORD $(0x0E217800 | (n)<<5 | (d))
#define FCVTL24S(n, d)    WORD $(0x4E217800 | (n)<<5 | (d))

// HEAD prefetches the first rows, which no earlier row announces. It clobbers R8, R9, R10 and R11.
#define HEAD \
	CMP  R5, R7           \
	CSEL LT, R7, R5, R11  \
	MOVD R4, R10          \
head:                         \
	CBZ  R11, headDone    \
	MOVWU.P 4(R10), R8    \
	MUL  R2, R8, R8       \
	ADD  R1, R8, R8       \
	ADD  R2, R8, R9       \
headLine:                     \
	PRFM (R8), PLDL1KEEP  \
	ADD  $64, R8          \
	CMP  R9, R8           \
	BLO  headLine         \
	SUB  $1, R11          \
	JMP  head             \
headDone:

// ROW takes the next row of the list, or leaves for done at the end of the list or at a row outside the arena. Without a
// row to prefetch it sets R9 to the row itself.
#define ROW \
	CBZ  R5, done         \
	MOVWU (R4), R8        \
	MUL  R2, R8, R8       \
	CMP  R3, R8           \
	BHI  done             \
	ADD  R1, R8, R8       \
	MOVD R8, R9           \
	CMP  R7, R5           \
	BLE  aheadDone        \
	MOVWU (R4)(R7<<2), R9 \
	MUL  R2, R9, R9       \
	ADD  R1, R9, R9       \
aheadDone:                    \
	MOVD R2, R10
