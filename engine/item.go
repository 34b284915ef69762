package engine

import "time"

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
	// Revision is the LSN of the write that made this value. Ignored on write.
	Revision LSN
}

// Profile is a user's stored interest vector. It is never returned as a neighbor.
type Profile struct {
	// UserID is 1..MaxIDBytes bytes of UTF-8.
	UserID string
	// Vector has length Dim and is kept as written.
	Vector []float32
	// Revision is the LSN of the write that made this value. Ignored on write.
	Revision LSN
}

// AttributeType says what values an attribute holds.
type AttributeType uint8

const (
	// Keyword is one or more exact strings (several credited artists).
	Keyword AttributeType = iota + 1
	// Bool is true or false.
	Bool
	// Int is a signed 64-bit integer.
	Int
	// Float is a finite 64-bit float.
	Float
	// Timestamp is a point in time with microsecond resolution.
	Timestamp
)

// Attributes is a set of attributes in ascending order of name.
type Attributes []Attribute

// Attribute is one named value.
type Attribute struct {
	Name  string
	Value Value
}

// Value is a tagged union: Type says which field holds the value.
type Value struct {
	Type     AttributeType
	Keywords []string  // Keyword: at least one
	Bool     bool      // Bool
	Int      int64     // Int
	Float    float64   // Float
	Time     time.Time // Timestamp, UTC
}

// AttributeSpec declares one attribute of a collection's schema.
type AttributeSpec struct {
	Name string
	Type AttributeType
}
