// Package querylog keeps a sample of the queries that a server answered, in files that can be asked again: by segue replay, or
// by ghz --binary without a change.
//
// # Files
//
// A file is a sequence of segue.v1.NearestNeighborsRequest messages, each after its length as a varint (the delimited form that
// every protobuf library reads), and nothing else. Its name is queries-TIME.binpb, by the time it was begun, so that names sort by
// age. The newest may end in the middle of a message, where the process was killed or the disk full; Reader says so.
//
//	+--------+-----------------------+--------+-----------------------+--
//	| varint | NearestNeighborsReq.  | varint | NearestNeighborsReq.  | ...
//	+--------+-----------------------+--------+-----------------------+--
//
// A new file is begun before one would grow above Options.FileBytes, and the oldest ones are removed so that all of them together
// stay below Options.TotalBytes. Other files of the directory are left alone.
//
// # What is kept
//
// Queries that were answered, each with the name of its collection, those of batches and streams among them. Not kept:
// min_revision, which means nothing later; requests for a second page, whose tokens do not either. And what
// Options.Redact says: who asks, what they heard or blocked, what they like. By default the first two.
//
// # Concurrency
//
// Offer never waits and is safe for concurrent use: what does not fit the queue is dropped, and counted. A goroutine writes; Close
// writes what is queued and ends it. Errors of the disk cost the queries of some seconds, and nothing else.
package querylog
