package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/internal/crashfs"
)

// crashPoint is what a power loss at one file-system operation left, and what the store owes.
type crashPoint struct {
	op            string
	fs            *crashfs.FS
	percent       int
	acked, issued int // steps acknowledged before the loss, and started
}

// recorder takes a crash clone before each operation that changes the file system.
type recorder struct {
	mem *crashfs.FS
	rng *rand.Rand

	mu            sync.Mutex
	acked, issued int
	points        []crashPoint
}

func (r *recorder) String() string { return "recorder" }

// MaybeError implements errorfs.Injector; it injects nothing.
func (r *recorder) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// Exactly what was synced, and some random part of the rest.
	for _, percent := range []int{0, 1 + r.rng.IntN(100)} {
		p := crashPoint{op: fmt.Sprintf("%d %v %s", len(r.points)/2, op.Kind, op.Path), percent: percent, acked: r.acked, issued: r.issued}
		p.fs = r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r.rng})
		r.points = append(r.points, p)
	}
	return nil
}

func (r *recorder) step(fn func() error) error {
	r.mu.Lock()
	r.issued++
	r.mu.Unlock()
	if err := fn(); err != nil {
		return err
	}
	r.mu.Lock()
	r.acked++
	r.mu.Unlock()
	return nil
}

// seeds returns how many random seeds a test runs: few by default, more where SEGUE_LONG is set.
func seeds(short, long int) uint64 {
	switch {
	case os.Getenv("SEGUE_LONG") != "":
		return uint64(long)
	case testing.Short():
		return 1
	}
	return uint64(short)
}

// Power is lost at every operation that changes a file or a directory, from the creation of the directory
// to the last step after a restart. What was acknowledged is there; what was not is there whole or not at all.
func TestPowerLossAtEveryOperation(t *testing.T) {
	steps := workload(300)
	dumps := runWorkload(t, mustOpen(t, vfs.NewMem(), Options{}), steps)
	for seed := range seeds(2, 40) {
		rec := &recorder{mem: crashfs.New(), rng: rand.New(rand.NewPCG(seed, 0))}
		recordWorkload(t, rec, steps)
		t.Logf("seed %d: %d operations, %d crash points", seed, len(rec.points)/2, len(rec.points))
		if len(rec.points) < 200 {
			t.Fatal("the recorder sees too little")
		}
		for _, p := range rec.points {
			if err := p.check(dumps); err != nil {
				t.Errorf("seed %d: power lost at operation %s, %d%% of unsynced data kept, %d steps acknowledged, %d started: %v",
					seed, p.op, p.percent, p.acked, p.issued, err)
			}
		}
	}
}

