// Package ops is what an operator sees of a running server: metrics, health, profiles, traces.
//
// # The second listener
//
// Handler serves, apart from the API and meant for a network that only operators reach:
//
//	/metrics       Prometheus
//	/healthz       200 while the process lives
//	/readyz        200 once calls are answered, 503 while the store is opened and while calls are drained
//	/debug/pprof/  profiles, to callers on this machine only (kubectl port-forward is one)
//	grpc.channelz.v1.Channelz, with reflection: connections, streams and their failures, to the same
//
// # Names
//
// A stat has one name: distance_count of segue.v1.SearchInfo is segue_search_distance_count here. Labels are bounded: a
// method is one of the API's or "unknown", a collection is one that exists or "", a code is one of gRPC's, a reason is one
// of a list.
//
// # Concurrency
//
// Everything is safe for concurrent use. Counting a call allocates nothing. The state of the engine is read when it is
// asked for; what costs more than a load is remembered for statisticsAge.
package ops
