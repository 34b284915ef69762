package distance

import "fmt"

const (
	// MaxMerge is the most entries that are merged at once, and MaxMerged the most there may be then.
	MaxMerge  = 64
	MaxMerged = 2048
	// MergeRoom is how many more than it holds then the memory must have room for.
	MergeRoom = lineBytes / 8
)

// Merge merges fresh, at most MaxMerge entries in any order, into the ascending entries items[:n], which grow by as many. It returns
// the index of the least of fresh, or n if there are none.
//
// The order of fresh is lost. No entry of it occurs twice; if one does, what items holds is unspecified, but nothing outside is touched.
// There is room for MergeRoom more than there are then, len(items) >= n+len(fresh)+MergeRoom, whose content is lost. Every tier leaves
// the same.
func Merge(items []uint64, n int, fresh []uint64) (first int) { return merge(active, items, n, fresh) }

func merge(t tier, items []uint64, n int, fresh []uint64) (first int) {
	if m := len(fresh); m > MaxMerge || n < 0 || n > MaxMerged-m || len(items) < n+m+MergeRoom {
		panic(fmt.Sprintf("distance: merge of %d entries into %d with room for %d", m, n, len(items)))
	}
	if len(fresh) == 0 {
		return n
	}
	return kernelMerge(t, items, n, fresh)
}

// mergeGeneric sorts fresh, and moves what is greater than each of it, the greatest first: so every item is moved once.
func mergeGeneric(items []uint64, n int, fresh []uint64) (first int) {
	for i, e := range fresh {
		for ; i > 0 && fresh[i-1] > e; i-- {
			fresh[i] = fresh[i-1]
		}
		fresh[i] = e
	}
	items = items[:n+len(fresh)]
	for j := len(fresh) - 1; j >= 0; j-- {
		e := fresh[j]
		for ; n > 0 && items[n-1] >= e; n-- {
			items[n+j] = items[n-1]
		}
		items[n+j] = e
	}
	return n
}
