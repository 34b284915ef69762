package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/internal/crashfs"
)

// faulty is a file system whose operations fail while armed.
type faulty struct {
	armed atomic.Bool
	hit   func(errorfs.Op) bool
	err   error
}

func (f *faulty) String() string { return "faulty" }

// MaybeError implements errorfs.Injector.
func (f *faulty) MaybeError(op errorfs.Op) error {
	if f.armed.Load() && f.hit(op) {
		return f.err
	}
	return nil
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
}

// A disk that fails a write or a sync of the write-ahead log or of the MANIFEST ends in OnFatal, the write is
// never acknowledged, the store takes no more calls, and what was acknowledged before survives the power loss
// that may follow.
func TestPowerLossAfterFatalDiskError(t *testing.T) {
	inLog := func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }
	inManifest := func(op errorfs.Op) bool { return strings.Contains(op.Path, "/MANIFEST-") }
	for _, tc := range []struct {
		name string
		err  error
		hit  func(errorfs.Op) bool
		do   func(s *Store) error
	}{
		{"fsync EIO of the write-ahead log", syscall.EIO, func(op errorfs.Op) bool { return inLog(op) && isSync(op.Kind) }, writeThree},
		{"write EIO of the write-ahead log", syscall.EIO, func(op errorfs.Op) bool { return inLog(op) && op.Kind == errorfs.OpFileWrite }, writeThree},
		{"ENOSPC of the write-ahead log", syscall.ENOSPC, func(op errorfs.Op) bool { return inLog(op) && op.Kind == errorfs.OpFileWrite }, writeThree},
		{"fsync EIO under a catalog change", syscall.EIO, func(op errorfs.Op) bool { return inLog(op) && isSync(op.Kind) },
			func(s *Store) error { return s.PutCollection(CollectionRow{ID: 9, Name: "x"}) }},
		{"fsync EIO of the MANIFEST", syscall.EIO, func(op errorfs.Op) bool { return inManifest(op) && isSync(op.Kind) },
			func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 1, 2, 100) }},
		{"ENOSPC of the MANIFEST", syscall.ENOSPC, func(op errorfs.Op) bool { return inManifest(op) && op.Kind == errorfs.OpFileWrite },
			func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 1, 2, 100) }},
		{"ENOSPC where the next write-ahead log is made", syscall.ENOSPC, func(op errorfs.Op) bool {
			return inLog(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		}, func(s *Store) error { return s.db.Flush() }},
		{"EIO of the directory under a new write-ahead log", syscall.EIO, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync && op.Path == testDir
		}, func(s *Store) error { return s.db.Flush() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mem := crashfs.New()
			inj := &faulty{hit: tc.hit, err: tc.err}
			fatal := make(chan error, 10)
			s, err := Open(testDir, Options{FS: errorfs.Wrap(mem, inj), OnFatal: func(err error) { fatal <- err }})
			if err != nil {
				t.Fatal(err)
			}
			putItems(t, s.Collection(1, 0), 1, "a", "b")
			want, err := dump(s)
			if err != nil {
				t.Fatal(err)
			}
			inj.armed.Store(true)
			returned := make(chan error, 1)
			go func() { returned <- tc.do(s) }()
			// The call stops for good, or reports the fault if background work met it first. It never succeeds.
			var fe *FatalError
			err = <-fatal
			if !errors.As(err, &fe) {
				t.Fatalf("%T %v", err, err)
			}
			t.Log(err)
			if _, err := s.Collection(1, 0).Item("a"); !errors.As(err, &fe) {
				t.Errorf("a read after the fault: %v", err)
			}
			if err := writeThree(s); !errors.As(err, &fe) {
				t.Errorf("a write after the fault: %v", err)
			}
			if err := s.Close(); !errors.As(err, &fe) {
				t.Errorf("close after the fault: %v", err)
			}
			after := mustOpen(t, mem.CrashClone(vfs.CrashCloneCfg{}), Options{})
			got, err := dump(after)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("acknowledged state lost:\n%s", diff)
			}
			select {
			case err := <-returned:
				if !errors.As(err, &fe) {
					t.Errorf("the call returned: %v", err)
				}
			case err := <-fatal:
				t.Errorf("OnFatal was called twice: %v", err)
			default:
			}
		})
	}
}

