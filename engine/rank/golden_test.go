package rank

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestGolden shows what the rules do to small lists that a person can check. `go test ./engine/rank -rewrite` writes the
// answers anew: read the difference.
//
//	candidates              one a line: ID SCORE [group=N] [at=X,Y] [NAME=VALUE|VALUE ...]
//	select k=N              [limits=NAME:N|NAME:N] [weights=W|W] [diversity=D] [boost=NAME:TRANSFORM:WEIGHT[:HALFLIFE]]
//	                        [temperature=T seed=S]
//
// A limit counts the values of NAME; a boost reads its first value as a number. at is a point of the plane (diversity by L2).
func TestGolden(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var g golden
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "candidates":
				g.read(t, d.Input)
				return fmt.Sprintf("%d candidates", len(g))
			case "select":
				return g.pick(t, d)
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

type goldenItem struct {
	id         string
	score      float64
	group      int
	at         [2]float32
	attributes map[string][]string
}

type golden []goldenItem

func number(t *testing.T, s string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (g *golden) read(t *testing.T, input string) {
	*g = nil
	for line := range strings.Lines(input) {
		f := strings.Fields(line)
		it := goldenItem{id: f[0], score: number(t, f[1]), attributes: map[string][]string{}}
		for _, a := range f[2:] {
			name, value, _ := strings.Cut(a, "=")
			switch name {
			case "group":
				it.group = int(number(t, value))
			case "at":
				x, y, _ := strings.Cut(value, ",")
				it.at = [2]float32{float32(number(t, x)), float32(number(t, y))}
			default:
				it.attributes[name] = strings.Split(value, "|")
			}
		}
		*g = append(*g, it)
	}
}

func (g golden) pick(t *testing.T, d *datadriven.TestData) string {
	o := Options{Vectors: NewMatrix(len(g), 2, true)}
	var (
		limits, weights, boosts     string
		diversity, temperature, one string
		seed                        uint64
	)
	d.ScanArgs(t, "k", &o.K)
	d.MaybeScanArgs(t, "limits", &limits)
	d.MaybeScanArgs(t, "weights", &weights)
	d.MaybeScanArgs(t, "boost", &boosts)
	if d.MaybeScanArgs(t, "diversity", &diversity) {
		o.Diversity = number(t, diversity)
	}
	if d.MaybeScanArgs(t, "temperature", &temperature) {
		d.ScanArgs(t, "seed", &seed)
	}
	var names []string
	var most []int
	for one, limits, _ = strings.Cut(limits, "|"); one != ""; one, limits, _ = strings.Cut(limits, "|") {
		name, n, _ := strings.Cut(one, ":")
		names, most = append(names, name), append(most, int(number(t, n)))
	}
	o.Crowd = NewCrowd(most...)
	for one, weights, _ = strings.Cut(weights, "|"); one != ""; one, weights, _ = strings.Cut(weights, "|") {
		o.Weights = append(o.Weights, number(t, one))
	}
	cs, limited := make([]Candidate, len(g)), make([][]ValueID, len(g))
	o.Limited = func(row uint32) []ValueID { return limited[row] }
	for i, it := range g {
		c := Candidate{Value: it.score, Group: it.group, Row: uint32(i)}
		copy(o.Vectors.Row(uint32(i)), it.at[:])
		if f := strings.Split(boosts, ":"); len(f) > 1 && len(it.attributes[f[0]]) > 0 {
			b := Boost{Transform: map[string]Transform{"linear": Linear, "log": Log, "decay": Decay}[f[1]], Weight: number(t, f[2])}
			if b.Transform == Decay {
				b.HalfLife = number(t, f[3])
			}
			c.Value += b.Contribution(number(t, it.attributes[f[0]][0]))
		}
		if temperature != "" {
			c.Value += number(t, temperature) * Noise(seed, it.id)
		}
		for l, name := range names {
			for _, v := range it.attributes[name] {
				limited[i] = append(limited[i], o.Crowd.Value(l, []byte(v)))
			}
		}
		cs[i] = c
	}
	Sort(cs, func(row uint32) string { return g[row].id })
	picks, err := Select(t.Context(), cs, o)
	if err != nil {
		t.Fatal(err)
	}
	picked := map[int]bool{}
	var b strings.Builder
	for n, p := range picks {
		picked[p.Index] = true
		c := &cs[p.Index]
		fmt.Fprintf(&b, "%d. %s %.3f", n+1, g[c.Row].id, c.Value)
		if o.Diversity > 0 {
			fmt.Fprintf(&b, " nearness %.3f objective %.3f", p.Nearness, p.Objective)
		}
		b.WriteByte('\n')
	}
	for i := range cs {
		if v, blocked := o.Crowd.Blocked(limited[cs[i].Row]); !picked[i] && blocked {
			limit, value := o.Crowd.Describe(v)
			fmt.Fprintf(&b, "-  %s crowded out by %s %s\n", g[cs[i].Row].id, names[limit], value)
		}
	}
	return b.String()
}
