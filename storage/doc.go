// Package storage is the durable store of Segue: the only place where items, profiles, the mutation log and
// the index snapshots touch a disk. It speaks keys, byte sections and LSNs; it knows neither what a vector
// means nor what a graph is. Underneath is Pebble (github.com/cockroachdb/pebble/v2).
//
// # Promise
//
// An acknowledged write survives kill -9 and power loss. A corrupted byte is detected and named, by file or
// by key, section and slab; it never turns into a wrong answer. Where the store cannot keep the promise it
// refuses: with a typed error where the fault is in the data (CorruptionError, FormatError), and through
// Options.OnFatal, which ends the process, where the disk failed a write (an fsync that failed once may have
// dropped the dirty pages, so it is never retried).
//
// # Vocabulary
//
// A collection is a number (its name lives in its catalog row) and a release a built generation of it. Every
// row belongs to one pair of them. The log of a pair is its mutations in LSN order, dense from 1 or from where
// StartLog says; a log record says what happened to which id and holds no vector, since replay reads the newest
// row. A snapshot is one generation of checksummed slabs with a header; the header is the commit point. An import
// fills a release past the log.
//
// # Keys
//
// Integers are big-endian, so key order is numeric order. The first byte is the kind; collection and release
// follow in 4 bytes each, so a collection is one contiguous range per kind. docs/formats/store.md has
// the byte diagrams and the rule by which the formats may change.
//
//	m/format                              format version, oldest version that may read the store
//	m/collections                         highest collection id ever used
//	c collection                          catalog row
//	i collection release id               item row, the only copy that must be right
//	p collection release user             profile row
//	l collection release LSN              log record; LSN 0 holds where the trimmed log starts
//	j collection release p                how far the import that fills the release has come
//	j collection release r n              a row that the import refused
//	j collection release g n              a piece of the graph that the import brought, until it is taken
//	s collection release h generation              snapshot header
//	s collection release s generation section n fragment    part of a slab
//	x collection len set item              entry of an exclusion set
//	w collection release generation    mark: slabs of this generation may exist, its header does not
//
// # Invariants
//
//   - Every value starts with a crc32c of its key and of the rest of the value: a value that is read under a
//     key it was not written for is as corrupt as a flipped bit.
//   - One Batch is one Pebble batch: rows and their log records are there together or not at all.
//   - Per collection and release: the batches enter the write-ahead log in LSN order, so what survives a crash
//     is a prefix of the LSNs, and it contains every acknowledged one.
//   - A snapshot generation is visible if and only if its header is; slabs without a header have a
//     mark and are swept at Open.
//   - Collection ids are never reused.
//
// # Concurrency
//
// Store and Collection are safe for concurrent use; a Batch, a SnapshotWriter and an iteration belong to one
// goroutine at a time; SnapshotReader.ReadSlab may be called concurrently. A write is visible to readers of the store
// shortly before it is durable (Pebble inserts into its memtable before the sync returns). A caller that must
// not show what a crash can take back publishes after Batch.Wait, as engine does.
//
// Lock order: logState.mu before anything in Pebble; no lock is held while calling back into the caller.
//
// # Non-goals
//
// No transactions over collections, no time-to-live, no reads in the past, no repair: a store that fails
// Check is restored from a backup or rebuilt from the source.
package storage
