// What the arm64 kernels share.
//
// Registers: R1 rows, R2 bytes in a row, R3 offset of the last whole row, R4 slots left, R5 how many, R6 out left, R7
// prefetch distance in rows; R8 the row, R9 the row to prefetch, R10 bytes left of the row. The queries begin at R0, or at
// R19-R22 if there are four; R11-R14 walk along them. Partial sums are in V0-V3, or from V0 on if there are four queries.
//
// A prefetch cannot fault, so its slot need not be checked.

// Instructions that Go's assembler does not have, as the Arm Architecture Reference Manual encodes them. Operands stand
// in Go's order: second source, first source, destination, each the number of a V register.
#define FSUB4S(m, n, d)   WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))
#define FADD4S(m, n, d)   WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
#define FMLA4S(m, n, d)   WORD $(0x4E20CC00 | (m)<<16 | (n)<<5 | (d))
#define FADDP4S(m, n, d)  WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))
#define UABD16B(m, n, d)  WORD $(0x6E207400 | (m)<<16 | (n)<<5 | (d))
#define SABD16B(m, n, d)  WORD $(0x4E207400 | (m)<<16 | (n)<<5 | (d))
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

// BEGIN begins a kernel: it takes what the registers above hold from the arguments, and prefetches.
#define BEGIN(rows, rowBytes, last, slots, n, out, ahead) \
	MOVD rows, R1     \
	MOVD rowBytes, R2 \
	MOVD last, R3     \
	MOVD slots, R4    \
	MOVD n, R5        \
	MOVD out, R6      \
	MOVD ahead, R7    \
	HEAD

// FOUR takes the addresses of four queries.
#define FOUR(queries) \
	MOVD queries, R8       \
	LDP  (R8), (R19, R20)  \
	LDP  16(R8), (R21, R22)

// NEXT goes on to the next row.
#define NEXT \
	ADD  $4, R4 \
	SUB  $1, R5 \
	JMP  row

// END ends a kernel, which returns how many of the n rows it was through with.
#define END(n, count) \
done:                  \
	MOVD n, R8     \
	SUB  R5, R8    \
	MOVD R8, count \
	RET

// AHEAD asks for a line of the row to prefetch.
#define AHEAD \
	PRFM (R9), PLDL1KEEP \
	ADD  $64, R9

// ZERO4 and ZERO16 clear as many partial sums.
#define ZERO4 \
	VEOR V0.B16, V0.B16, V0.B16 \
	VEOR V1.B16, V1.B16, V1.B16 \
	VEOR V2.B16, V2.B16, V2.B16 \
	VEOR V3.B16, V3.B16, V3.B16
#define ZERO16 \
	ZERO4                          \
	VEOR V4.B16, V4.B16, V4.B16    \
	VEOR V5.B16, V5.B16, V5.B16    \
	VEOR V6.B16, V6.B16, V6.B16    \
	VEOR V7.B16, V7.B16, V7.B16    \
	VEOR V8.B16, V8.B16, V8.B16    \
	VEOR V9.B16, V9.B16, V9.B16    \
	VEOR V10.B16, V10.B16, V10.B16 \
	VEOR V11.B16, V11.B16, V11.B16 \
	VEOR V12.B16, V12.B16, V12.B16 \
	VEOR V13.B16, V13.B16, V13.B16 \
	VEOR V14.B16, V14.B16, V14.B16 \
	VEOR V15.B16, V15.B16, V15.B16

// LINE adds a line of the row and the query to the sums by op(query, row, t, sums...), whose operands are the first of four V
// registers each, but for the sums, which are named one by one. It may overwrite the query and t.
#define LINE(op) \
	VLD1.P 64(R8), [V16.B16, V17.B16, V18.B16, V19.B16]  \
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16] \
	op(20, 16, 24, 0, 1, 2, 3)

// NIBBLES is LINE of nibbles, which are two lines of the query. Two shifts leave a nibble in bits 3 to 6 of its byte, which is eight
// times its value and positive as a signed byte.
#define NIBBLES(op) \
	VLD1.P 64(R8), [V4.B16, V5.B16, V6.B16, V7.B16]      \
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16] \
	VSHL $4, V4.B16, V16.B16                             \
	VSHL $4, V5.B16, V17.B16                             \
	VSHL $4, V6.B16, V18.B16                             \
	VSHL $4, V7.B16, V19.B16                             \
	VUSHR $1, V16.B16, V16.B16                           \
	VUSHR $1, V17.B16, V17.B16                           \
	VUSHR $1, V18.B16, V18.B16                           \
	VUSHR $1, V19.B16, V19.B16                           \
	op(20, 16, 24, 0, 1, 2, 3)                           \
	VLD1.P 64(R11), [V20.B16, V21.B16, V22.B16, V23.B16] \
	VUSHR $4, V4.B16, V16.B16                            \
	VUSHR $4, V5.B16, V17.B16                            \
	VUSHR $4, V6.B16, V18.B16                            \
	VUSHR $4, V7.B16, V19.B16                            \
	VSHL $3, V16.B16, V16.B16                            \
	VSHL $3, V17.B16, V17.B16                            \
	VSHL $3, V18.B16, V18.B16                            \
	VSHL $3, V19.B16, V19.B16                            \
	op(20, 16, 24, 0, 1, 2, 3)

// SCORE scores rows line by line, and adds the sums up by total.
#define SCORE(line, op, total) \
row:                      \
	ROW               \
	MOVD R0, R11      \
	ZERO4             \
step:                     \
	AHEAD             \
	line(op)          \
	SUBS $64, R10     \
	BNE  step         \
	total             \
	FMOVS F0, (R6)    \
	ADD  $4, R6       \
	NEXT

// SCORE4 scores rows with four queries. A query has four sums if each is 1, or one if it is 0; zero clears them.
#define SCORE4(op, each, zero, total) \
row:                                                         \
	ROW                                                  \
	MOVD R19, R11                                        \
	MOVD R20, R12                                        \
	MOVD R21, R13                                        \
	MOVD R22, R14                                        \
	zero                                                 \
step:                                                        \
	AHEAD                                                \
	VLD1.P 64(R8), [V16.B16, V17.B16, V18.B16, V19.B16]  \
	QUERY(R11, op, 0, each)                              \
	QUERY(R12, op, 1+3*each, each)                       \
	QUERY(R13, op, 2+6*each, each)                       \
	QUERY(R14, op, 3+9*each, each)                       \
	SUBS $64, R10                                        \
	BNE  step                                            \
	total                                                \
	VST1.P [V0.S4], 16(R6)                               \
	NEXT

// QUERY adds a line of the row, in V16-V19, and a query to the sums from first on.
#define QUERY(query, op, first, each) \
	VLD1.P 64(query), [V20.B16, V21.B16, V22.B16, V23.B16] \
	op(20, 16, 24, first, first+each, first+2*each, first+3*each)

// SUM4D and SUM4X4D add up integers: of V0-V3 to V0, or those of each register to a lane of V0.
#define SUM4D \
	VADD V1.S4, V0.S4, V0.S4 \
	VADD V3.S4, V2.S4, V2.S4 \
	VADD V2.S4, V0.S4, V0.S4 \
	VADDV V0.S4, V0
#define SUM4X4D \
	VADDP V1.S4, V0.S4, V0.S4 \
	VADDP V3.S4, V2.S4, V2.S4 \
	VADDP V2.S4, V0.S4, V0.S4
