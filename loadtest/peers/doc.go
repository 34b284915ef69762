// Package peers measures Segue and other libraries on the same files in the same run; `make bench-peers` writes what it saw to
// docs/benchmarks.md.
//
// # Vocabulary
//
// A [Set] is vectors, queries and their true neighbours, kept as .npy files below bin/peers between runs. A library is what is
// measured; with its index of one set it is a contestant. Segue and coder/hnsw are contestants in process, through package
// loadtest; C++ libraries are behind a driver, a program of ours compiled with the flags a user would choose for speed. A shot
// is one measurement: some passes over all queries at one ef.
//
// # What is measured, and how
//
// On each set, all indexes are built one after the other and stay in memory. A sweep finds each contestant's recall at growing ef,
// up to .995. Then come the rounds: in each, for every ef, the contestants take their shots in turn, so that what else the machine
// does hits all of them. The rate of a point is the median over rounds of queries per second of processor time of the one
// searching thread: on a quiet machine that is the time on the wall, on a busy one it leaves out what others took.
//
// # Protocol
//
// A driver reads one command a line on stdin and answers each with one JSON object a line on stdout, after a greeting; it ends at
// the end of its input. It runs in the set's directory, where file names in commands belong.
//
//	(greeting)  {"engine":"hnswlib","version":"0.6.2","note":"float32"}
//	build base=F rows=N dim=D metric=l2|ip|cosine m=M ef_construction=E threads=T seed=S
//	            {"wall_seconds":24.1,"cpu_seconds":0.1,"bytes":206000000}
//	search queries=F rows=N k=K ef=E passes=P out=F
//	            {"wall_seconds":1.1,"cpu_seconds":1.1,"queries":2000,"distances_per_query":730.5}
//	(failure)   {"error":"cannot map base.npy"}
//	(not able)  {"unsupported":true,"error":"inner product"}
//
// Vectors are float32 in .npy files; under cosine they have unit length. bytes is what the process grew by; cpu_seconds is of the
// searching thread; distances_per_query is left out by a library that does not count. search writes rows x K results, little-endian
// uint32, to the file out, with 0xFFFFFFFF where a row has fewer.
//
// # Bounds
//
// Every command has a deadline, after which the driver is killed; the run as a whole has its context's. Nothing here starts
// itself: drivers are the only processes, besides compiler, git and dpkg-query.
//
// # Concurrency
//
// [Run] belongs to one goroutine. It starts one more for each driver, which ends with it.
package peers
