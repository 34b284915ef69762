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
	"time"
)

// The index lies outside the Go heap, so that GOMEMLIMIT, set to what a container may use, would let the heap grow into what
// vectors and links already take. A server in a container with a limit therefore sets the runtime's limit itself, again and again:
//
//	limit of the Go runtime = 9/10 of the container's limit - anonymous memory outside the Go runtime
const (
	memoryInterval = 5 * time.Second
	// minGoMemory is the least limit: below it the collector would run all the time and gain nothing.
	minGoMemory = 64 << 20
)

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
func goLimit(container, anonymous, held int64) int64 {
	outside := max(anonymous-held, 0)
	return max(container/10*9-outside, minGoMemory)
}

// governMemory keeps the runtime's limit right until stop is called, which waits for it and puts the old limit back. It does nothing
// where GOMEMLIMIT is set, or there is no container with a limit.
func governMemory(log *slog.Logger) (stop func()) {
	container, limited := containerMemory(os.DirFS("/"))
	if os.Getenv("GOMEMLIMIT") != "" || !limited {
		return func() {}
	}
	log.Info("memory is limited", "container_bytes", container)
	before := debug.SetMemoryLimit(-1)
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(memoryInterval)
		defer tick.Stop()
		for {
			if status, err := os.ReadFile("/proc/self/status"); err == nil {
				if anonymous, ok := anonymousMemory(status); ok {
					debug.SetMemoryLimit(goLimit(container, anonymous, goMemory()))
				}
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
