//go:build amd64 && !race

package distance

const forcedGeneric = false

func bestOf(info string) (best tier, known bool) {
	flags := flagsOf(info, "flags")
	switch {
	case len(flags) == 0:
		return tierGeneric, false
	case hasAll(flags, "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"):
		return tierAVX512, true
	case hasAll(flags, "avx2", "fma", "f16c"):
		return tierAVX2, true
	}
	return tierGeneric, true
}
