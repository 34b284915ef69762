package attribute

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Type says what values an attribute holds. The numbers are on disk.
type Type uint8

const (
	// Keyword is one or more exact strings (several credited artists).
	Keyword Type = iota + 1
	// Bool is true or false.
	Bool
	// Int is a signed 64-bit integer.
	Int
	// Float is a finite 64-bit float.
	Float
	// Timestamp is a point in time with microsecond resolution.
	Timestamp
	// Markets is a set of markets (territories in which a track may be played).
	Markets
)

// String names the type as the API does.
func (t Type) String() string {
	switch t {
	case Keyword:
		return "KEYWORD"
	case Bool:
		return "BOOL"
	case Int:
		return "INT"
	case Float:
		return "FLOAT"
	case Timestamp:
		return "TIMESTAMP"
	case Markets:
		return "MARKETS"
	}
	return fmt.Sprintf("attribute.Type(%d)", uint8(t))
}

// Value is a tagged union: Type says which field holds the value.
type Value struct {
	Type     Type
	Keywords []string  // Keyword: at least one
	Bool     bool      // Bool
	Int      int64     // Int
	Float    float64   // Float
	Time     time.Time // Timestamp, UTC
	Markets  MarketSet // Markets
}

// Attribute is one named value.
type Attribute struct {
	Name  string
	Value Value
}

// Set is a set of attributes in ascending order of name.
type Set []Attribute

// Sorted returns s in ascending order of name, copying only where it is not.
func (s Set) Sorted() Set {
	byName := func(x, y Attribute) int { return strings.Compare(x.Name, y.Name) }
	if slices.IsSortedFunc(s, byName) {
		return s
	}
	s = slices.Clone(s)
	slices.SortStableFunc(s, byName)
	return s
}

// Get returns the value of that name. The set is in order.
func (s Set) Get(name string) (Value, bool) {
	i, ok := slices.BinarySearchFunc(s, name, func(a Attribute, name string) int { return strings.Compare(a.Name, name) })
	if !ok {
		return Value{}, false
	}
	return s[i].Value, true
}
