package main

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segue-ann/segue/engine"
)

// A server has a memory limit: that of --memory-limit, or of its container, or none. The index lies outside the Go heap, so that
// GOMEMLIMIT, set to the limit, would let the heap grow into what vectors and links already take. The server therefore sets the
// runtime's limit itself, again and again, and refuses writes that need memory before the collector has nothing left to give:
//
//	limit of the Go runtime = 9/10 of the limit - anonymous memory outside the Go runtime, but not less than its floor
//	limit of writes         = 17/20 of the limit, of what stays when the collector has run, and at least the floor of it
//
// The floor is a quarter of the limit, or 64 MiB: below what a server needs the collector would run all the time and gain nothing.
const (
	// memoryInterval is how far an index can grow before the runtime hears of it: at a GB/s, a tenth of a GB.
	memoryInterval = 100 * time.Millisecond
	// memoryAge is how long a reading is good enough for a write: an import adds some MiB in it.
	memoryAge = 50 * time.Millisecond
	// leastMemory is the least limit that can be asked for: an empty server needs about half of it.
	leastMemory = 64 << 20
	maxFloor    = 64 << 20
)

// goFloor is the least limit of the Go runtime under a limit of the process.
func goFloor(limit int64) int64 { return min(limit/4, maxFloor) }

// containerMemory is how many bytes this process and its like may use, by the files of control groups (v2, then v1) below root;
// false where there is no limit.
func containerMemory(root fs.FS) (int64, bool) {
	for _, name := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		return n, err == nil && n > 0 && n < 1<<60 // v2 says max, v1 a number beyond every machine
	}
	return 0, false
}

// anonymousMemory is how many resident bytes of this process no file backs, from the text of /proc/self/status.
func anonymousMemory(status []byte) (int64, bool) {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("RssAnon:")); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// goMemory is how many bytes the Go runtime holds.
func goMemory() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

// goLimit is the limit of the Go runtime; see above.
func goLimit(limit, anonymous, held int64) int64 {
	outside := max(anonymous-held, 0)
	return max(limit/10*9-outside, goFloor(limit))
}

// inUse is what the process holds where the Go runtime holds so many bytes, of which so many are garbage.
func inUse(limit, anonymous, held, garbage int64) int64 {
	outside := max(anonymous-held, 0)
	return outside + max(min(held, anonymous)-garbage, goFloor(limit))
}

// garbage is how many bytes of the Go heap a collection would give back: what died since the last one, and what is free.
func garbage() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	n := -int64(samples[3].Value.Uint64())
	for _, s := range samples[:3] {
		n += int64(s.Value.Uint64())
	}
	return max(n, 0)
}

// memoryGovernor keeps a process within its memory limit.
type memoryGovernor struct {
	limit int64 // of the process; 0 is none

	mu   sync.Mutex // guards last and at
	last engine.MemoryUse
	at   time.Time
}

// newMemoryGovernor takes the limit that was asked for, or that of the container.
func newMemoryGovernor(limit int64) *memoryGovernor {
	if limit == 0 {
		if container, limited := containerMemory(os.DirFS("/")); limited {
			limit = container
		}
	}
	return &memoryGovernor{limit: limit}
}

// anonymous is how many bytes no file backs; where the system does not say, what the Go runtime holds.
func anonymous() int64 {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		if n, ok := anonymousMemory(status); ok {
			return n
		}
	}
	return goMemory()
}

// use says what the process holds and what writes may make of it, as of memoryAge ago or later. It is engine.Options.Memory.
func (g *memoryGovernor) use() engine.MemoryUse {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); g.at.IsZero() || now.Sub(g.at) > memoryAge {
		used := inUse(g.limit, anonymous(), goMemory(), garbage())
		g.last, g.at = engine.MemoryUse{Used: uint64(used), Limit: uint64(g.limit / 20 * 17)}, now
	}
	return g.last
}

// govern keeps the runtime's limit right until stop is called, which waits for it and puts the old limit back. It does nothing where
// GOMEMLIMIT is set, or there is no limit.
func (g *memoryGovernor) govern(log *slog.Logger) (stop func()) {
	if g.limit == 0 {
		return func() {}
	}
	log.Info("memory is limited", "limit_bytes", g.limit)
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(-1)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(memoryInterval)
		defer tick.Stop()
		for set := int64(0); ; {
			// Setting it stops the world for a moment: not for a change of a percent.
			if next := goLimit(g.limit, anonymous(), goMemory()); max(next-set, set-next) > g.limit/100 {
				debug.SetMemoryLimit(next)
				set = next
			}
			select {
			case <-tick.C:
			case <-ended:
				debug.SetMemoryLimit(before)
				return
			}
		}
	}()
	return func() { close(ended); <-done }
}
