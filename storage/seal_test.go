package storage

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/segue-ann/segue/internal/crashfs"
)

// The seal claims exactly what a successful sync covered: not what was written since, and nothing after a sync
// that failed.
func TestSealClaimsOnlyWhatWasSynced(t *testing.T) {
	inj := &faulty{err: syscall.EIO, hit: func(op errorfs.Op) bool { return isSync(op.Kind) }}
	fsys := &pebbleFS{FS: errorfs.Wrap(vfs.NewMem(), inj), dir: ".", fatal: newFatality(Options{}.EnsureDefaults())}
	fsys.sealer = newSealer(fsys.FS, "", Options{}.EnsureDefaults().Logger, nil)
	f, err := fsys.Create("MANIFEST-000009", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	claimed := func(want string) {
		t.Helper()
		got := fsys.sealer.current
		if want == "" && got.name == "" {
			return
		}
		if got != (sealedFile{"MANIFEST-000009", int64(len(want)), crc32.Checksum([]byte(want), castagnoli)}) {
			t.Errorf("claims %+v, synced %q", got, want)
		}
	}
	for _, step := range []struct {
		write string
		sync  func() error
		fails bool
		want  string
	}{
		{"one ", nil, false, ""},
		{"two ", f.Sync, false, "one two "},
		{"three ", nil, false, "one two "},
		{"four ", f.SyncData, true, "one two "},
		{"", f.SyncData, false, "one two three four "},
	} {
		if _, err := f.Write([]byte(step.write)); err != nil {
			t.Fatal(err)
		}
		inj.armed.Store(step.fails)
		if step.sync != nil {
			if err := step.sync(); (err != nil) != step.fails {
				t.Fatal(err)
			}
		}
		claimed(step.want)
	}
	if _, err := f.WriteAt(nil, 0); err == nil {
		t.Error("a MANIFEST may be written out of order")
	}
}

// The seal follows the MANIFEST while the store runs, names the logs when it is closed, and stops naming them
// before they change.
func TestSealFollowsTheStore(t *testing.T) {
	mem := crashfs.New()
	read := func() sealState {
		t.Helper()
		data, err := readFile(mem, testDir+"/"+sealName, maxSealBytes)
		if err != nil {
			t.Fatal(err)
		}
		st, err := decodeSeal(data)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	s := mustOpen(t, mem, Options{})
	before := read()
	putItems(t, s.Collection(1, 0), 1, "a")
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	s.sealer.update()
	after := read()
	if before.clean || after.clean || len(after.wals) != 0 || after.manifest.size <= before.manifest.size || after.options.name == "" {
		t.Errorf("open: %+v, after a flush %+v", before, after)
	}
	mustClose(t, s)
	closed := read()
	if !closed.clean || len(closed.wals) == 0 {
		t.Errorf("closed: %+v", closed)
	}
	s = mustOpen(t, mem, Options{})
	if opened := read(); opened.clean || len(opened.wals) != 0 {
		t.Errorf("open again: %+v", opened)
	}
	mustClose(t, s)
}

// A store whose seal is gone or from an older MANIFEST opens; one whose seal is of a newer program does not.
func TestSealIsRedundant(t *testing.T) {
	im := images(t)["closed"]
	want, err := openAndRead(im.mount(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	older := encodeSeal(sealState{manifest: sealedFile{"MANIFEST-000000", 9, 9}})
	newer := bytes.Replace(older, []byte("segue seal 1"), []byte("segue seal 2"), 1)
	newer = append(newer[:bytes.LastIndex(newer, []byte("crc32c"))], fmt.Sprintf("crc32c %08x\n", crc32.Checksum(newer[:bytes.LastIndex(newer, []byte("crc32c"))], castagnoli))...)
	for name, seal := range map[string][]byte{"gone": nil, "garbage": []byte("?"), "older": older, "newer": newer} {
		got, err := openAndRead(im.mount(t, func(n string, data []byte) []byte {
			if n == sealName {
				return seal
			}
			return data
		}))
		if name == "newer" {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("newer: %v", err)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The tail of the write-ahead log is sealed soon after writes pause, without a write or a call.
func TestTailIsSealedWhenWritesPause(t *testing.T) {
	mem := vfs.NewMem()
	sealed := make(chan struct{}, 100)
	s := mustOpen(t, mem, Options{})
	inner := s.sealer.sealTail
	s.sealer.close(nil)
	s.sealer.armed.Store(false)
	s.sealer.stop, s.sealer.done = make(chan struct{}), make(chan struct{})
	s.sealer.sealTail = func() { inner(); sealed <- struct{}{} }
	go s.sealer.run()
	for lsn := uint64(1); lsn <= 3; lsn++ {
		putItems(t, s.Collection(1, 0), lsn, "a")
		<-sealed
	}
	name, number, err := newestLog(mem, testDir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := readFile(mem, testDir+"/"+name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	log[30] ^= 1
	if damaged, _, err := scanLog(bytes.NewReader(log), number); damaged < 0 || err != nil {
		t.Errorf("the first record is not protected: %d, %v", damaged, err)
	}
}

// Open and Close leave no goroutine behind, nor does an Open that fails.
func TestNoGoroutineIsLeft(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	mem := vfs.NewMem()
	s, err := Open(testDir, Options{FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testDir, Options{FS: mem}); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	if err := errors.Join(writeSnapshot(s.Collection(1, 0), 1, 0, 10), s.db.Set([]byte(formatKey), []byte("?"), pebble.Sync), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testDir, Options{FS: mem}); !IsCorruption(err) || !strings.Contains(err.Error(), formatKey) {
		t.Fatal(err)
	}
}