// writeThree writes the items with LSNs 3 to 5.
func writeThree(s *Store) error {
	b := s.Collection(1, 0).NewBatch()
	return errors.Join(b.PutItem(item("c", 3)), b.PutItem(item("d", 4)), b.PutItem(item("e", 5)), b.Commit(), b.Close())
}

// A disk error while slabs are written fails the snapshot and nothing else.
func TestSnapshotDiskErrorIsNotFatal(t *testing.T) {
	for name, kind := range map[string]func(errorfs.OpKind) bool{
		"create": func(k errorfs.OpKind) bool { return k == errorfs.OpCreate },
		"write":  func(k errorfs.OpKind) bool { return k == errorfs.OpFileWrite },
		"fsync":  isSync,
		"link":   func(k errorfs.OpKind) bool { return k == errorfs.OpLink || k == errorfs.OpCreate },
	} {
		inj := &faulty{err: syscall.ENOSPC, hit: func(op errorfs.Op) bool {
			return kind(op.Kind) && strings.Contains(op.Path, ingestDir+"/")
		}}
		s := mustOpen(t, errorfs.Wrap(vfs.NewMem(), inj), Options{OnFatal: func(err error) { t.Error(err) }})
		c := s.Collection(1, 0)
		if err := writeSnapshot(c, 1, 1, 5000); err != nil {
			t.Fatal(err)
		}
		inj.armed.Store(true)
		if err := writeSnapshot(c, 2, 2, 5000); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", name, err)
		}
		inj.armed.Store(false)
		putItems(t, c, 1, "a")
		if err := leftovers(s); err != nil {
			t.Error(err)
		}
		if err := writeSnapshot(c, 2, 2, 5000); err != nil {
			t.Fatal(err)
		}
		for gen := uint64(1); gen <= 2; gen++ {
			if err := checkSnapshot(c, gen, gen, 5000); err != nil {
				t.Error(err)
			}
		}
	}
}

// Below the low-water mark writes are refused with the numbers, reads and whatever frees space go on, and
// writes work again when there is space.
func TestLowSpaceRefusesWrites(t *testing.T) {
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 10 << 30})
	s := mustOpen(t, mem, Options{LowWaterBytes: 100 << 20})
	if err := s.PutCollection(CollectionRow{ID: 1, Name: "one"}); err != nil {
		t.Fatal(err)
	}
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b")
	if err := writeSnapshot(c, 1, 2, 100); err != nil {
		t.Fatal(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 100<<20 + 50, TotalBytes: 10 << 30})
	for name, write := range map[string]func() error{
		"batch":      func() error { return writeThree(s) },
		"collection": func() error { return s.PutCollection(CollectionRow{ID: 2, Name: "two", Config: make([]byte, 100)}) },
		"slab": func() error {
			w, err := c.NewSnapshot(7)
			if err != nil {
				return err
			}
			defer w.Abort()
			return w.Slab("x", 0, false, make([]byte, 100))
		},
	} {
		var low *LowSpaceError
		if err := write(); !errors.As(err, &low) {
			t.Fatalf("%s: %v", name, err)
		}
		if low.AvailBytes != 100<<20+50 || low.LowWaterBytes != 100<<20 || low.NeedBytes < 50 {
			t.Errorf("%s: %+v", name, low)
		}
	}
	if got := fmt.Sprint(allItems(t, c)); got != "[a b]" {
		t.Error(got)
	}
	if err := errors.Join(c.TrimLog(2), c.DropSnapshot(1)); err != nil {
		t.Error(err)
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 10 << 30})
	putItems(t, c, 3, "c")
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 10, TotalBytes: 10 << 30})
	if err := s.DropCollection(1); err != nil {
		t.Error(err)
	}
	if s.Metrics().LowSpaceRefusals != 3 {
		t.Errorf("%+v", s.Metrics())
	}
}

func TestDefaultLowWater(t *testing.T) {
	for _, tc := range []struct{ total, want uint64 }{
		{1 << 30, 4 * DefaultMemTableBytes},
		{10 << 30, 10 << 30 / 20},
		{10 << 40, 2 << 30},
	} {
		s := &Store{opts: Options{}.EnsureDefaults()}
		if got := s.lowWater(vfs.DiskUsage{TotalBytes: tc.total}); got != tc.want {
			t.Errorf("volume of %d: %d, want %d", tc.total, got, tc.want)
		}
	}
}
