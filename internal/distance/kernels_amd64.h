// What the amd64 kernels share.
//
// Registers: SI rows, R8 bytes in a row, R9 offset of the last whole row, R10 slots left, R11 how many, R12 out left, R13
// prefetch distance in rows; BX the row, DX the row to prefetch, CX the offset in both. R14 (g), R15 and BP are left alone.
//
// Lines of the row to prefetch are asked for one by one between the lines of the row at work, so that requests leave at
// the pace at which data is used and never fill the queue alone. A prefetch cannot fault, so its slot need not be checked.

// HEAD prefetches the first rows, which no earlier row announces. It clobbers AX, BX, CX and DX.
#define HEAD \
	MOVQ R13, AX         \
	CMPQ AX, R11         \
	CMOVQGT R11, AX      \
	XORL CX, CX          \
head:                        \
	CMPQ CX, AX          \
	JGE  headDone        \
	MOVL (R10)(CX*4), BX \
	IMULQ R8, BX         \
	ADDQ SI, BX          \
	LEAQ (BX)(R8*1), DX  \
headLine:                    \
	PREFETCHT0 (BX)      \
	ADDQ $64, BX         \
	CMPQ BX, DX          \
	JCS  headLine        \
	INCQ CX              \
	JMP  head            \
headDone:

// ROWQ takes the next row of the list, or leaves for done at the end of the list or at a row outside the arena. Without a
// row to prefetch it sets DX to the row itself. (The Q makes go vet check the arguments as 8-byte values.)
#define ROWQ(rows, last, ahead) \
	TESTQ R11, R11       \
	JZ   done            \
	MOVL (R10), BX       \
	IMULQ R8, BX         \
	CMPQ BX, last        \
	JHI  done            \
	ADDQ rows, BX        \
	MOVQ BX, DX          \
	MOVQ ahead, CX       \
	CMPQ CX, R11         \
	JGE  aheadDone       \
	MOVL (R10)(CX*4), DX \
	IMULQ R8, DX         \
	ADDQ rows, DX        \
aheadDone:                   \
	XORL CX, CX

// BEGINQ begins a kernel: it takes what the registers above hold from the arguments, and prefetches.
#define BEGINQ(rows, rowBytes, last, slots, n, out, ahead) \
	MOVQ rows, SI     \
	MOVQ rowBytes, R8 \
	MOVQ last, R9     \
	MOVQ slots, R10   \
	MOVQ n, R11       \
	MOVQ out, R12     \
	MOVQ ahead, R13   \
	HEAD

// FOURQ takes the addresses of four queries. They have the registers of what a kernel of four reads from its arguments.
#define FOURQ(queries) \
	MOVQ queries, CX \
	MOVQ 0(CX), DI   \
	MOVQ 8(CX), R9   \
	MOVQ 16(CX), R13 \
	MOVQ 24(CX), AX

// NEXT goes on to the next row; the result of this one has the given bytes.
#define NEXT(bytes) \
	ADDQ $4, R10     \
	ADDQ $bytes, R12 \
	DECQ R11         \
	JMP  row

// ENDQ ends a kernel, which returns how many of the n rows it was through with.
#define ENDQ(n, count) \
done:                \
	MOVQ n, AX      \
	SUBQ R11, AX    \
	MOVQ AX, count  \
	VZEROUPPER      \
	RET

// LINES1, 2 and 4 ask for so many lines of the row to prefetch.
#define LINES1 \
	PREFETCHT0 (DX)(CX*1)
#define LINES2 \
	LINES1                  \
	PREFETCHT0 64(DX)(CX*1)
#define LINES4 \
	LINES2                   \
	PREFETCHT0 128(DX)(CX*1) \
	PREFETCHT0 192(DX)(CX*1)

// ZERO4 clears four registers, named by their lowest parts.
#define ZERO4(a, b, c, d) \
	VXORPS a, a, a \
	VXORPS b, b, b \
	VXORPS c, c, c \
	VXORPS d, d, d

// SUM8F adds up the eight floats of Y0 (t is its temporary) into the lowest of X0, halving each time.
#define SUM8F(y, x, t) \
	VEXTRACTF128 $1, y, t \
	VADDPS t, x, x        \
	VMOVHLPS x, x, t      \
	VADDPS t, x, x        \
	VMOVSHDUP x, t        \
	VADDSS t, x, x

// SUM32F adds up four vectors of eight floats into the lowest of x0.
#define SUM32F(y0, y1, y2, y3, x0, t) \
	VADDPS y1, y0, y0 \
	VADDPS y3, y2, y2 \
	VADDPS y2, y0, y0 \
	SUM8F(y0, x0, t)

// SUM64F adds up four vectors of sixteen floats into the lowest of x0.
#define SUM64F(z0, z1, z2, z3, y0, x0, yt, xt) \
	VADDPS z1, z0, z0           \
	VADDPS z3, z2, z2           \
	VADDPS z2, z0, z0           \
	VEXTRACTF64X4 $1, z0, yt    \
	VADDPS yt, y0, y0           \
	SUM8F(y0, x0, xt)

// FOLDZ and FOLDY fold sixteen and eight integers to four.
#define FOLDY(y, x, t) \
	VEXTRACTI128 $1, y, t \
	VPADDD t, x, x

#define FOLDZ(z, y, x, yt, xt) \
	VEXTRACTI64X4 $1, z, yt \
	VPADDD yt, y, y         \
	FOLDY(y, x, xt)

// SUM4D adds up the four integers of x into its lowest.
#define SUM4D(x, t) \
	VPSHUFD $0xEE, x, t \
	VPADDD t, x, x      \
	VPSHUFD $0x55, x, t \
	VPADDD t, x, x
