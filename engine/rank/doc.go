// Package rank puts the candidates of a search into the order that a listener should see: business order, after geometry.
//
// It is a set of pure functions over a list of candidates: no index, no item store, no clock. A candidate is known by its
// position in the list; its vector, where diversity needs it, is the row of that position in a Matrix.
//
// # Vocabulary
//
// A candidate's rank value is its score plus what boosts and exploration add; more is better. A list is in rank order when
// it descends by rank value and, among equals, ascends by item id by bytes. A group is the example or interest that brought
// a candidate. A limit is a crowding limit: at most so many picks that share a value of an attribute.
//
// # Rules
//
// Select picks one candidate after the other, and none of its rules looks ahead:
//
//   - Groups take turns in proportion to their weights (smooth weighted round robin); a group that has nothing left to
//     give is passed over. With one group there are no turns.
//
//   - Within the group whose turn it is, the candidate with the highest objective is taken; ties go by rank order. Without
//     diversity the objective is the rank value. With it, it is MMR's (Carbonell & Goldstein 1998)
//
//     (1 - diversity) * relevance - diversity * nearness
//
//     relevance: the rank value, 1 for the best of the list and 0 for the last. nearness: how near the candidate is to the
//     nearest pick, 1 for the same vector, 0 for as far as the list is from the first pick on average, or farther. Both are
//     relative to the list, so that one setting means the same under every metric and in dense and sparse regions.
//     Diversity 0 is none and 1 is most; the literature has the opposite convention too.
//
//   - A candidate that would exceed a limit is passed over for good: limits only tighten. Every value of a multi-valued
//     attribute counts; a candidate without the attribute is not limited by it.
//
// So the first n of k picks are the picks that n would have given from the same list.
//
// # Concurrency
//
// Functions may be called from anywhere; a Crowd and a Matrix that is being filled belong to one goroutine.
//
// Non-goals: fetching candidates, filters, knowing when a list is long enough. Package engine does those.
package rank
