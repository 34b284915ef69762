package distance

import (
	"os"
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	tiers := []tier{tierGeneric, tierAVX2, tierAVX512}
	for name, want := range map[string]tier{
		"": tierAVX512, "avx512": tierAVX512, "avx2": tierAVX2, "generic": tierGeneric,
		"neon": tierAVX512, "AVX2": tierAVX512, "sse9": tierAVX512, "unknown": tierAVX512,
	} {
		if got := choose(name, tiers); got != want {
			t.Errorf("choose(%q) is %s, want %s", name, got, want)
		}
	}
}

func TestTierNames(t *testing.T) {
	var names []string
	for _, tr := range []tier{tierGeneric, tierAVX2, tierAVX512, tierNEON, tierNEONDot} {
		names = append(names, tr.String())
	}
	if want := []string{"generic", "avx2", "avx512", "neon", "neondot"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestActiveTier: the tier in use is the one asked for, if there is one, else the machine's best.
func TestActiveTier(t *testing.T) {
	tiers := machineTiers()
	want := choose(os.Getenv(tierVariable), tiers).String()
	if Tier() != want {
		t.Errorf("Tier is %s, want %s", Tier(), want)
	}
	if !slices.IsSorted(tiers) || tiers[0] != tierGeneric {
		t.Errorf("tiers %v do not ascend from generic", tiers)
	}
}
