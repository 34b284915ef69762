package engine

import "sync/atomic"

// callGate counts calls in flight so that close can wait for them.
//
// A counter beats a sync.WaitGroup here because calls may begin while close waits, and must then be refused.
type callGate struct {
	n      atomic.Int64 // calls in flight; below zero by gateClosed once closed
	closed chan struct{}
}

const gateClosed = -1 << 40

func (g *callGate) init() { g.closed = make(chan struct{}, 1) }

func (g *callGate) enter() bool {
	if g.n.Add(1) <= 0 {
		g.leave()
		return false
	}
	return true
}

func (g *callGate) leave() {
	if g.n.Add(-1) == gateClosed {
		// Out after close with nobody left inside. A refused enter passes here too: close hears of it once.
		select {
		case g.closed <- struct{}{}:
		default:
		}
	}
}

// close refuses new calls and waits for those in flight. It returns false where it was closed before.
func (g *callGate) close() bool {
	if g.n.Load() < 0 {
		return false
	}
	if g.n.Add(gateClosed) == gateClosed {
		return true
	}
	<-g.closed
	return true
}
