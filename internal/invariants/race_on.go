//go:build race

package invariants

// Race tells whether the race detector is compiled in. It sees neither assembly nor memory outside the Go heap.
const Race = true
