// Package filter answers which items of a release fulfil a condition on their attributes, as an exact set of slots.
//
// # Expressions
//
// An [Expr] is a tree of All, Any and None over conditions on one attribute each: it has one of several values, lies in
// a range, exists, or has one of several markets. [Parse] reads the string form (AIP-160), [Expr.String] writes it,
// [Expr.Validate] checks a tree against a [Schema] and the limits. A condition on an attribute that an item lacks is
// false; None of it is true. INT and FLOAT compare as numbers; else types never mix.
//
// There are two evaluators. [Program.Match] decides for the attributes of one item. [Index.Evaluate] decides for all items at
// once, from columns. They agree, and tests hold them to it.
//
// # Columns
//
// For each attribute name and type there is one column of pairs (key, slot), where the key orders as the value does: an
// INT shifted, a FLOAT's bits made monotone, microseconds, a keyed 64-bit hash of a KEYWORD, the number of a distinct
// set of MARKETS. So equality, membership and ranges are all spans of keys, and no string is stored a second time.
//
// A column is a stack of immutable sorted runs. A run holds the whole column of the slots it speaks of (touched); a slot's
// values are those in the newest run that speaks of it. The lowest run is the base and speaks of every slot. Writing a
// group of changes pushes one run on each column that changed, and runs of similar size are merged, so a pair is rewritten
// a logarithmic number of times. This is O'Neil et al., The log-structured merge-tree (1996), in memory, with
// slots in the place of tombstones. Keys that many slots share are kept as a bitmap where that is smaller.
//
// Memory: 4 bytes for each value of an item, plus 12 for each distinct value of each run.
//
// Two keywords get the same hash with probability n*n/2^65 for n distinct ones (3e-8 at a million); the hash's seed is
// drawn for each index.
//
// # Concurrency
//
// One writer stages changes and publishes them. [Index.Evaluate] reads the view published last: it holds groups as a whole,
// never half of one. Readers take no lock that is held for longer than a look into the cache, and never
// hold up the writer.
//
// Results of expressions that come again are kept, and brought up to date from the list of slots that changed since
// rather than computed anew.
//
// Non-goals: item ids, exclusion sets, durability (package engine).
package filter
