//go:build (amd64 || arm64) && !race

package distance

// prefetchRow prefetches the lines from row to row+bytes, bytes > 0; prefetchRows those of n > 0 rows of rowBytes each.

//go:noescape
func prefetchRow(row *byte, bytes int)

//go:noescape
func prefetchRows(rows *byte, rowBytes int, slots *uint32, n int)
