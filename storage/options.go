package storage

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults of Options.
const (
	DefaultCacheBytes    = 64 << 20
	DefaultMemTableBytes = 32 << 20
	// The default low-water mark is a twentieth of the volume, at least four memtables and at most this.
	maxDefaultLowWaterBytes = 2 << 30
)

// Options configure Open and Check. The zero value is usable.
type Options struct {
	// FS is the file system all files go through. Default: vfs.Default with a check for slow disks.
	FS vfs.FS
	// Logger receives Pebble's and our own messages. Default: none are written.
	Logger *slog.Logger
	// ReadOnly opens without changing a file other than LOCK; the store must exist.
	ReadOnly bool
	// OnFatal is called once, with a *FatalError, when the disk failed a write in a way that must not be
	// retried. It should end the process. Should it return, the goroutine that met the fault stops for
	// good, calls that wait for it never return, later calls return the FatalError, and nothing more is
	// acknowledged. Default: log and os.Exit(ExitFatal).
	OnFatal func(error)
	// CacheBytes is the size of Pebble's block cache. Small, because the graph, not the store, answers
	// queries. Default DefaultCacheBytes.
	CacheBytes int64
	// MemTableBytes is the size of one memtable, of which up to four exist. Default DefaultMemTableBytes.
	MemTableBytes int64
	// LowWaterBytes is how much of the volume must stay free after a write; a write that would leave less is
	// refused with a *LowSpaceError, since Pebble cannot survive a full disk under its write-ahead log. It must
	// leave room for four memtables and a compaction. Default: a twentieth of the volume, at least
	// 4*MemTableBytes and at most 2 GiB. Negative: never refuse.
	LowWaterBytes int64
}

// ExitFatal is the exit code of the default OnFatal (EX_SOFTWARE of sysexits.h).
const ExitFatal = 70

// EnsureDefaults returns o with every unset field set. FS stays nil, which means the default.
func (o Options) EnsureDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = DefaultMemTableBytes
	}
	return o
}

// Validate reports every field that is out of range.
func (o Options) Validate() error {
	var errs []error
	check := func(name string, v, low, high int64) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("storage: option %s is %d, must be %d..%d", name, v, low, high))
		}
	}
	check("CacheBytes", o.CacheBytes, 1<<20, 1<<40)
	check("MemTableBytes", o.MemTableBytes, 64<<10, 1<<30)
	return errors.Join(errs...)
}
