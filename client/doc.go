// Package client talks to a Segue server from Go.
//
//	c, err := client.Dial("127.0.0.1:7070", client.Options{})
//	...
//	defer c.Close()
//	answer, err := c.Retrieval.NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
//		Collection:    "tracks",
//		Query:         &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: "0VjIjW4GlUZAMYd2vXMi3b"}},
//		NeighborCount: 10,
//	})
//
// A [Client] is one connection and the generated stubs of every service, with what a caller would
// otherwise write again and again:
//
//   - Retries. Methods that the API declares free of side effects or idempotent are tried again, with
//     backoff, while the server answers UNAVAILABLE (starting, stopping, gone for a moment). The list is
//     read from the API itself, so a method added there is covered without a change here. When most calls fail, none is repeated.
//   - Replicas. With [Options].RoundRobin queries take turns over all addresses of a name, without servers that do not serve.
//   - Batches. [Client.UpsertItems] and [Client.UpsertProfiles] write a sequence of any length in batches
//     bounded by rows and bytes, a bounded number of them at once. A bad row costs itself, not its batch.
//   - Errors. [Reason] and [Violations] read the details of a gRPC status.
//
// # Read your writes
//
// Every write answers with a revision. A search that carries it as min_revision sees that write.
// [UpsertResult] has the revision to use for everything an upload wrote.
//
// # Security
//
// A connection without credentials is plaintext, and is refused to anything but this machine unless
// [Options] says otherwise.
//
// # Concurrency
//
// A Client is safe for concurrent use by any number of goroutines, and meant to be shared: one a process.
//
// # Non-goals
//
// No second set of message types (the generated ones are the API), no caching, no writing to several servers. No hedging, which
// gRPC for Go does not have: a query whose deadline is near is better answered with allow_partial than asked twice.
package client
