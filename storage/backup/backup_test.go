package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"github.com/segue-ann/segue/internal/crashfs"
	"github.com/segue-ann/segue/storage"
)

const (
	storeDir = "store"
	idCount  = 100
)

// source is a store with writes that can be predicted: LSN x of release 0 puts item x mod idCount, or deletes it if x is a multiple
// of 7.
type source struct {
	fs    *crashfs.FS
	store *storage.Store
	lsn   uint64
}

func newSource(t testing.TB) *source {
	t.Helper()
	s := &source{fs: crashfs.New()}
	s.open(t)
	if err := s.store.PutCollection(storage.CollectionRow{ID: 1, Name: "tracks"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *source) open(t testing.TB) {
	t.Helper()
	var err error
	if s.store, err = storage.Open(storeDir, storage.Options{FS: s.fs, MemTableBytes: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.store.Close(); err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Error(err)
		}
	})
}

func itemAt(lsn uint64) storage.ItemRow {
	rng := rand.New(rand.NewPCG(lsn, 0))
	var vector []byte
	for len(vector) < 400 {
		vector = binary.LittleEndian.AppendUint64(vector, rng.Uint64())
	}
	return storage.ItemRow{ID: fmt.Sprintf("t%03d", lsn%idCount), LSN: lsn, DType: 1, Dim: 100, Vector: vector}
}

// write commits n mutations in one batch.
func (s *source) write(n int) error {
	b := s.store.Collection(1, 0).NewBatch()
	defer b.Close()
	for lsn := s.lsn + 1; lsn <= s.lsn+uint64(n); lsn++ {
		it := itemAt(lsn)
		var err error
		if lsn%7 == 0 {
			err = b.DeleteItem(it.ID, lsn)
		} else {
			err = b.PutItem(it)
		}
		if err != nil {
			return err
		}
	}
	if err := b.Commit(); err != nil {
		return err
	}
	s.lsn += uint64(n)
	return nil
}

// grow writes batches until there are tables: what a memtable does not hold.
func (s *source) grow(t testing.TB, n int) {
	t.Helper()
	for range n {
		if err := s.write(50); err != nil {
			t.Fatal(err)
		}
	}
}

// expect renders the items as of an LSN.
func expect(lsn uint64) string {
	var lines []string
	for x := lsn; x > 0 && x+idCount > lsn; x-- { // the last that was done to each id
		if x%7 != 0 {
			lines = append(lines, itemText(itemAt(x)))
		}
	}
	slices.Sort(lines)
	return strings.Join(append(lines, fmt.Sprint("log ends at ", lsn)), "\n")
}

func itemText(r storage.ItemRow) string {
	return fmt.Sprintf("%s %d %08x", r.ID, r.LSN, crc32.ChecksumIEEE(r.Vector))
}

// contents renders what a store holds, in the form of expect.
func contents(fsys vfs.FS, dir string) (text string, err error) {
	s, err := storage.Open(dir, storage.Options{FS: fsys, ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var lines []string
	c := s.Collection(1, 0)
	for r, err := range c.Items("", 0) {
		if err != nil {
			return "", err
		}
		lines = append(lines, itemText(r))
	}
	last, err := c.LastLSN()
	return strings.Join(append(lines, fmt.Sprint("log ends at ", last)), "\n"), err
}

// create backs up the running store.
func (s *source) create(t testing.TB, target *Target) Info {
	t.Helper()
	info, err := s.tryCreate(t, target)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func (s *source) tryCreate(t testing.TB, target *Target) (Info, error) {
	t.Helper()
	dir, remove, err := s.store.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	info, err := target.Create(t.Context(), Source{FS: s.fs, Dir: dir})
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	return info, err
}

// targets are empty ones of every kind.
func targets(t testing.TB) map[string]*Target {
	t.Helper()
	log := slogDiscard()
	b := &bucket{memblob.OpenBucket(nil)}
	t.Cleanup(func() { b.Close() })
	return map[string]*Target{
		"directory": {objects: &directory{fs: vfs.NewMem(), root: "backups/of/store"}, log: log},
		"bucket":    {objects: b, log: log},
	}
}

func verify(t testing.TB, target *Target, numbers ...uint64) []*DamageError {
	t.Helper()
	var found []*DamageError
	if err := target.Verify(t.Context(), numbers, func(d *DamageError) { found = append(found, d) }); err != nil {
		t.Fatal(err)
	}
	return found
}

// restored is what a restore of a backup into a new directory holds.
func restored(t testing.TB, target *Target, number uint64) string {
	t.Helper()
	fsys := vfs.NewMem()
	if _, err := target.Restore(t.Context(), number, fsys, "new"); err != nil {
		t.Fatal(err)
	}
	text, err := contents(fsys, "new")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func numbersOf(t testing.TB, target *Target) []uint64 {
	t.Helper()
	entries, err := target.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ns []uint64
	for _, e := range entries {
		if e.Err != nil {
			t.Fatal(e.Err)
		}
		ns = append(ns, e.Number)
	}
	return ns
}

func objectNames(t testing.TB, target *Target) []string {
	t.Helper()
	all, err := target.list(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range all {
		names = append(names, o.name)
	}
	return names
}

// Backups of a store that changes: each restores to the state of its own moment, whatever came later and whatever was pruned; and
// a backup sends little of what the one before it has.
func TestBackupsRestoreTheirMoment(t *testing.T) {
	for kind, target := range targets(t) {
		t.Run(kind, func(t *testing.T) {
			s := newSource(t)
			rng := rand.New(rand.NewPCG(5, 5))
			var at []uint64 // LSN of backup i+1
			for range 6 {
				s.grow(t, 5+rng.IntN(10))
				info := s.create(t, target)
				at = append(at, s.lsn)
				if want := []Position{{"tracks", 0, s.lsn}}; info.Number != uint64(len(at)) || cmp.Diff(want, info.Positions) != "" || info.Files == 0 || info.CreateTime.IsZero() {
					t.Errorf("%+v, want %v", info, want)
				}
			}
			if err := s.store.Close(); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				info, err := target.Create(t.Context(), Source{FS: s.fs, Dir: storeDir})
				if err != nil {
					t.Fatal(err)
				}
				if i == 1 && info.SentBytes != 0 {
					t.Errorf("nothing was written, and %d of %d bytes were sent", info.SentBytes, info.SizeBytes)
				}
				at = append(at, s.lsn)
			}
			for n := range at {
				m, err := target.manifest(t.Context(), uint64(n+1))
				if err != nil {
					t.Fatal(err)
				}
				sent := int64(0)
				for _, f := range m.Files {
					if f.Backup == m.Number {
						sent += f.Size
					}
				}
				if sent < m.SentBytes || m.SentBytes > m.SizeBytes {
					t.Errorf("backup %d says that it sent %d bytes; its files have %d, %d of them new", n+1, m.SentBytes, m.SizeBytes, sent)
				}
			}
			for n, lsn := range at {
				if diff := cmp.Diff(expect(lsn), restored(t, target, uint64(n+1))); diff != "" {
					t.Errorf("backup %d: %s", n+1, diff)
				}
			}
			if found := verify(t, target); found != nil {
				t.Error(found)
			}
			for keep := len(at); keep > 0; keep-- {
				before := len(objectNames(t, target))
				p, err := target.Prune(t.Context(), keep)
				if err != nil {
					t.Fatal(err)
				}
				if ns := numbersOf(t, target); len(ns) != keep || ns[0] != uint64(len(at)-keep+1) || p.Objects+len(p.Backups) != before-len(objectNames(t, target)) {
					t.Errorf("keep %d: %v are left, %+v", keep, ns, p)
				}
				if found := verify(t, target); found != nil {
					t.Errorf("keep %d: %v", keep, found)
				}
			}
			if diff := cmp.Diff(expect(s.lsn), restored(t, target, 0)); diff != "" {
				t.Error(diff)
			}
			m, err := target.manifest(t.Context(), uint64(len(at)))
			if err != nil {
				t.Fatal(err)
			}
			if got := len(objectNames(t, target)); got > len(m.Files)+1 {
				t.Errorf("%d objects for one backup of %d files", got, len(m.Files))
			}
		})
	}
}

// A store that no server has open is backed up from its directory, closed in order or killed, and is not changed by it.
func TestBackupOfAClosedStore(t *testing.T) {
	for _, killed := range []bool{false, true} {
		s := &source{fs: crashfs.New()}
		s.open(t)
		if err := s.store.PutCollection(storage.CollectionRow{ID: 1, Name: "tracks"}); err != nil {
			t.Fatal(err)
		}
		s.grow(t, 10)
		fsys := s.fs
		if killed {
			fsys = s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		}
		if err := s.store.Close(); err != nil {
			t.Fatal(err)
		}
		before := tree(t, fsys, storeDir)
		target := targets(t)["directory"]
		if _, err := target.Create(t.Context(), Source{FS: fsys, Dir: storeDir}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, tree(t, fsys, storeDir)); diff != "" {
			t.Errorf("killed %t: the store was changed: %s", killed, diff)
		}
		if diff := cmp.Diff(expect(s.lsn), restored(t, target, 0)); diff != "" {
			t.Errorf("killed %t: %s", killed, diff)
		}
	}
}

// tree is the content of every file of a directory but LOCK.
func tree(t testing.TB, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, name := range names {
		f, err := fsys.Open(path.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err == nil && !info.IsDir() && name != "LOCK" {
			data, err := io.ReadAll(f)
			if err != nil {
				t.Fatal(err)
			}
			out[name] = string(data)
		}
		f.Close()
	}
	return out
}

// Writes go on while backups are made. Each backup is the store as of the LSN that it states, which is not below what was
// acknowledged when it began.
func TestBackupUnderWrites(t *testing.T) {
	s := newSource(t)
	var mu sync.Mutex
	acked := uint64(0)
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := s.write(20); err != nil {
				done <- err
				return
			}
			mu.Lock()
			acked = s.lsn
			mu.Unlock()
		}
	}()
	target := targets(t)["bucket"]
	for range 8 {
		mu.Lock()
		least := acked
		mu.Unlock()
		info := s.create(t, target)
		lsn := uint64(0)
		if len(info.Positions) > 0 {
			lsn = info.Positions[0].LSN
		}
		if lsn < least {
			t.Errorf("backup %d ends at LSN %d; %d was acknowledged before", info.Number, lsn, least)
		}
		if diff := cmp.Diff(expect(lsn), restored(t, target, info.Number)); diff != "" {
			t.Errorf("backup %d: %s", info.Number, diff)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A restore goes into a directory that is empty, into that of an interrupted one, and into no other.
func TestRestoreRefuses(t *testing.T) {
	s := newSource(t)
	target := targets(t)["directory"]
	if _, err := target.Restore(t.Context(), 0, vfs.NewMem(), "new"); !errors.Is(err, ErrNoBackup) {
		t.Errorf("from an empty target: %v", err)
	}
	if err := target.Verify(t.Context(), nil, func(*DamageError) {}); !errors.Is(err, ErrNoBackup) {
		t.Errorf("verify of an empty target: %v", err)
	}
	s.create(t, target)
	if _, err := target.Restore(t.Context(), 9, vfs.NewMem(), "new"); !errors.Is(err, ErrNoBackup) {
		t.Errorf("of a number that is not there: %v", err)
	}
	fsys := vfs.NewMem()
	write := func(name string) {
		t.Helper()
		f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if err := fsys.MkdirAll("new/lost+found", 0o755); err != nil {
		t.Fatal(err)
	}
	write("new/notes.txt")
	var full *storage.NotEmptyError
	if _, err := target.Restore(t.Context(), 0, fsys, "new"); !errors.As(err, &full) || full.Name != "notes.txt" {
		t.Errorf("into a directory with a file: %v", err)
	}
	if err := fsys.Remove("new/notes.txt"); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Restore(t.Context(), 0, fsys, "new"); err != nil {
		t.Errorf("into a new volume: %v", err)
	}
	if _, err := target.Restore(t.Context(), 0, fsys, "new"); !errors.As(err, &full) {
		t.Errorf("over a store: %v", err)
	}
	var locked *storage.LockedError
	r, err := storage.Restore(fsys, "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Restore(t.Context(), 0, fsys, "other"); !errors.As(err, &locked) {
		t.Errorf("beside another restore: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var incomplete *storage.IncompleteRestoreError
	if _, err := storage.Open("other", storage.Options{FS: fsys}); !errors.As(err, &incomplete) {
		t.Errorf("open of what is being restored: %v", err)
	}
}

func TestOpenTarget(t *testing.T) {
	for _, bad := range []string{"", "nosuch://x", "file://host/x", "file:", "file:///x?y=1", "://", "mem://%zz"} {
		var e *TargetError
		if got, err := Open(t.Context(), bad, nil); !errors.As(err, &e) && (bad != "file:" || err != nil || got == nil) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	dir := t.TempDir()
	s := newSource(t)
	s.grow(t, 3)
	for _, name := range []string{dir, "file://" + dir} {
		target, err := Open(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.create(t, target)
		if diff := cmp.Diff(expect(s.lsn), restored(t, target, 0)); diff != "" {
			t.Error(diff)
		}
	}
	target, err := Open(t.Context(), "mem://", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.create(t, target)
	if err := target.Close(); err != nil {
		t.Error(err)
	}
}

// A cancelled backup leaves no backup, and a cancelled restore no store.
func TestCancel(t *testing.T) {
	for kind, target := range targets(t) {
		s := newSource(t)
		s.grow(t, 5)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir, remove, err := s.store.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Create(ctx, Source{FS: s.fs, Dir: dir}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", kind, err)
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if ns := numbersOf(t, target); ns != nil {
			t.Errorf("%s: %v", kind, ns)
		}
		s.create(t, target)
		fsys := vfs.NewMem()
		if _, err := target.Restore(ctx, 1, fsys, "new"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := storage.Open("new", storage.Options{FS: fsys, ReadOnly: true}); err == nil {
			t.Errorf("%s: a cancelled restore opens", kind)
		}
		if _, err := fsys.Stat("new/CURRENT"); err == nil || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
