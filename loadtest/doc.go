// Package loadtest measures. Its first part is the ANN harness behind `segue bench ann`: it builds an index in process
// from files of vectors and measures recall against work and time.
//
// # Vocabulary
//
// An [Engine] is one kind of index under test: segue (package hnsw), segue-f16 (the same with vectors in half precision), exact (a
// scan of every row) or coder (coder/hnsw; see package baseline for what it can do). Rows are numbered from 0 in the order of the base; engines answer in rows.
//
// # What is measured, and how
//
// After the build, each ef makes two passes over all queries. The first warms caches up and counts work; the second is
// timed, and its results are judged. Thread t of T takes the queries t, t+T, t+2T and so on, one at a time: the loop is
// closed, there is no queue.
//
//	build_seconds        wall time of Build, which includes the engine's own copy of the vectors
//	bytes_per_vector     memory of the index over its rows, vectors included
//	recall               share of the true k nearest found; ties by exact distance count (package groundtruth)
//	qps                  queries over the time the busiest thread spent in search calls
//	p50_us, p99_us       nearest-rank percentiles of the time of one search call
//	distances_per_query  full distance computations, mean
//	hops_per_query       nodes whose links were followed, mean; unknown for coder, 0 for exact
//
// Ground truth is computed exactly unless it is given, and what is given is checked: it must fit the base, ascend by the
// metric, and agree with the scan for a sample of queries.
//
// # What gRPC costs
//
// [MeasureRPC] (`segue bench rpc`) compares queries in process with the same queries through a server of this process, and that
// with calls that do nothing. Paths take turns, so ratios hold on a machine that does other things as well. [Wire] is a client that
// allocates nothing, to count what a server allocates.
//
// # Determinism
//
// With one build thread, one search thread and the same seed, segue and exact give the same recall and counts on every
// run; only times vary. Coder varies by itself. With several build threads the order of inserts does, and with it the graph.
//
// # Concurrency
//
// An [ANNBench] belongs to one goroutine; it starts and awaits its own. [ANNData] does not change and may be shared.
package loadtest
