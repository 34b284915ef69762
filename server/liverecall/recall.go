package liverecall

// Found is a neighbor as it was served, or as an exact search finds it.
type Found struct {
	ID    string
	Score float32
}

// Recall returns the share of the exact list that was served. k is how many neighbors were asked for, both lists are as the
// API orders them, and ranked says that this order is another than that of the scores. Where exact is empty there was nothing
// to miss: 1.
//
// A neighbor that was not served counts as missed only if it belonged there at the time: where the served list is full and in the
// order of scores, one that is no better than its last takes the place of an item deleted since, or ties with that last.
func Recall(served []Found, k int, ranked bool, exact []Found) float64 {
	if len(exact) == 0 {
		return 1
	}
	got := make(map[string]bool, len(served))
	for _, f := range served {
		got[f.ID] = true
	}
	full := !ranked && len(served) > 0 && len(served) >= k
	missed := 0
	for _, f := range exact {
		if got[f.ID] || full && f.Score <= served[len(served)-1].Score {
			continue
		}
		missed++
	}
	return 1 - float64(missed)/float64(len(exact))
}
