package server

import "github.com/segue-ann/segue/engine"

// reduceEffort makes a search use a share of its beam width, never less than its neighbors, and reports whether that is
// less than what it asked for. Searches that say what recall they need stay as they are.
func reduceEffort(search *engine.SearchRequest, effort float64) bool {
	if effort >= 1 || search.Exact || search.TargetRecall > 0 {
		return false
	}
	asked := search.Ef
	if asked == 0 {
		asked = engine.DefaultEf(search.K)
	}
	asked = max(asked, search.K)
	reduced := max(search.K, int(float64(asked)*effort))
	if reduced >= asked {
		return false
	}
	search.Ef = reduced
	return true
}
