package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Key order is the order of kind, collection, release and then of id, LSN or generation as numbers; and a
// section whose name starts with another one's does not come between the other's slabs.
func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		coll := rapid.SliceOfN(rapid.Uint32(), 2, 2).Draw(t, "collections")
		rel := rapid.SliceOfN(rapid.Uint32(), 2, 2).Draw(t, "releases")
		num := rapid.SliceOfN(rapid.Uint64(), 2, 2).Draw(t, "numbers")
		id := rapid.SliceOfN(rapid.StringN(1, 8, 20), 2, 2).Draw(t, "ids")
		sign := func(less, more bool) int {
			switch {
			case less:
				return -1
			case more:
				return 1
			}
			return 0
		}
		prefix := sign(coll[0] < coll[1], coll[0] > coll[1])
		if prefix == 0 {
			prefix = sign(rel[0] < rel[1], rel[0] > rel[1])
		}
		then := func(next int) int {
			if prefix != 0 {
				return prefix
			}
			return next
		}
		number := sign(num[0] < num[1], num[0] > num[1])
		for name, c := range map[string]struct{ got, want int }{
			"log":     {bytes.Compare(logKey(coll[0], rel[0], num[0]), logKey(coll[1], rel[1], num[1])), then(number)},
			"header":  {bytes.Compare(snapshotKey(coll[0], rel[0], 'h', num[0]), snapshotKey(coll[1], rel[1], 'h', num[1])), then(number)},
			"pending": {bytes.Compare(pendingKey(coll[0], rel[0], num[0]), pendingKey(coll[1], rel[1], num[1])), then(number)},
			"reject":  {bytes.Compare(rejectKey(coll[0], rel[0], num[0]), rejectKey(coll[1], rel[1], num[1])), then(number)},
			"item": {bytes.Compare(rowKey('i', coll[0], rel[0], id[0]), rowKey('i', coll[1], rel[1], id[1])),
				then(sign(id[0] < id[1], id[0] > id[1]))},
		} {
			if c.got != c.want {
				t.Fatalf("%s keys compare as %d, want %d", name, c.got, c.want)
			}
		}
		a, b := slabKey(coll[0], rel[0], num[0], id[0], 0), slabKey(coll[0], rel[0], num[0], id[0], 0xffffffff)
		other := slabKey(coll[0], rel[0], num[0], id[1], uint32(num[1]))
		if id[0] != id[1] && bytes.Compare(a, other) < 0 && bytes.Compare(other, b) < 0 {
			t.Fatalf("section %q lies between the slabs of %q", id[1], id[0])
		}
	})
}

// A span holds exactly the keys with its prefix.
func TestKeySpan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0xfe, 0xff}), 1, 5)
		prefix, key := draw.Draw(t, "prefix"), draw.Draw(t, "key")
		start, end := keySpan(slices.Clone(prefix))
		inside := bytes.Compare(key, start) >= 0 && (end == nil || bytes.Compare(key, end) < 0)
		if inside != bytes.HasPrefix(key, prefix) {
			t.Fatalf("span of %x is [%x, %x), key %x", prefix, start, end, key)
		}
	})
}

// A row copied under another key, of another collection, release or id, is corrupt there.
func TestRowsBelongToTheirKey(t *testing.T) {
	key := rowKey(kindItem, 1, 2, "id")
	r := item("id", 3)
	value := make([]byte, itemValueLen(&r))
	encodeItem(key, value, &r)
	if _, err := decodeItem(key, value); err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]byte{rowKey(kindItem, 1, 2, "ie"), rowKey(kindItem, 1, 3, "id"), rowKey(kindItem, 2, 2, "id"), rowKey(kindProfile, 1, 2, "id")} {
		if _, err := decodeItem(other, value); !IsCorruption(err) {
			t.Errorf("under %s: %v", formatKeyForPeople(other), err)
		}
	}
}

