package attribute

import (
	"fmt"
	"math/bits"
)

// Market is the number of a market: 26 times the place of the first letter of its code plus that of the second, from
// AA = 0 to ZZ = 675.
type Market uint16

// marketCount is how many codes of two letters there are.
const marketCount = 26 * 26

// marketBytes is the length of the longest encoded set of markets.
const marketBytes = (marketCount + 7) / 8

// ParseMarket reads a code of two capital letters (ISO 3166-1 alpha-2). Codes that ISO has not assigned are taken too.
func ParseMarket(code string) (Market, bool) {
	if len(code) != 2 || code[0] < 'A' || code[0] > 'Z' || code[1] < 'A' || code[1] > 'Z' {
		return 0, false
	}
	return Market(code[0]-'A')*26 + Market(code[1]-'A'), true
}

// String returns the code.
func (m Market) String() string {
	if m >= marketCount {
		return fmt.Sprintf("attribute.Market(%d)", uint16(m))
	}
	return string([]byte{byte('A' + m/26), byte('A' + m%26)})
}

// MarketSet is a set of markets: bit m&7 of byte m>>3 is market m. It ends with the last byte that is not zero, so equal
// sets are equal strings.
type MarketSet string

// NewMarketSet returns the set of the markets given.
func NewMarketSet(markets ...Market) MarketSet {
	var b [marketBytes]byte
	n := 0
	for _, m := range markets {
		b[m>>3] |= 1 << (m & 7)
		n = max(n, int(m>>3)+1)
	}
	return MarketSet(b[:n])
}

// Has reports whether m is in the set.
func (s MarketSet) Has(m Market) bool { return int(m>>3) < len(s) && s[m>>3]>>(m&7)&1 != 0 }

// Len returns the number of markets.
func (s MarketSet) Len() int {
	n := 0
	for i := range len(s) {
		n += bits.OnesCount8(s[i])
	}
	return n
}

// Codes returns the codes in ascending order.
func (s MarketSet) Codes() []string {
	codes := make([]string, 0, s.Len())
	for m := range Market(8 * len(s)) {
		if s.Has(m) {
			codes = append(codes, m.String())
		}
	}
	return codes
}

// Valid reports whether s is in the form that NewMarketSet gives. Sets of other forms are not stored.
func (s MarketSet) Valid() bool { return validMarkets([]byte(s)) }

// validMarkets says whether s is in the form that NewMarketSet gives.
func validMarkets(s []byte) bool {
	if len(s) > marketBytes || len(s) > 0 && s[len(s)-1] == 0 {
		return false
	}
	const used = marketCount % 8 // bits of the last byte
	return len(s) < marketBytes || s[marketBytes-1]>>used == 0
}
