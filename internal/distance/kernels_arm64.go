//go:build arm64 && !race

package distance

// The assembly kernels. query (queries) points to rowBytes bytes (each), rows to last+rowBytes, slots to n, out to n
// results; n > 0, rowBytes > 0 is a multiple of 64. Rows are scored until the list ends or a row starts beyond last; done
// is how many. While one is scored, the one ahead rows on is prefetched.

//go:noescape
func l2F32NEON(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func l2F32QuadNEON(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func dotF32NEON(query, rows *float32, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF32QuadNEON(queries *[4]*float32, rows *float32, rowBytes, last int, slots *uint32, n int, out *[4]float32, ahead int) (done int)

//go:noescape
func l2U7NEON(query, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func l2U7QuadNEON(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)

//go:noescape
func l2U7NEONDot(query, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func l2U7QuadNEONDot(queries *[4]*uint8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]uint32, ahead int) (done int)

//go:noescape
func dotU7S8NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func dotU7S8QuadNEON(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)

//go:noescape
func dotU7S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func dotU7S8QuadNEONDot(queries *[4]*int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *[4]int32, ahead int) (done int)

//go:noescape
func l2U4NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func dotU4S8NEON(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func l2U4NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *uint32, ahead int) (done int)

//go:noescape
func dotU4S8NEONDot(query *int8, rows *uint8, rowBytes, last int, slots *uint32, n int, out *int32, ahead int) (done int)

//go:noescape
func widenF16NEON(dst *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, ahead int) (done int)

//go:noescape
func l2F16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)

//go:noescape
func dotF16NEON(query *float32, rows *uint16, rowBytes, last int, slots *uint32, n int, out *float32, ahead int) (done int)
