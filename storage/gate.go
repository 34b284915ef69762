package storage

import "sync"

// gate lets Close wait for calls in progress and turns later ones away. Unlike a sync.RWMutex it may be
// entered again by a caller that is inside already.
type gate struct {
	mu      sync.Mutex
	inside  int
	closed  bool
	drained chan struct{} // closed when closed && inside == 0
}

func newGate() *gate { return &gate{drained: make(chan struct{})} }

// enter reports whether the caller may go on; if so it must call leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.drained)
	}
}

// close turns new callers away. It reports false if the gate was closed before. The caller waits for drained.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.closed = true
	if g.inside == 0 {
		close(g.drained)
	}
	return true
}
