package quantize

import "math"

// roundMagic64 is roundMagic for float64: 1.5*2^52.
const roundMagic64 = 0x1.8p52

// L2Query turns the integers of distance.L2U7 for one bound query into squared distances.
type L2Query struct {
	Scale float32 // squared distance of one unit: Step^2
}

// Distance returns the squared Euclidean distance of the decoded vectors whose codes are at the squared distance d. It does
// not decrease in d.
func (q L2Query) Distance(d uint32) float32 { return q.Scale * float32(d) }

// DotQuery turns the integers of distance.DotU7S8 for one bound query into dot products.
type DotQuery struct {
	Base  float32 // what every row gets: Mid*sum y_i - 64*Scale*sum s_i
	Scale float32 // product of one unit: Step*t; not negative
}

// Dot returns the estimated dot product of the query and a row whose codes have the product d with the bound query. It
// does not decrease in d.
func (q DotQuery) Dot(d int32) float32 { return q.Base + float32(q.Scale*float32(d)) }

// BindL2 writes the codes of query (length Dim) to dst (length distance.PadU7(Dim)), to be given to distance.L2U7.
func (c U7) BindL2(dst []uint8, query []float32) L2Query {
	c.Encode(dst, query)
	return L2Query{Scale: c.Step * c.Step}
}

// BindDot writes query (length Dim) in signed bytes and zeros to dst (length distance.PadU7(Dim)), to be given to
// distance.DotU7S8. The query has its own scale t, its largest magnitude over 127, so any finite query can be bound.
func (c U7) BindDot(dst []int8, query []float32) DotQuery {
	c.checkLengths(len(dst), len(query))
	q, _ := c.bindSigned(dst, query)
	return q
}

// bindSigned is BindDot; it also returns the sum of the signed bytes.
func (c U7) bindSigned(dst []int8, query []float32) (q DotQuery, signedSum int) {
	var largest uint32 // the pattern of a magnitude; patterns are ordered as magnitudes are
	var sum float64
	for _, y := range query {
		largest = max(largest, math.Float32bits(y)&^(1<<31))
		sum += float64(y)
	}
	t := float64(math.Float32frombits(largest)) / maxCode
	if t > 0 {
		scale, codes := 1/t, dst[:len(query)]
		for i, y := range query {
			s := int8(math.Float64bits(float64(float64(y)*scale) + roundMagic64))
			codes[i] = s
			signedSum += int(s)
		}
		clear(dst[len(query):])
	} else {
		clear(dst)
	}
	scale := float64(c.Step) * t
	return DotQuery{
		// float64(...) keeps the products from being fused with the subtraction.
		Base:  float32(float64(c.Mid()*sum) - float64(midCode*scale*float64(signedSum))),
		Scale: float32(scale),
	}, signedSum
}
