package engine

import (
	"fmt"
	"sync"
)

// LoadPhase is what Open is doing.
type LoadPhase string

// The phases, in order; each collection has two or all of the three in the middle.
const (
	PhaseStore    LoadPhase = "opening the store"
	PhaseSnapshot LoadPhase = "reading the snapshot" // counted in bytes
	PhaseItems    LoadPhase = "rebuilding the graph" // where no snapshot verifies; counted in items, of unknown number
	PhaseLog      LoadPhase = "replaying the log"    // counted in records
	PhaseReady    LoadPhase = "ready"
)

// LoadProgress says how far Open has come.
type LoadProgress struct {
	Collection string // empty while the store is opened
	Phase      LoadPhase
	// Done of Total, in the unit of the phase. Total is 0 where it is not known.
	Done, Total int64
}

// String is a line for people: "reading the snapshot of tracks, 42 %".
func (p LoadProgress) String() string {
	s := string(p.Phase)
	if p.Collection != "" {
		s += " of " + p.Collection
	}
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s, %d %%", s, 100*min(p.Done, p.Total)/p.Total)
	case p.Done > 0:
		return fmt.Sprintf("%s, %d done", s, p.Done)
	}
	return s
}

// Share is how much of the phase is done: 0 to 1, and 1 when ready.
func (p LoadProgress) Share() float64 {
	switch {
	case p.Phase == PhaseReady:
		return 1
	case p.Total <= 0:
		return 0
	}
	return min(1, float64(p.Done)/float64(p.Total))
}

// Loading tells others how far Open has come, if Options have it. The zero value is ready. Safe for concurrent use.
type Loading struct {
	mu sync.Mutex // guards at
	at LoadProgress
}

// Progress returns how far Open has come; before it began, that it opens the store.
func (l *Loading) Progress() LoadProgress {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.Phase == "" {
		return LoadProgress{Phase: PhaseStore}
	}
	return l.at
}

// begin enters a phase. Nothing happens on nil.
func (l *Loading) begin(collection string, phase LoadPhase, total int64) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.at = LoadProgress{Collection: collection, Phase: phase, Total: total}
	}
}

// add counts what was done.
func (l *Loading) add(n int64) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.at.Done += n
	}
}
