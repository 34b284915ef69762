package engine

import (
	"time"

	"github.com/segue-ann/segue/internal/background"
)

// recently is how long after a read the next one is expected, and work in the background keeps out of its way.
const recently = time.Second

// readSince says whether a read has begun in the last d.
func (e *Engine) readSince(d time.Duration) bool {
	return time.Now().UnixNano()-e.lastRead.Load() < int64(d)
}

// inBackground runs fn, which nobody waits for, and returns when it has ended. While reads come it runs on a thread that leaves them
// the processors; while none come it runs as anything else, so that another process that computes cannot hold it up.
func (e *Engine) inBackground(fn func()) {
	if e.opts.IdleThreads && e.readSince(recently) {
		background.Do(fn)
		return
	}
	fn()
}
