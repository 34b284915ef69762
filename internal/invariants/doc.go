// Package invariants holds the switches of checks that are too slow for production.
//
// Code that owns an invariant writes
//
//	if invariants.Enabled {
//		invariants.Check(len(free) <= slots, "%d free slots of %d", len(free), slots)
//	}
//
// so that an ordinary build compiles the check away, and `go test -tags invariants` or a build with the race detector
// panics at the first step that breaks it, not at the first step that suffers from it.
package invariants

import "fmt"

// Check panics with the formatted message unless ok. Guard calls with Enabled: arguments are evaluated before the call.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic("broken invariant: " + fmt.Sprintf(format, args...))
	}
}
