// Package engine keeps collections: it is the only package that knows both the durable store and the graph.
//
// Items are the truth; the graph is derived and can always be rebuilt from them. A Collection is a name, a config and
// the entry of writes; what it holds is a release, of which one is published. A release is
//
//	storage     item rows, profile rows and the log, in Pebble: what survives
//	hnsw.Index  slots, vectors and links: what is searched
//	table       item id -> slot, and slot -> (item id, LSN, attributes): the border between the two
//	filters     attributes -> slots (package engine/filter), derived from the table
//
// # Flows
//
// Write (write.go, apply.go): callers validate and enqueue; one writer goroutine per collection takes what
// has gathered, numbers it with LSNs, and commits rows and log records in one synced batch (group commit);
// one applier goroutine then brings the group into table and graph, publishes the visible LSN, and answers.
// Commit of one group runs beside the application of the one before. A put whose vector the item has already changes table
// and filters only; an update of attributes is such a put, made by the writer of the row it replaces (write_attributes.go).
//
// Read (search.go): wait for the read token, turn the query form into a vector, search the graph or scan,
// translate slots to item ids while the searcher's epoch is pinned.
//
// Recovery (recover.go) = newest valid snapshot + replay of later log records through the same apply.
// Where no snapshot is valid the graph is rebuilt from the items, again through apply. Filters are not in snapshots: they are
// loaded from the table in the background, and filtered searches wait for that.
//
// Import (import.go, import_build.go): rows become durable past the log, in a release of their own; its graph is built from
// them in the background, on threads that leave the processors to reads (background.go). Publication (release_publish.go): the writer swings the pointer once the
// release has followed the log of the one it replaces to its end (release_follow.go).
//
// # Invariants
//
//	a release that is not published holds nothing later than the published one, whose log has all that it lacks
//	visible <= committed <= appended          per release, all LSNs
//	id -> slot of the table is a bijection between live items and live slots of the index, between groups
//	an item's table entry is written before its node can be reached, and stays until its slot is reused,
//	which the index does only when no searcher that could have seen it is left
//
// # Concurrency
//
// Every exported method is safe for concurrent use. Searches take no lock but a shard's read lock per
// translated result. Lock order: Engine.catalog, Engine.mu; Engine.catalog, Collection.admin, importJob.mu, Collection.recordMu; release.visibleMu and the table's shard locks
// are leaves. A call works on the release it acquired, from first to last; a release that is replaced stays whole
// until its calls have left.
//
// Non-goals: network, identity, ranking after search (package engine/rank, later), sharding.
package engine
