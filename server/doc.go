// Package server speaks protobuf and gRPC for an engine.Engine: it is the border where messages become items, queries
// and configurations, and where errors become status codes.
//
// Every handler has three steps: decode (convert.go), call the engine, encode (convert.go). Handlers decide nothing
// about vectors, scores or order; what a method means is written in proto/segue/v1.
//
// # Errors
//
// Handlers return the engine's typed errors; toStatus in errors.go is the only place that makes a gRPC status of them,
// called by one interceptor. Paths of fields are renamed from the engine's words to the request's on the way
// (renames). A status stays below about 4 KiB, because common clients refuse trailers above 8 KiB.
//
// # Bounds
//
// Nothing is allocated in proportion to a number that a caller merely states: counts, dimensions and lengths are
// checked against engine.Limits or against the bytes that really came, which MaxRecvBytes bounds. Answers are bounded
// by MaxSendBytes.
//
// # Panics
//
// A panic in a method without side effects (idempotency_level NO_SIDE_EFFECTS in the proto) fails that call. A panic
// while writing ends the process: what it left behind in memory is not to be trusted, and the store is.
//
// # Concurrency
//
// A Server is safe for concurrent use. Its goroutines end before Shutdown returns. It does not own the engine: close
// that after Shutdown.
//
// A served search is shown to those who look at some of them (answered.go): live recall runs it again exactly, in the
// background and within a budget (package liverecall).
//
// Who may call is decided in package auth, what is begun in package admission, and counted in package ops; interceptors.go
// puts them around every call.
package server
