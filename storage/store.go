package storage

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"
)

// Store is an open directory. Safe for concurrent use.
type Store struct {
	dir  string
	opts Options
	fs   vfs.FS
	log  *slog.Logger
	db   *pebble.DB
	lock *pebble.Lock
	// sealer runs unless the store is read-only.
	sealer   *sealer
	pebbleFS *pebbleFS

	// slabs decodes compressed slabs; safe for concurrent use.
	slabs *zstd.Decoder
	// writers is the set of snapshot generations being written.
	writers writers

	gate  *gate
	fatal *fatality
	count counters

	// catalogMu serialises changes of the catalog, each of which reads before it writes.
	catalogMu sync.Mutex

	// statesMu guards states, which holds the log position of every collection and release in use.
	statesMu sync.Mutex
	states   map[releaseID]*logState
}

// releaseID names one release of one collection.
type releaseID struct{ collection, release uint32 }

// counters are what Metrics reports beside Pebble's own numbers.
type counters struct {
	corruptions      atomic.Uint64
	backgroundErrors atomic.Uint64
	writeStalls      atomic.Uint64
	slowDisk         atomic.Uint64
	lowSpace         atomic.Uint64
	imports          atomic.Uint64 // files of imports, which names them
}

// enter admits a call. On nil the caller must leave.
func (s *Store) enter() error {
	if err := s.fatal.check(); err != nil {
		return err
	}
	if !s.gate.enter() {
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.gate.leave() }

// enterWrite is enter for calls that change the store.
func (s *Store) enterWrite() error {
	if s.opts.ReadOnly {
		return ErrReadOnly
	}
	return s.enter()
}

// Close waits for calls in progress, iterations included, and closes the files. After a fatal error it
// returns that error and leaves everything as it is. A second Close returns ErrClosed.
func (s *Store) Close() error {
	if !s.gate.close() {
		return ErrClosed
	}
	select {
	case <-s.gate.drained:
	case <-s.fatal.done:
	}
	// Background work can fail when no call is in progress: Pebble's locks are then held for good.
	if err := s.fatal.check(); err != nil {
		return err
	}
	if !s.opts.ReadOnly {
		s.sealer.close(s.fatal.done)
	}
	err := s.wrap(s.db.Close())
	s.slabs.Close()
	if err == nil && !s.opts.ReadOnly {
		err = sealClean(s.fs, s.dir)
	}
	return errors.Join(err, s.lock.Close())
}

// wrap classifies an error of Pebble: corruption becomes a CorruptionError that names the file where Pebble
// knows it. Errors of this package pass through.
func (s *Store) wrap(err error) error { return wrapPebble(err) }

func wrapPebble(err error) error {
	if err == nil {
		return nil
	}
	var c *CorruptionError
	if errors.As(err, &c) {
		return err
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return &CorruptionError{File: info.Path, Reason: "damaged block", Err: err}
	}
	if pebble.IsCorruptionError(err) {
		return &CorruptionError{Reason: "damaged file", Err: err}
	}
	return err
}

// checkSpace refuses a write of n bytes that would leave the volume below the low-water mark. A file system
// that cannot tell (an in-memory one) never refuses.
func (s *Store) checkSpace(n int) error {
	if s.opts.LowWaterBytes < 0 {
		return nil
	}
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil //nolint:nilerr // what cannot be told is not low
	}
	low := s.lowWater(usage)
	if usage.AvailBytes >= low && usage.AvailBytes-low >= uint64(n) {
		return nil
	}
	s.count.lowSpace.Add(1)
	return &LowSpaceError{Dir: s.dir, AvailBytes: usage.AvailBytes, NeedBytes: uint64(n), LowWaterBytes: low}
}

func (s *Store) lowWater(usage vfs.DiskUsage) uint64 {
	if s.opts.LowWaterBytes > 0 {
		return uint64(s.opts.LowWaterBytes)
	}
	return min(max(usage.TotalBytes/20, 4*uint64(s.opts.MemTableBytes)), maxDefaultLowWaterBytes)
}

// get reads one value. The bytes are valid until the closer is called.
func (s *Store) get(key []byte) (value []byte, done func(), err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, s.wrapAt(err, key)
	}
	return v, func() { closer.Close() }, nil
}

// wrapAt is wrap, with the key that was being read.
func (s *Store) wrapAt(err error, key []byte) error {
	err = s.wrap(err)
	var c *CorruptionError
	if errors.As(err, &c) && c.Key == "" {
		c.Key = formatKeyForPeople(key)
	}
	return err
}

// apply commits a batch that is not part of a log: catalog changes, snapshot headers, trims.
func (s *Store) apply(b *pebble.Batch) error {
	defer s.fatal.guard()
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		s.fatal.fail(err)
	}
	s.sealer.committed()
	return nil
}

// sealTail puts an empty record behind the last commit. Pebble writes into each record up to where the log was
// synced before it: damage below that is damage, while damage in the last record looks like a torn write that
// nobody was promised. After sealTail the last record is one that nobody misses. Costs one fsync.
func (s *Store) sealTail() {
	defer s.fatal.guard()
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.fatal.fail(err)
	}
}
