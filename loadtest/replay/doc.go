// Package replay asks logged queries again, of one server or of two, and compares the answers.
//
// Queries come from a query log (package server/querylog). Run asks each of one Target, or of two in turns, and reports latencies
// and, for two, how far their answers agree: overlap@k, same order, differences of the scores of what both have. A Target is a
// function, so that answers saved earlier are one too: that is how two releases of one server are compared.
//
// Latency is that of each call by itself, at a load that follows the server's speed, or the rate given. For latency under a load
// that does not wait use segue loadtest.
//
// A run is bounded in queries and in time. Targets are called from several goroutines.
package replay
