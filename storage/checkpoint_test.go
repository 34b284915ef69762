package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/internal/crashfs"
)

// A checkpoint taken after any step of the workload is the store as of then, whatever is written before it is read, and
// taking it changes nothing of the store.
func TestCheckpointIsTheStoreOfItsMoment(t *testing.T) {
	mem := crashfs.New()
	s := mustOpen(t, mem, Options{MemTableBytes: 64 << 10})
	steps := workload(300)
	dumps := runWorkload(t, mustOpen(t, vfs.NewMem(), Options{}), steps)
	for i, st := range steps {
		dir, remove, err := s.Checkpoint()
		if err != nil {
			t.Fatalf("before %s: %v", st.name, err)
		}
		if err := st.do(s); err != nil {
			t.Fatalf("%s beside a checkpoint: %v", st.name, err)
		}
		c, err := Open(dir, Options{FS: mem, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		names, err := c.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := CheckFile(mem, mem.PathJoin(dir, name)); err != nil {
				t.Error(err)
			}
		}
		got, err := dump(c)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(dumps[i], "\n"), strings.Split(got, "\n")); diff != "" {
			t.Fatalf("the checkpoint taken before %s: %s", st.name, diff)
		}
		mustClose(t, c)
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
	// A MANIFEST of a checkpoint must not have been taken for the store's own: what is sealed is true.
	s.sealer.update()
	killed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	mustClose(t, s)
	for _, after := range []vfs.FS{mem, killed} {
		if got, err := openAndRead(after); err != nil || got != dumps[len(dumps)-1] {
			t.Errorf("the store after its checkpoints: %v\n%s", err, cmp.Diff(dumps[len(dumps)-1], got))
		}
	}
}

// Power is lost at every operation that makes a checkpoint or takes it away: the store answers as before.
func TestPowerLossDuringCheckpoint(t *testing.T) {
	var points []*crashfs.FS
	mem := crashfs.New()
	rng := rand.New(rand.NewPCG(3, 3))
	record := errorfs.InjectorFunc(func(op errorfs.Op) error {
		// Only operations of this test's goroutine: the clone must not wait for one that waits for it.
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, checkpointDir) {
			points = append(points, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
		}
		return nil
	})
	s := mustOpen(t, errorfs.Wrap(mem, record), Options{MemTableBytes: 64 << 10})
	dumps := runWorkload(t, s, workload(300))
	points = nil // Open sweeps
	for range 2 {
		_, remove, err := s.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
	if len(points) < 30 {
		t.Fatalf("%d operations seen", len(points))
	}
	for i, p := range points {
		got, err := openAndRead(p)
		if err != nil || got != dumps[len(dumps)-1] {
			t.Errorf("power lost at operation %d: %v", i, err)
		}
		if _, err := p.Stat(testDir + "/" + checkpointDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("power lost at operation %d: Open left the checkpoint, %v", i, err)
		}
	}
}

// Writers go on while checkpoints are made: each holds a prefix of every log, and all that was acknowledged before.
func TestCheckpointUnderConcurrentWriters(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem, Options{MemTableBytes: 64 << 10})
	var mu sync.Mutex
	acked := make([]uint64, 3)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range acked {
		writers.Go(func() {
			c := s.Collection(uint32(w+1), 0)
			for lsn := uint64(1); ; lsn++ {
				select {
				case <-stop:
					return
				default:
				}
				b := c.NewBatch()
				it := item(fmt.Sprint("t", lsn%10), lsn)
				it.Attributes = slabBytes(lsn, "a", 0, 2000)
				if err := errors.Join(b.PutItem(it), b.Commit(), b.Close()); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[w] = lsn
				mu.Unlock()
			}
		})
	}
	defer writers.Wait()
	defer close(stop)
	for range 20 {
		mu.Lock()
		before := append([]uint64(nil), acked...)
		mu.Unlock()
		dir, remove, err := s.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		c, err := Open(dir, Options{FS: mem, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for w, least := range before {
			last, err := c.Collection(uint32(w+1), 0).LastLSN()
			if err != nil || last < least {
				t.Errorf("writer %d: the checkpoint ends at LSN %d, %d was acknowledged before it, %v", w, last, least, err)
			}
		}
		if err := errors.Join(c.Close(), remove()); err != nil {
			t.Fatal(err)
		}
	}
}

// There is one checkpoint at a time, none of a closed or read-only store, and Close waits for it.
func TestCheckpointIsExclusive(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem, Options{})
	putItems(t, s.Collection(1, 0), 1, "a")
	_, remove, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Checkpoint(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second checkpoint: %v", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for s.enter() == nil {
		s.leave()
		runtime.Gosched()
	}
	select {
	case err := <-closed:
		t.Errorf("closed under a checkpoint: %v", err)
	default:
	}
	if err := errors.Join(remove(), <-closed); err != nil {
		t.Error(err)
	}
	if _, _, err := s.Checkpoint(); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
	s = mustOpen(t, mem, Options{ReadOnly: true})
	if _, _, err := s.Checkpoint(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("of a read-only store: %v", err)
	}
}

// A disk that fails while a checkpoint is made fails the checkpoint, not the store.
func TestCheckpointOnFailingDisk(t *testing.T) {
	for _, kind := range []string{"MANIFEST", "OPTIONS", ".log", "marker", ""} {
		mem := vfs.NewMem()
		inj := &faulty{err: errors.New("injected"), hit: func(op errorfs.Op) bool {
			return op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemoveAll && op.Kind != errorfs.OpRemove &&
				strings.Contains(op.Path, checkpointDir) && strings.Contains(op.Path, kind)
		}}
		s := mustOpen(t, errorfs.Wrap(mem, inj), Options{OnFatal: func(err error) { t.Error(err) }})
		putItems(t, s.Collection(1, 0), 1, "a")
		inj.armed.Store(true)
		if _, _, err := s.Checkpoint(); !errors.Is(err, inj.err) {
			t.Errorf("%q: %v", kind, err)
		}
		inj.armed.Store(false)
		putItems(t, s.Collection(1, 0), 2, "b")
		_, remove, err := s.Checkpoint()
		if err != nil {
			t.Fatalf("%q: after the fault: %v", kind, err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
	}
}

func TestPositions(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	runWorkload(t, s, workload(100))
	got, err := s.Positions()
	if err != nil {
		t.Fatal(err)
	}
	var want []Position
	for release := range uint32(10) {
		last, err := s.Collection(1, release).LastLSN()
		if err != nil {
			t.Fatal(err)
		}
		if last > 0 {
			want = append(want, Position{1, "c1", release, last})
		}
	}
	if len(want) < 3 {
		t.Errorf("the workload writes to %d releases", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
