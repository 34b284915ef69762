// Package baseline holds the two things Segue's index is compared with in package loadtest: an exact scan, which nothing
// beats in recall, and coder/hnsw, the usual HNSW library for Go. It is the only package that imports coder/hnsw.
//
// Rows are numbered from 0 in the order they were given. A [Distance] is lower for closer vectors.
//
// # What coder/hnsw v0.6.1 can and cannot do
//
// Read in its source and measured on the first 10,000 rows of mnist784 with M 16 and EfSearch 100 while building:
//
//   - EfSearch hardly changes a result. layerNode.search keeps k results, not EfSearch of them, and stops at the first
//     hop without a new nearest one as soon as it holds k; recall@10 is .24 at ef 16 and the same at 256. A search for
//     256 results of which the caller keeps 10 stops later and reaches .48 (ef 16 to 256: .28, .34, .39, .44, .48). The
//     API does not suggest that and its callers do not do it, so [Coder] does not either; the numbers are here because
//     they are the best we got out of it.
//   - Its heap pops the last array element for the farthest one, which in a min-heap is merely some leaf: the beam loses
//     good candidates.
//   - Links go to the M nearest found; there is no selection heuristic (Malkov & Yashunin 2018, Algorithm 4), and level 0
//     has M links, not 2M. When a full node drops its farthest link, replenish refills by cosine distance whatever the
//     metric of the graph.
//   - A search enters at an arbitrary node of the top level, the first in map order: results vary from run to run even
//     for one seed and one thread.
//   - Writers need exclusion from each other and from readers, so it is built by one goroutine here; searches alone may
//     run at the same time.
//   - A search returns keys and vectors without distances, in heap order, and has no counters of work.
//   - It has no inner product of its own, and its EuclideanDistance is a plain loop with one sum; [L2] and
//     [InnerProduct] here are plain loops with eight, several times faster. CosineDistance is its own, in assembly on
//     amd64. Compare distances per query rather than times where that matters.
package baseline