// recordWorkload does every step, with a restart in the middle: power is lost inside Close and Open too.
func recordWorkload(t *testing.T, rec *recorder, steps []step) {
	t.Helper()
	o := Options{FS: errorfs.Wrap(rec.mem, rec), MemTableBytes: 64 << 10}
	s, err := Open(testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, st := range steps {
		if err := rec.step(func() error { return st.do(s) }); err != nil {
			t.Fatalf("%s: %v", st.name, err)
		}
		if i == len(steps)/2 {
			mustClose(t, s)
			if s, err = Open(testDir, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, s)
}

// check opens what the loss left, twice: the second time after another write and a clean Close.
func (p crashPoint) check(dumps []string) error {
	s, err := Open(testDir, Options{FS: p.fs})
	if err != nil {
		return err
	}
	defer s.Close()
	got, err := dump(s)
	if err != nil {
		return err
	}
	if got != dumps[p.acked] && got != dumps[p.issued] {
		return fmt.Errorf("the store differs from what was acknowledged:\n%s", cmp.Diff(strings.Split(dumps[p.acked], "\n"), strings.Split(got, "\n")))
	}
	if err := leftovers(s); err != nil {
		return err
	}
	c := s.Collection(1, 0)
	last, err := c.LastLSN()
	if err != nil {
		return err
	}
	b := c.NewBatch()
	if err := errors.Join(b.PutItem(item("after", last+1)), b.Commit(), b.Close(), s.Close()); err != nil {
		return err
	}
	s, err = Open(testDir, Options{FS: p.fs})
	if err != nil {
		return fmt.Errorf("second open: %w", err)
	}
	defer s.Close()
	_, err = s.Collection(1, 0).Item("after")
	return err
}

// Several goroutines write to one release, sharing fsyncs. What a power loss leaves is a prefix of the LSNs and
// holds every acknowledged one.
func TestPowerLossUnderConcurrentWriters(t *testing.T) {
	const writers, batches, rows = 4, 30, 3
	for seed := range seeds(3, 60) {
		mem := crashfs.New()
		var (
			mu      sync.Mutex // guards next and orders Start
			next    uint64     = 1
			ackMu   sync.Mutex
			acked   uint64
			clones  []crashPoint
			rng     = rand.New(rand.NewPCG(seed, 1))
			inWrite = errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
					return nil
				}
				ackMu.Lock()
				defer ackMu.Unlock()
				if rng.IntN(8) == 0 {
					p := crashPoint{op: op.Path, percent: rng.IntN(101), acked: int(acked)}
					p.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.percent, RNG: rng})
					clones = append(clones, p)
				}
				return nil
			})
		)
		s, err := Open(testDir, Options{FS: errorfs.Wrap(mem, inWrite), MemTableBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range batches {
					c := s.Collection(1, 0)
					b := c.NewBatch()
					mu.Lock()
					var err error
					for range rows {
						err = errors.Join(err, b.PutItem(item(fmt.Sprintf("t%d", next%10), next)))
						next++
					}
					last := next - 1
					err = errors.Join(err, b.start())
					mu.Unlock()
					if err := errors.Join(err, b.wait()); err != nil {
						t.Error(err)
						return
					}
					ackMu.Lock()
					acked = max(acked, last)
					ackMu.Unlock()
					b.Close()
				}
			})
		}
		wg.Wait()
		mustClose(t, s)
		if len(clones) < 5 {
			t.Fatalf("only %d crash points", len(clones))
		}
		for _, p := range clones {
			if err := p.checkPrefix(rows); err != nil {
				t.Errorf("seed %d: power lost at %s, %d%% kept, %d acknowledged: %v", seed, p.op, p.percent, p.acked, err)
			}
		}
	}
}

// checkPrefix says that the store holds exactly the first n mutations, for an n of whole batches that is not
// below what was acknowledged. LSN x wrote item t(x mod 10).
func (p crashPoint) checkPrefix(rows uint64) error {
	s, err := Open(testDir, Options{FS: p.fs})
	if err != nil {
		return err
	}
	defer s.Close()
	c := s.Collection(1, 0)
	n, err := c.LastLSN()
	if err != nil {
		return err
	}
	if n < uint64(p.acked) || n%rows != 0 {
		return fmt.Errorf("last LSN is %d", n)
	}
	records := uint64(0)
	if err := c.Log(1, func(LogRecord) error { records++; return nil }); err != nil {
		return err
	}
	items := uint64(0)
	for r, err := range c.Items("", 0) {
		if err != nil {
			return err
		}
		if r.LSN > n || r.LSN+10 <= n || r.ID != fmt.Sprintf("t%d", r.LSN%10) {
			return fmt.Errorf("item %s has LSN %d of %d", r.ID, r.LSN, n)
		}
		items++
	}
	if records != n || items != min(n, 10) {
		return fmt.Errorf("%d records and %d items at LSN %d", records, items, n)
	}
	return nil
}

// When the marker of a new MANIFEST appears, the MANIFEST must survive a power loss: see pebbleFS.
func TestPowerLossManifestIsDurableBeforeItsMarker(t *testing.T) {
	mem := crashfs.New()
	markers := 0
	check := errorfs.InjectorFunc(func(op errorfs.Op) error {
		_, rest, ok := strings.Cut(op.Path, "marker.manifest.")
		if op.Kind != errorfs.OpCreate || !ok {
			return nil
		}
		markers++
		_, manifest, _ := strings.Cut(rest, ".")
		if _, err := mem.CrashClone(vfs.CrashCloneCfg{}).Stat(testDir + "/" + manifest); err != nil {
			t.Errorf("%s created before its MANIFEST is durable: %v", op.Path, err)
		}
		return nil
	})
	for range 3 {
		s, err := Open(testDir, Options{FS: errorfs.Wrap(mem, check)})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if markers < 3 {
		t.Fatalf("saw %d markers", markers)
	}
}
