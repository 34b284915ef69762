//go:build invariants || race

package invariants

// Enabled tells whether slow checks are compiled in: with the build tag invariants, and with the race detector.
const Enabled = true
