package distance

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// largeDims are the usual embedding sizes; 1..257 are tested besides.
var largeDims = []int{384, 512, 768, 784, 960, 1024, 1536, 3072}

func testDims() []int {
	var dims []int
	for d := 1; d <= 257; d++ {
		dims = append(dims, d)
	}
	return append(dims, largeDims...)
}

// eachTier runs f once per tier of this machine, and fails if the best of them is not what the machine's own description
// promises: a broken detection must not turn the tests of the assembly off in silence.
func eachTier(t *testing.T, f func(*testing.T, tier)) {
	t.Helper()
	tiers := machineTiers()
	if best, known := expectedBest(); known && tiers[len(tiers)-1] != best {
		t.Errorf("best tier is %s, this machine should have %s", tiers[len(tiers)-1], best)
	}
	for _, tr := range tiers {
		ran := false
		ok := t.Run(tr.String(), func(t *testing.T) {
			f(t, tr)
			ran = true
		})
		if ok && !ran {
			t.Errorf("tier %s was skipped", tr)
		}
	}
	t.Logf("tiers tested: %v, in use: %s", tiers, Tier())
}

// expectedBest derives the best tier from /proc/cpuinfo, without the detection under test. known is false where there is no
// such file or it says nothing about this architecture.
func expectedBest() (best tier, known bool) {
	if forcedGeneric {
		return tierGeneric, true
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return tierGeneric, false
	}
	return bestOf(string(info))
}

// flagsOf returns the words of the first line of a /proc/cpuinfo that starts with key.
func flagsOf(info, key string) map[string]bool {
	flags := map[string]bool{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == key {
			for _, f := range strings.Fields(value) {
				flags[f] = true
			}
			break
		}
	}
	return flags
}

func hasAll(flags map[string]bool, names ...string) bool {
	for _, n := range names {
		if !flags[n] {
			return false
		}
	}
	return true
}

// The oracles: float64, one component at a time.

func oracleL2(q, r []float32) (sum float64) {
	for i := range q {
		d := float64(q[i]) - float64(r[i])
		sum += d * d
	}
	return sum
}

func oracleDot(q, r []float32) (sum, magnitude float64) {
	for i := range q {
		p := float64(q[i]) * float64(r[i])
		sum += p
		magnitude += math.Abs(p)
	}
	return sum, magnitude
}

func oracleL2U7(q, r []uint8) (sum uint32) {
	for i := range q {
		d := int(q[i]) - int(r[i])
		sum += uint32(d * d)
	}
	return sum
}

func oracleDotU7S8(q []int8, r []uint8) (sum int32) {
	for i := range q {
		sum += int32(q[i]) * int32(r[i])
	}
	return sum
}

// fuzzRand returns a generator that depends on data alone.
func fuzzRand(data []byte) *rand.Rand {
	h := fnv.New64a()
	h.Write(data)
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// relativeBound is the error that the package documents for dim components.
func relativeBound(dim int) float64 { return (float64(dim)/8 + 16) / (1 << 24) }

// A batch is one set of arguments: queries, an arena and a list of slots, every part between guard pages.
type batch[Q, R any] struct {
	dim, stride int
	queries     [4][]Q
	rows        []R
	slots       []uint32
}

func newBatch[Q, R any](p *pen, rnd *rand.Rand, dim, stride, rows, slots int, query func() Q, row func() R) batch[Q, R] {
	b := batch[Q, R]{dim: dim, stride: stride}
	for i := range b.queries {
		b.queries[i] = penned[Q](p, fmt.Sprint("query ", i), stride)
		for k := range dim {
			b.queries[i][k] = query()
		}
	}
	b.rows = penned[R](p, "rows", rows*stride)
	for i := range rows {
		for k := range dim {
			b.rows[i*stride+k] = row()
		}
	}
	b.slots = penned[uint32](p, "slots", slots)
	for j := range b.slots {
		b.slots[j] = uint32(rnd.IntN(rows))
	}
	if slots > 0 {
		b.slots[slots-1] = uint32(rows - 1) // the row that touches the guard page
	}
	return b
}

func (b *batch[Q, R]) row(j int) []R {
	at := int(b.slots[j]) * b.stride
	return b.rows[at : at+b.stride]
}

func (b *batch[Q, R]) String() string {
	return fmt.Sprintf("dim %d, %d rows, %d slots", b.dim, len(b.rows)/b.stride, len(b.slots))
}

// Sources of components: random, and the patterns that break saturating or wrapping arithmetic.

func floatSources(rnd *rand.Rand) map[string]func() float32 {
	n := 0
	return map[string]func() float32{
		"normal":      func() float32 { return float32(rnd.NormFloat64()) },
		"zero":        func() float32 { return 0 },
		"large":       func() float32 { return float32(rnd.NormFloat64() * 1e15) },
		"small":       func() float32 { return float32(rnd.NormFloat64() * 1e-15) },
		"mixed":       func() float32 { return float32(rnd.NormFloat64() * math.Exp(4*rnd.NormFloat64())) },
		"alternating": func() float32 { n++; return float32(1 - 2*(n&1)) },
		"bytes":       func() float32 { return float32(rnd.IntN(256)) },
	}
}

func codeSources(rnd *rand.Rand) map[string]func() uint8 {
	n := 0
	return map[string]func() uint8{
		"uniform":     func() uint8 { return uint8(rnd.IntN(128)) },
		"zero":        func() uint8 { return 0 },
		"full":        func() uint8 { return 127 },
		"alternating": func() uint8 { n++; return uint8(127 * (n & 1)) },
		"ends":        func() uint8 { return uint8(127 * rnd.IntN(2)) },
	}
}

func signedSources(rnd *rand.Rand) map[string]func() int8 {
	n := 0
	return map[string]func() int8{
		"uniform":     func() int8 { return int8(rnd.IntN(256) - 128) },
		"minimum":     func() int8 { return -128 },
		"maximum":     func() int8 { return 127 },
		"alternating": func() int8 { n++; return int8(127 - 255*(n&1)) },
		"ends":        func() int8 { return int8(127 - 255*rnd.IntN(2)) },
	}
}
