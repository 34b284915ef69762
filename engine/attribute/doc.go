// Package attribute holds the typed attributes of items: their values, and the encoding in which item rows, the table
// of items in memory and snapshots keep them.
//
// A [Set] is an item's attributes in ascending order of name, each name once; [Append] encodes it and [Decode] is the
// inverse. [Lookup] and [All] read an encoded set without building one, for callers that look at one attribute of many
// items. docs/formats/engine.md has the bytes.
//
// Everything here is a pure function; encoded sets are never changed in place.
//
// Non-goals: schemas and limits (package engine), filters (package engine/filter).
package attribute
