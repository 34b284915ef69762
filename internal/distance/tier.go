package distance

import "os"

// tier names a set of kernels. Tiers of one architecture are ordered: a higher one is faster.
type tier uint8

const (
	tierGeneric tier = iota
	tierAVX2         // amd64: AVX2, FMA, F16C
	tierAVX512       // amd64: AVX-512 F, BW, VL, VNNI
	tierNEON         // arm64: the base instruction set
	tierNEONDot      // arm64: NEON and the dot product extension (UDOT, SDOT)
)

// tierVariable names the environment variable that overrides the choice.
const tierVariable = "SEGUE_DISTANCE_TIER"

// active is the tier of the exported functions. It is set once, before main, and never changes.
var active = choose(os.Getenv(tierVariable), machineTiers())

// Tier returns the name of the tier in use: generic, avx2, avx512, neon or neondot.
func Tier() string { return active.String() }

func (t tier) String() string {
	switch t {
	case tierGeneric:
		return "generic"
	case tierAVX2:
		return "avx2"
	case tierAVX512:
		return "avx512"
	case tierNEON:
		return "neon"
	case tierNEONDot:
		return "neondot"
	}
	return "unknown"
}

// choose returns the tier called name if it is among those given, else the last, which is the best.
func choose(name string, tiers []tier) tier {
	for _, t := range tiers {
		if t.String() == name {
			return t
		}
	}
	return tiers[len(tiers)-1]
}
