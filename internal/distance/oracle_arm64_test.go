//go:build arm64 && !race

package distance

const forcedGeneric = false

func bestOf(info string) (best tier, known bool) {
	flags := flagsOf(info, "Features")
	switch {
	case len(flags) == 0:
		return tierGeneric, false
	case hasAll(flags, "asimd", "asimddp"):
		return tierNEONDot, true
	}
	return tierNEON, true
}