// Every byte of every kind of row is covered: any change is noticed, and so is any cut.
func TestEveryByteOfARowCounts(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	runWorkload(t, s, workload(24))
	rows := 0
	err := s.scan([]byte{0}, []byte{0xff}, func(key, value []byte) (bool, error) {
		k, _ := parseKey(key)
		if k.kind == kindSnapshot && k.sub == snapshotSlab {
			key = key[:len(key)-2] // the slab's
		}
		check := func(v []byte, what string) {
			if sum := envelopeLen <= len(v) && envelopeSum(key, v) == envelopeSum(key, value) && bytes.Equal(v[:4], value[:4]); sum {
				t.Errorf("%s: %s is not noticed", formatKeyForPeople(key), what)
			}
		}
		for i := range value {
			v := bytes.Clone(value)
			v[i] ^= 0x20
			check(v, fmt.Sprint("a flip at ", i))
			check(value[:i], fmt.Sprint("a cut at ", i))
		}
		rows++
		return true, nil
	})
	if err != nil || rows < 20 {
		t.Fatal(rows, err)
	}
}

// A scan yields the rows before a damaged one, then the damage, then nothing; the rows around it can be read.
func TestScanStopsAtDamage(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b", "c", "d")
	if err := s.edit(rowKey(kindItem, 1, 0, "c"), func(v []byte) []byte { v[30] ^= 1; return v }); err != nil {
		t.Fatal(err)
	}
	var ids []string
	var failed error
	for r, err := range c.Items("", 0) {
		if failed != nil {
			t.Fatal("the scan went on")
		}
		if failed = err; err == nil {
			ids = append(ids, r.ID)
		}
	}
	var ce *CorruptionError
	if !errors.As(failed, &ce) || ce.Key != `i/1/0/"c"` || !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("%q, then %v", ids, failed)
	}
	if _, err := c.Item("c"); !errors.As(err, &ce) || ce.Key != `i/1/0/"c"` {
		t.Error(err)
	}
	if r, err := c.Item("d"); err != nil || r.LSN != 4 {
		t.Error(r, err)
	}
	next, err := c.LastLSN()
	if err != nil {
		t.Fatal(err)
	}
	putItems(t, c, next+1, "c") // a write heals it
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, allItems(t, c)); diff != "" {
		t.Error(diff)
	}
}

// A lost log record is named, wherever the walk starts.
func TestLogGapIsNamed(t *testing.T) {
	for _, lost := range []uint64{1, 3, 5} {
		fsys := vfs.NewMem()
		s := mustOpen(t, fsys, Options{})
		putItems(t, s.Collection(1, 0), 1, "a", "b", "c", "d", "e", "f")
		if err := s.db.Delete(logKey(1, 0, lost), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		s = mustOpen(t, fsys, Options{})
		for from := uint64(1); from <= 6; from++ {
			var ce *CorruptionError
			seen := from
			err := s.Collection(1, 0).Log(from, func(r LogRecord) error {
				if r.LSN != seen {
					t.Errorf("from %d: LSN %d where %d is next", from, r.LSN, seen)
				}
				seen++
				return nil
			})
			if from > lost {
				if err != nil || seen != 7 {
					t.Errorf("lost %d, from %d: stopped at %d, %v", lost, from, seen, err)
				}
			} else if !errors.As(err, &ce) || ce.Key != fmt.Sprintf("l/1/0/%d", lost) || seen != lost {
				t.Errorf("lost %d, from %d: stopped at %d, %v", lost, from, seen, err)
			}
		}
	}
}

// The walk ends with the callback's error.
func TestLogStopsWithTheCallback(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b", "c")
	stop := errors.New("stop")
	n := 0
	if err := c.Log(0, func(LogRecord) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Error(n, err)
	}
	n = 0
	if err := c.Log(3, func(LogRecord) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("in the last record: %d, %v", n, err)
	}
}

// A snapshot that is dropped under a reader is not found; that is not damage.
func TestDropUnderAReader(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	if err := writeSnapshot(c, 1, 1, 100); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenSnapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DropSnapshot(1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadSlab("vectors", 0, nil); !errors.Is(err, ErrNotFound) || IsCorruption(err) {
		t.Error(err)
	}
}

// A buffer that is large enough is reused, whatever was in it, and results do not share memory with the store.
func TestReadSlabReusesTheBuffer(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	const size = fragmentBytes + 77
	if err := writeSnapshot(c, 1, 1, size); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenSnapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	buf := bytes.Repeat([]byte("x"), size)
	for _, section := range []string{"vectors", "links0", "vectors"} {
		got, err := r.ReadSlab(section, 1, buf)
		if err != nil || !bytes.Equal(got, slabBytes(1, section, 1, size)) {
			t.Fatalf("%s: %v", section, err)
		}
		if &got[0] != &buf[0] {
			t.Errorf("%s: the buffer was not used", section)
		}
		clear(got)
		again, err := r.ReadSlab(section, 1, nil)
		if err != nil || !bytes.Equal(again, slabBytes(1, section, 1, size)) {
			t.Fatalf("%s: the result shared memory: %v", section, err)
		}
	}
}

// The gate lets who is inside come in again, turns others away once it is closed, and opens its drain when the
// last one has left.
func TestGate(t *testing.T) {
	g := newGate()
	for range 2 {
		if !g.enter() {
			t.Fatal("closed from the start")
		}
	}
	if !g.close() || g.close() {
		t.Fatal("close says who closed it")
	}
	if g.enter() {
		t.Fatal("entered after close")
	}
	g.leave()
	select {
	case <-g.drained:
		t.Fatal("drained with one inside")
	default:
	}
	g.leave()
	<-g.drained

	empty := newGate()
	empty.close()
	<-empty.drained

	busy := newGate()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for busy.enter() {
				busy.leave()
			}
		})
	}
	busy.close()
	<-busy.drained
	wg.Wait()
}

