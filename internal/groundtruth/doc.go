// Package groundtruth finds exact nearest neighbours by looking at every row, and measures recall against them. It is
// the oracle the approximate index is judged by, so it shares no code with it: plain loops, sums in float64.
//
// # Vocabulary
//
// Rows are numbered from 0 in the order of the base. Lower distance is closer. The metrics and their distances are those
// of the index: Cosine 1 - cos(a, b), InnerProduct -a.b, L2 the squared Euclidean distance.
//
// # Recall, and when a result counts
//
// recall@k is the share of the k nearest rows that a search found. Where rows tie, which of them are "the" k nearest is
// arbitrary, so a result counts if its exact distance is at most that of the k-th true neighbour, whichever row it is; a
// row returned twice counts once. An index works in float32, where rows closer together than rounding have no order:
// "at most" therefore allows [Tolerance] times the size of the numbers that were summed, which is the distance itself for
// L2 (a sum without cancellation), 1 for Cosine, and |a||b| for InnerProduct.
//
// # Concurrency
//
// An [Oracle] does not change after New and is safe for concurrent use.
package groundtruth
