package engine

import (
	"time"

	"github.com/segue-ann/segue/engine/attribute"
)

// LSN numbers the mutations of one collection: 1 for the first, dense and ascending. At the API it is
// called the revision. The zero LSN means "none".
type LSN uint64

// Item is a track or an episode as the caller sees it.
type Item struct {
	// ID is 1..MaxIDBytes bytes of UTF-8.
	ID string
	// Vector is the embedding exactly as it was written (not normalised), length Dim.
	Vector []float32
	// Attributes ascend by name; names are unique.
	Attributes Attributes
	// ExpireTime is when the item expires, in the future; the zero time where it never does.
	ExpireTime time.Time
	// Revision is the LSN of the write that made this value. Ignored on write.
	Revision LSN
	// IfRevision, unless it is nil, is the revision that the item must have to be written; 0 where there must be none.
	// Else the write fails with *RevisionMismatchError as a whole. Ignored on read.
	IfRevision *LSN
}

// Profile is what a user likes. It is never returned as a neighbor.
type Profile struct {
	// UserID is 1..MaxIDBytes bytes of UTF-8.
	UserID string
	// Interests are 1..Limits.MaxInterests directions of taste.
	Interests []Interest
	// ExpireTime, Revision and IfRevision are those of Item.
	ExpireTime time.Time
	Revision   LSN
	IfRevision *LSN
}

// The types of attributes; see package attribute.
type (
	// AttributeType says what values an attribute holds.
	AttributeType = attribute.Type
	// Attributes is a set of attributes in ascending order of name.
	Attributes = attribute.Set
	// Attribute is one named value.
	Attribute = attribute.Attribute
	// Value is a tagged union: Type says which field holds the value.
	Value = attribute.Value
)

const (
	// Keyword is one or more exact strings (several credited artists).
	Keyword = attribute.Keyword
	// Bool is true or false.
	Bool = attribute.Bool
	// Int is a signed 64-bit integer.
	Int = attribute.Int
	// Float is a finite 64-bit float.
	Float = attribute.Float
	// Timestamp is a point in time with microsecond resolution.
	Timestamp = attribute.Timestamp
	// Markets is a set of markets (territories in which a track may be played).
	Markets = attribute.Markets
)

// AttributeSpec declares one attribute of a collection's schema.
type AttributeSpec struct {
	Name string
	Type AttributeType
	// NotFilterable keeps the attribute out of the index of filters, which saves its memory.
	NotFilterable bool `json:",omitempty"`
}
