//go:build amd64 && !race

package distance

// The assembly kernels. query (queries) points to rowBytes bytes (each), rows to last+rowBytes, slots to n, out to n
// results; n > 0, rowBytes > 0 is a multiple of 64. Rows are scored until the list ends or a row starts beyond last; done
// is how many. The query of a nibble kernel is twice as long as a row. While one is scored, the one ahead rows on is prefetched.

//go:noescape
func l2F32AVX512(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func l2F32QuadAVX512(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func dotF32AVX512(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF32QuadAVX512(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func l2U7AVX512(query, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func l2U7QuadAVX512(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)

//go:noescape
func dotU7S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func dotU7S8QuadAVX512(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)

//go:noescape
func l2F32AVX2(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func l2F32QuadAVX2(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func dotF32AVX2(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF32QuadAVX2(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func l2U7AVX2(query, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func l2U7QuadAVX2(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)

//go:noescape
func dotU7S8AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func dotU7S8QuadAVX2(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)

//go:noescape
func l2U4AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func dotU4S8AVX512(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func l2U4AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func dotU4S8AVX2(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func widenF16AVX512(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)

//go:noescape
func widenF16AVX2(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)

//go:noescape
func l2F16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func l2F16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF16AVX512(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF16AVX2(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

// mergeAVX512 is mergeGeneric of 0 < m <= 64 fresh entries, n+m <= 2048; items has room for 8 more.
//
//go:noescape
func mergeAVX512(items *uint64, n int, fresh *uint64, m int) (first int)
