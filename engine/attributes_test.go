package engine

import (
	"time"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
)

// genAttributes draws valid attributes in order of name, of few names and values, so that filters match some.
func genAttributes() *rapid.Generator[Attributes] {
	return rapid.Custom(func(t *rapid.T) Attributes {
		var as Attributes
		add := func(name string, v Value) {
			if rapid.Bool().Draw(t, "has "+name) {
				as = append(as, Attribute{Name: name, Value: v})
			}
		}
		add("artists", Value{Type: Keyword, Keywords: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "é"}), 1, 3).Draw(t, "artists")})
		add("explicit", Value{Type: Bool, Bool: rapid.Bool().Draw(t, "explicit")})
		add("gain", Value{Type: Float, Float: rapid.SampledFrom([]float64{-1, -0.5, 0, 3e9}).Draw(t, "gain")})
		add("markets", Value{Type: Markets, Markets: attribute.NewMarketSet(rapid.SampledFrom([][]attribute.Market{nil, {7}, {7, 9}, {400}}).Draw(t, "markets")...)})
		add("plays", Value{Type: Int, Int: rapid.Int64Range(-2, 4).Draw(t, "plays")})
		add("released", Value{Type: Timestamp, Time: time.UnixMicro(rapid.Int64Range(-1, 3).Draw(t, "released") * 1e12).UTC()})
		return as
	})
}