// Errors say where and what, and match their classes.
func TestErrorsSpeak(t *testing.T) {
	inner := errors.New("inner")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&CorruptionError{File: "a/b.sst", Reason: "damaged block", Err: inner}, "storage: corruption in file a/b.sst: damaged block: inner"},
		{&CorruptionError{Key: "i/1/0/\"x\"", Reason: "checksum mismatch"}, "storage: corruption at i/1/0/\"x\": checksum mismatch"},
		{&CorruptionError{Key: "k", Section: "links0", Slab: 3, Err: inner}, "storage: corruption at k (section links0, slab 3): inner"},
		{&FormatError{What: "store", Where: "dir", Found: 3, Newest: 1}, "storage: store at dir: unsupported format version 3, this program reads up to 1"},
		{&FormatError{What: "slab", Where: "k", Reason: "unknown codec or flags", Err: inner}, "storage: slab at k: unsupported format: unknown codec or flags: inner"},
		{&LockedError{Dir: "d", Err: inner}, "storage: d is in use by another process: inner"},
		{&LowSpaceError{Dir: "d", AvailBytes: 3, NeedBytes: 2, LowWaterBytes: 5}, "storage: d has 3 bytes free; a write of 2 bytes must leave 5 free"},
		{&LSNError{Collection: 1, Release: 2, Want: 3, Got: 4}, "storage: collection 1 release 2: LSN 4 offered where 3 is next"},
		{&LogTrimmedError{Collection: 1, Release: 2, From: 3, First: 4}, "storage: collection 1 release 2: log starts at LSN 4, 3 was asked"},
		{&ValueError{Field: "id", Rule: "must be at least 1"}, "storage: id: must be at least 1"},
		{&FatalError{Err: inner}, "storage: fatal: inner"},
	} {
		if tc.err.Error() != tc.want {
			t.Errorf("%q, want %q", tc.err, tc.want)
		}
	}
	wrapped := fmt.Errorf("outer: %w", &CorruptionError{Err: inner})
	if !IsCorruption(wrapped) || !errors.Is(wrapped, inner) || IsCorruption(inner) || IsCorruption(nil) {
		t.Error("classes")
	}
	if !errors.Is(&LockedError{}, ErrLocked) || !errors.Is(&FormatError{}, ErrFormat) || !IsCorruption(fmt.Errorf("x: %w", pebble.ErrCorruption)) {
		t.Error("classes")
	}
	for k, want := range map[LogKind]string{LogPutItem: "put item", LogDeleteItem: "delete item", LogPutProfile: "put profile", LogDeleteProfile: "delete profile", 9: "unknown"} {
		if k.String() != want {
			t.Error(k)
		}
	}
	for s, want := range map[Severity]string{Note: "note", Warning: "warning", Fault: "fault", 9: "unknown"} {
		if s.String() != want {
			t.Error(s)
		}
	}
}
