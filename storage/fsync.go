package storage

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FsyncBuckets are the upper bounds of Latencies.Counts, but for the last, which has none: 16 us, doubling, to 8.4 s.
var FsyncBuckets = func() (bounds [20]time.Duration) {
	for i := range bounds {
		bounds[i] = firstFsyncBucket << i
	}
	return bounds
}()

const firstFsyncBucket = 16 * time.Microsecond

// Latencies count how long something took.
type Latencies struct {
	// Counts[i] took at most FsyncBuckets[i] and more than the bound before.
	Counts [len(FsyncBuckets) + 1]uint64
	Sum    time.Duration
}

// Cumulative returns how many there were, and for each bound, in seconds, how many took no longer.
func (l *Latencies) Cumulative() (count uint64, upTo map[float64]uint64) {
	upTo = make(map[float64]uint64, len(FsyncBuckets))
	for i, n := range l.Counts {
		if count += n; i < len(FsyncBuckets) {
			upTo[FsyncBuckets[i].Seconds()] = count
		}
	}
	return count, upTo
}

// latencies is Latencies that many goroutines add to.
type latencies struct {
	counts [len(FsyncBuckets) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (l *latencies) add(d time.Duration) {
	// The bucket is the number of doublings of the first bound that d exceeds.
	n := bits.Len64(uint64(max(0, d-1) / firstFsyncBucket))
	l.counts[min(n, len(FsyncBuckets))].Add(1)
	l.sum.Add(int64(d))
}

func (l *latencies) read() (r Latencies) {
	for i := range l.counts {
		r.Counts[i] = l.counts[i].Load()
	}
	r.Sum = time.Duration(l.sum.Load())
	return r
}

// logFile is a write-ahead log whose syncs are timed: what a durable write waits for.
type logFile struct {
	vfs.File
	took *latencies
}

// Sync implements vfs.File.
func (f *logFile) Sync() error { return f.time(f.File.Sync) }

// SyncData implements vfs.File.
func (f *logFile) SyncData() error { return f.time(f.File.SyncData) }

func (f *logFile) time(sync func() error) error {
	began := time.Now()
	err := sync()
	f.took.add(time.Since(began))
	return err
}
