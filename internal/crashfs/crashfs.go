package crashfs

import (
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a vfs.MemFS that may be cloned while others use it. Link, ReuseForWrite and Lock of vfs.MemFS lock one mutex for reading twice;
// a CrashClone that comes between waits to write, and then both wait for ever. So these run one at a time.
type FS struct {
	*vfs.MemFS
	mu sync.Mutex
}

// New returns an empty file system.
func New() *FS { return &FS{MemFS: vfs.NewCrashableMem()} }

// CrashClone returns what a power loss would leave now: what was synced, and of the rest what cfg says. Safe for concurrent use,
// but for cfg.RNG.
func (f *FS) CrashClone(cfg vfs.CrashCloneCfg) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &FS{MemFS: f.MemFS.CrashClone(cfg)}
}

// Link implements vfs.FS.
func (f *FS) Link(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemFS.Link(from, to)
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemFS.ReuseForWrite(from, to, c)
}

// Lock implements vfs.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemFS.Lock(name)
}
