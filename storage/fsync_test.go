package storage

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestLatenciesCountByBound(t *testing.T) {
	for i, bound := range FsyncBuckets {
		for took, want := range map[time.Duration]int{bound: i, bound + 1: i + 1} {
			var l latencies
			l.add(took)
			if got := l.read(); got.Counts[want] != 1 || got.Sum != took {
				t.Errorf("%v is not in bucket %d: %v", took, want, got)
			}
		}
	}
	var l latencies
	l.add(0)
	l.add(-time.Second) // a clock that jumps
	l.add(time.Hour)
	got := l.read()
	if got.Counts[0] != 2 || got.Counts[len(FsyncBuckets)] != 1 {
		t.Errorf("%v", got)
	}
	count, upTo := got.Cumulative()
	if last := FsyncBuckets[len(FsyncBuckets)-1].Seconds(); count != 3 || len(upTo) != len(FsyncBuckets) || upTo[16e-6] != 2 || upTo[last] != 2 {
		t.Errorf("%d, %v", count, upTo)
	}
}

// TestCommitsAreTimed: each commit waits for a sync of the log, and each is counted, also on a log that Pebble uses again.
func TestCommitsAreTimed(t *testing.T) {
	s, err := Open("store", Options{FS: vfs.NewMem(), MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	syncs := func() (n uint64) {
		for _, c := range s.Metrics().Fsync.Counts {
			n += c
		}
		return n
	}
	c := s.Collection(1, 0)
	const commits = 300 // of 2 KB: several logs
	before := syncs()
	for n := range uint64(commits) {
		if err := fill(c, 4*n+1, 4, noise(512)); err != nil {
			t.Fatal(err)
		}
	}
	// One goroutine commits: no two commits share a sync.
	if got := syncs() - before; got < commits {
		t.Errorf("%d syncs of %d commits", got, commits)
	}
	if s.Metrics().Flushes == 0 {
		t.Error("there was one log only")
	}
}
