package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/internal/crashfs"
	"github.com/segue-ann/segue/storage"
)

func slogDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// clones collects what a power loss before each operation that changes a file system would leave.
type clones struct {
	mem    *crashfs.FS
	rng    *rand.Rand
	points []*crashfs.FS
	ops    []string
}

func (c *clones) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			c.ops = append(c.ops, fmt.Sprintf("%d %v %s", len(c.points), op.Kind, op.Path))
			c.points = append(c.points, c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[c.rng.IntN(3)], RNG: c.rng}))
		}
		return nil
	}))
}

// rounds is how often a test with random power losses runs.
func rounds() uint64 {
	if os.Getenv("SEGUE_LONG") != "" {
		return 30
	}
	return 1
}

// Power is lost at every operation on a directory of backups: while the first is made, the second, and while the first is
// removed. What is left are whole backups, the newest that was acknowledged among them; the next backup and the next prune end as if nothing had been.
func TestPowerLossAtEveryOperationOfABackup(t *testing.T) {
	for seed := range rounds() {
		s := newSource(t)
		rec := &clones{mem: crashfs.New(), rng: rand.New(rand.NewPCG(seed, 1))}
		target := &Target{objects: &directory{fs: rec.fs(), root: "b"}, log: slogDiscard()}
		type step struct {
			from  int      // first point
			least []uint64 // backups that must be there
			most  []uint64 // and the one that may be
		}
		steps := []step{{0, nil, []uint64{1}}}
		lsns := []uint64{0, 0}
		s.grow(t, 8)
		s.create(t, target)
		lsns[0] = s.lsn
		steps = append(steps, step{len(rec.points), []uint64{1}, []uint64{1, 2}})
		s.grow(t, 8)
		s.create(t, target)
		lsns[1] = s.lsn
		steps = append(steps, step{len(rec.points), []uint64{2}, []uint64{1, 2}})
		if _, err := target.Prune(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if len(rec.points) < 60 {
			t.Fatalf("only %d operations were seen", len(rec.points))
		}
		t.Logf("seed %d: %d operations", seed, len(rec.points))
		s.grow(t, 1)
		dir, remove, err := s.store.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range rec.points {
			st := steps[0]
			for _, next := range steps {
				if i >= next.from {
					st = next
				}
			}
			left := &Target{objects: &directory{fs: p, root: "b"}, log: slogDiscard()}
			ns := numbersOf(t, left)
			for _, n := range st.least {
				if !slices.Contains(ns, n) {
					t.Errorf("%s: backups %v are left, not %d", rec.ops[i], ns, n)
				}
			}
			for _, n := range ns {
				if !slices.Contains(st.most, n) {
					t.Errorf("%s: backup %d", rec.ops[i], n)
				}
				if diff := cmp.Diff(expect(lsns[n-1]), restored(t, left, n)); diff != "" {
					t.Errorf("%s: backup %d: %s", rec.ops[i], n, diff)
				}
			}
			if len(ns) > 0 {
				if found := verify(t, left); found != nil {
					t.Errorf("%s: %v", rec.ops[i], found)
				}
			}
			if _, err := left.Create(t.Context(), Source{FS: s.fs, Dir: dir}); err != nil {
				t.Fatalf("%s: %v", rec.ops[i], err)
			}
			if _, err := left.Prune(t.Context(), 1); err != nil {
				t.Fatalf("%s: %v", rec.ops[i], err)
			}
			m, err := left.manifest(t.Context(), numbersOf(t, left)[0])
			if err != nil {
				t.Fatal(err)
			}
			if names := objectNames(t, left); len(names) > len(m.Files)+1 {
				t.Errorf("%s: garbage is left: %v", rec.ops[i], names)
			}
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// Power is lost at every operation of a restore: the store is there as a whole, or Open refuses; and the restore can be run again.
func TestPowerLossAtEveryOperationOfARestore(t *testing.T) {
	s := newSource(t)
	s.grow(t, 8)
	target := targets(t)["directory"]
	s.create(t, target)
	for seed := range rounds() {
		rec := &clones{mem: crashfs.New(), rng: rand.New(rand.NewPCG(seed, 2))}
		if _, err := target.Restore(t.Context(), 0, rec.fs(), "data/store"); err != nil {
			t.Fatal(err)
		}
		if len(rec.points) < 30 {
			t.Fatalf("only %d operations were seen", len(rec.points))
		}
		rec.ops = append(rec.ops, "done")
		rec.points = append(rec.points, rec.mem.CrashClone(vfs.CrashCloneCfg{}))
		whole := 0
		for i, p := range rec.points {
			got, err := contents(p, "data/store")
			var incomplete *storage.IncompleteRestoreError
			switch {
			case err == nil && got == expect(s.lsn):
				whole++
				continue
			case err == nil:
				t.Errorf("%s: another store", rec.ops[i])
			case !errors.As(err, &incomplete) && !errors.Is(err, storage.ErrNoStore):
				t.Errorf("%s: %v", rec.ops[i], err)
			}
			if _, err := target.Restore(t.Context(), 0, p, "data/store"); err != nil {
				t.Errorf("%s: again: %v", rec.ops[i], err)
				continue
			}
			if got, err := contents(p, "data/store"); err != nil || got != expect(s.lsn) {
				t.Errorf("%s: again: %v", rec.ops[i], err)
			}
		}
		if whole == 0 {
			t.Error("a restore that is done is not durable")
		}
		t.Logf("seed %d: %d operations, at %d the store was there", seed, len(rec.points), whole)
	}
}

// interrupted fails every operation from the n-th on, as a process does that was killed or an object store that is gone. A
// failed create may have made its object all the same: the answer was lost.
type interrupted struct {
	objects
	left   int
	before func() // called before each operation, if set
}

var errInterrupted = errors.New("interrupted")

func (o *interrupted) step() error {
	if o.before != nil {
		o.before()
	}
	if o.left--; o.left < 0 {
		return errInterrupted
	}
	return nil
}

func (o *interrupted) list(ctx context.Context, prefix string) ([]object, error) {
	if err := o.step(); err != nil {
		return nil, err
	}
	return o.objects.list(ctx, prefix)
}

func (o *interrupted) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := o.step(); err != nil {
		return nil, err
	}
	return o.objects.open(ctx, name)
}

func (o *interrupted) create(ctx context.Context, name string, exclusive bool, write func(io.Writer) error) error {
	err := o.step()
	if err != nil && o.left%2 == 0 {
		return err
	}
	return errors.Join(err, o.objects.create(ctx, name, exclusive, write))
}

func (o *interrupted) remove(ctx context.Context, name string) error {
	if err := o.step(); err != nil {
		return err
	}
	return o.objects.remove(ctx, name)
}

func (o *interrupted) transfers() int { return 1 }

// A backup ends after any number of operations of its target; each attempt goes on from what the one before sent. Until one
// ends well there is no backup more than before, or a whole one.
func TestInterruptionAtEveryOperation(t *testing.T) {
	for kind, target := range targets(t) {
		s := newSource(t)
		s.grow(t, 8)
		s.create(t, target)
		first := s.lsn
		s.grow(t, 8)
		dir, remove, err := s.store.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for n := 0; ; n++ {
			_, err := (&Target{objects: &interrupted{objects: target.objects, left: n}, log: slogDiscard()}).Create(t.Context(), Source{FS: s.fs, Dir: dir})
			if err == nil {
				break
			}
			if !errors.Is(err, errInterrupted) {
				t.Fatalf("%s, operation %d: %v", kind, n, err)
			}
			failed++
			for _, b := range numbersOf(t, target) {
				want := expect(s.lsn)
				if b == 1 {
					want = expect(first)
				}
				if diff := cmp.Diff(want, restored(t, target, b)); diff != "" {
					t.Errorf("%s, operation %d, backup %d: %s", kind, n, b, diff)
				}
			}
		}
		if failed < 5 {
			t.Errorf("%s: only %d operations", kind, failed)
		}
		if found := verify(t, target); found != nil {
			t.Errorf("%s: %v", kind, found)
		}
		for n := 0; ; n++ { // the same for pruning
			_, err := (&Target{objects: &interrupted{objects: target.objects, left: n}, log: slogDiscard()}).Prune(t.Context(), 1)
			if found := verify(t, target); found != nil {
				t.Errorf("%s, prune ended at operation %d: %v", kind, n, found)
			}
			if err == nil {
				break
			}
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
	}
}

// While a backup is made, before each of its operations, another process prunes all it may. What is committed is whole.
func TestPruneBesideBackup(t *testing.T) {
	for kind, target := range targets(t) {
		s := newSource(t)
		for range 3 {
			s.grow(t, 6)
			s.create(t, target)
		}
		s.grow(t, 3)
		pruned := 0
		beside := &Target{objects: &interrupted{objects: target.objects, left: 1 << 30, before: func() {
			pruned++
			if _, err := target.Prune(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}}, log: slogDiscard()}
		info := s.create(t, beside)
		if pruned < 4 {
			t.Errorf("%s: pruned %d times", kind, pruned)
		}
		if found := verify(t, target); found != nil {
			t.Errorf("%s: %v", kind, found)
		}
		if diff := cmp.Diff(expect(s.lsn), restored(t, target, info.Number)); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

// Of two backups into one target at a time one is committed, whichever operation of the other it falls before; the other says so.
func TestTwoBackupsAtOnce(t *testing.T) {
	for kind, target := range targets(t) {
		s := newSource(t)
		s.grow(t, 4)
		s.create(t, target)
		conflicts := 0
		for at := 1; ; at++ {
			s.grow(t, 1)
			ops := 0
			dir, remove, err := s.store.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			beside := &Target{objects: &interrupted{objects: target.objects, left: 1 << 30, before: func() {
				if ops++; ops != at {
					return
				}
				other := newSource(t)
				other.grow(t, 2)
				other.create(t, target)
				if _, err := target.Prune(t.Context(), 1); err != nil {
					t.Error(err)
				}
			}}, log: slogDiscard()}
			info, err := beside.Create(t.Context(), Source{FS: s.fs, Dir: dir})
			if err := remove(); err != nil {
				t.Fatal(err)
			}
			switch {
			case errors.Is(err, ErrConflict):
				conflicts++
			case errors.Is(err, ErrNoBackup): // the newest was replaced and pruned between its listing and its reading
			case err != nil:
				t.Fatalf("%s, operation %d: %v", kind, at, err)
			default:
				if diff := cmp.Diff(expect(s.lsn), restored(t, target, info.Number)); diff != "" {
					t.Errorf("%s, operation %d: %s", kind, at, diff)
				}
			}
			if found := verify(t, target); found != nil {
				t.Errorf("%s, operation %d: %v", kind, at, found)
			}
			if ops < at {
				break
			}
		}
		if conflicts < 2 {
			t.Errorf("%s: %d conflicts", kind, conflicts)
		}
	}
}

// One byte of any object of a target is flipped, or the object is cut short or gone. Verify and Restore name it; and the next backup does
// not rely on what it can see is missing.
func TestDamageIsNamed(t *testing.T) {
	mem := vfs.NewMem()
	target := &Target{objects: &directory{fs: mem, root: "b"}, log: slogDiscard()}
	s := newSource(t)
	s.grow(t, 6)
	s.create(t, target)
	rng := rand.New(rand.NewPCG(9, 9))
	flips := 20
	if os.Getenv("SEGUE_LONG") != "" {
		flips = 2000
	}
	named := 0
	for _, o := range objectNames(t, target) {
		path := "b/" + o
		data := []byte(tree(t, mem, path[:strings.LastIndex(path, "/")])[path[strings.LastIndex(path, "/")+1:]])
		put := func(b []byte) {
			t.Helper()
			f, err := mem.Create(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(slices.Clone(b)); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		check := func(how string) {
			t.Helper()
			found := verify(t, target)
			if len(found) != 1 || found[0].Object != o || found[0].File == "" && strings.HasPrefix(o, filesDir) {
				t.Errorf("%s with %s: verify says %v", o, how, found)
			}
			var d *DamageError
			fsys := vfs.NewMem()
			if _, err := target.Restore(t.Context(), 0, fsys, "new"); !errors.As(err, &d) || d.Object != o {
				t.Errorf("%s with %s: restore says %v", o, how, err)
			}
			if _, err := storage.Open("new", storage.Options{FS: fsys, ReadOnly: true}); err == nil {
				t.Errorf("%s with %s: what was restored opens", o, how)
			}
			named++
		}
		for range flips {
			if len(data) == 0 {
				break
			}
			at, bit := rng.IntN(len(data)), byte(1)<<rng.IntN(8)
			damaged := slices.Clone(data)
			damaged[at] ^= bit
			put(damaged)
			check(fmt.Sprintf("bit %#x at %d flipped", bit, at))
		}
		put(append(slices.Clone(data), 'x'))
		check("a byte more")
		if len(data) > 0 {
			put(data[:len(data)-1])
			check("a byte less")
		}
		if strings.HasPrefix(o, filesDir) {
			if err := mem.Remove(path); err != nil {
				t.Fatal(err)
			}
			check("nothing left of it")
		}
		put(data)
	}
	if found := verify(t, target); found != nil || named < 50 {
		t.Errorf("%d faults named; with all mended: %v", named, found)
	}
	// What is missing is sent again; a damaged newest manifest costs a full backup and no more.
	m, err := target.manifest(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	gone := m.Files[0]
	if err := target.remove(t.Context(), gone.object()); err != nil {
		t.Fatal(err)
	}
	if s.create(t, target); verify(t, target, 2) != nil {
		t.Error("backup 2 relies on a missing object")
	}
	if err := target.create(t.Context(), manifestObject(2), false, writer([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	if info := s.create(t, target); info.SentBytes != info.SizeBytes || verify(t, target, 3) != nil {
		t.Errorf("after a damaged manifest: %+v", info)
	}
	if _, err := target.Prune(t.Context(), 2); err == nil {
		t.Error("pruned beside a manifest that cannot be read")
	}
	if _, err := target.Prune(t.Context(), 0); err == nil {
		t.Error("pruned all")
	}
	entries, err := target.List(t.Context())
	if err != nil || len(entries) != 3 || entries[1].Err == nil || entries[2].Err != nil {
		t.Errorf("list: %v, %v", entries, err)
	}
}

// A damaged store is not backed up as if it were whole.
func TestDamagedStoreIsNotBackedUp(t *testing.T) {
	s := newSource(t)
	s.grow(t, 10)
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	files := tree(t, s.fs, storeDir)
	refused := 0
	for name, data := range files {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		damaged := []byte(data)
		damaged[len(data)/2] ^= 1
		f, err := s.fs.Create(storeDir+"/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(damaged); err != nil {
			t.Fatal(err)
		}
		f.Close()
		target := targets(t)["directory"]
		var c *storage.CorruptionError
		if _, err := target.Create(t.Context(), Source{FS: s.fs, Dir: storeDir}); !errors.As(err, &c) || !strings.HasSuffix(c.File, name) {
			t.Errorf("%s damaged: %v", name, err)
		}
		if ns := numbersOf(t, target); ns != nil {
			t.Errorf("%s damaged: %v", name, ns)
		}
		refused++
		break
	}
	if refused == 0 {
		t.Error("the store has no table")
	}
	if _, err := targets(t)["bucket"].Create(t.Context(), Source{FS: s.fs, Dir: "nothing"}); !errors.Is(err, storage.ErrNoStore) && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a directory that is not there: %v", err)
	}
}
