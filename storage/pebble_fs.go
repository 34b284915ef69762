package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFS stands between Pebble v2.1.7 and the file system. It watches what of the MANIFEST is synced, for the
// seal, and it mends two weaknesses:
//
//   - Pebble syncs the directory once for a new MANIFEST and for the marker that names it. On a file system that
//     does not order directory entries a power loss can keep the marker alone, and the store does not open
//     any more. Here the MANIFEST's entry is durable before the marker exists.
//   - A write-ahead log that cannot be created, or whose directory entry cannot be synced, makes Pebble panic
//     in a way that ends in a crash of the runtime ("unlock of unlocked mutex"). Here such an error ends in
//     Options.OnFatal, as the other disk errors do.
//
// A checkpoint, which Pebble writes into a directory of its own, is none of this: its MANIFEST is another one, and what
// fails there fails the checkpoint.
type pebbleFS struct {
	vfs.FS
	dir    string // the store's, clean
	sealer *sealer
	fatal  *fatality
	fsync  latencies // of write-ahead logs
	// running is set when Open is done; before, errors are returned and Open fails.
	running atomic.Bool
}

// Create implements vfs.FS.
func (f *pebbleFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.PathDir(name) != f.dir {
		return f.FS.Create(name, category)
	}
	base := f.PathBase(name)
	if strings.HasPrefix(base, "marker.manifest.") {
		if err := syncDir(f.FS, f.PathDir(name)); err != nil {
			return nil, f.check(err, "sync directory", f.PathDir(name))
		}
	}
	file, err := f.FS.Create(name, category)
	switch {
	case isLog(base):
		return f.log(file, f.check(err, "create", name))
	case err == nil && strings.HasPrefix(base, "MANIFEST-"):
		return &manifestFile{File: file, sealer: f.sealer, state: sealedFile{name: base}}, nil
	}
	return file, err
}

// ReuseForWrite implements vfs.FS; Pebble recycles write-ahead logs.
func (f *pebbleFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(oldname, newname, category)
	if isLog(f.PathBase(newname)) {
		return f.log(file, f.check(err, "create", newname))
	}
	return file, err
}

// log times the syncs of a write-ahead log.
func (f *pebbleFS) log(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &logFile{File: file, took: &f.fsync}, nil
}

// OpenDir implements vfs.FS.
func (f *pebbleFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil || f.PathJoin(name) != f.dir {
		return dir, err
	}
	return &directory{File: dir, fs: f, name: name}, nil
}

// Unwrap implements vfs.FS.
func (f *pebbleFS) Unwrap() vfs.FS { return f.FS }

func isLog(base string) bool { return strings.HasSuffix(base, ".log") }

// check does not return with an error once the store runs.
func (f *pebbleFS) check(err error, what, name string) error {
	if err != nil && f.running.Load() {
		f.fatal.fail(fmt.Errorf("%s %s: %w", what, name, err))
	}
	return err
}

// directory is a directory handle whose failed syncs are fatal.
type directory struct {
	vfs.File
	fs   *pebbleFS
	name string
}

// Sync implements vfs.File.
func (d *directory) Sync() error {
	return d.fs.check(d.File.Sync(), "sync directory", d.name)
}

// manifestFile sums what is written to a MANIFEST, in order, and reports it when it is synced.
type manifestFile struct {
	vfs.File
	sealer *sealer
	// mu guards state, the written prefix, and broken, which says that a write failed: what the file holds is
	// then unknown, and nothing more is reported.
	mu     sync.Mutex
	state  sealedFile
	broken bool
}

// Write implements vfs.File.
func (f *manifestFile) Write(p []byte) (int, error) {
	// Summed first: a vfs.File may change p, and Pebble's in-memory one does under the race detector.
	f.mu.Lock()
	sum := crc32.Update(f.state.sum, castagnoli, p)
	f.mu.Unlock()
	n, err := f.File.Write(p)
	if n != len(p) {
		return n, err // Pebble gives up on the file: what is sealed stays what was synced before
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.size += int64(n)
	f.state.sum = sum
	return n, err
}

// WriteAt implements vfs.File; a MANIFEST is only appended to.
func (f *manifestFile) WriteAt([]byte, int64) (int, error) {
	return 0, errors.New("storage: MANIFEST written out of order")
}

// Sync implements vfs.File.
func (f *manifestFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *manifestFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *manifestFile) sync(sync func() error) error {
	f.mu.Lock()
	st, broken := f.state, f.broken // a write that comes during the sync may or may not be covered by it
	f.mu.Unlock()
	if err := sync(); err != nil {
		return err
	}
	if !broken {
		f.sealer.synced(st)
	}
	return nil
}
