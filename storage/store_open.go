package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleFormat is pinned by name: Pebble's default is its oldest format, whose write-ahead log cannot tell a
// flipped bit from a torn tail. To raise it is to change what older programs can open: see
// docs/formats/store.md.
const pebbleFormat = pebble.FormatValueSeparation

// ingestDir is the directory, inside the store's, where snapshot files are written before Pebble takes them
// over. Whatever is there at Open is garbage.
const ingestDir = "ingest"

// Open opens the store in dir, creating it unless o.ReadOnly. It holds the directory's LOCK until Close.
// Errors: *LockedError, *FormatError, *CorruptionError, *IncompleteRestoreError, ErrNoStore, or the file system's.
func Open(dir string, o Options) (*Store, error) {
	o = o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Store{
		dir:    dir,
		opts:   o,
		fs:     o.FS,
		log:    o.Logger,
		gate:   newGate(),
		fatal:  newFatality(o),
		states: make(map[releaseID]*logState),
	}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	s.sealer = newSealer(s.fs, dir, s.log, s.sealTail)
	s.pebbleFS = &pebbleFS{FS: s.fs, dir: s.fs.PathJoin(dir), sealer: s.sealer, fatal: s.fatal}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() (err error) {
	if s.opts.ReadOnly {
		if _, err := s.fs.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
			return ErrNoStore
		}
	} else if err := makeDir(s.fs, s.dir); err != nil {
		return err
	}
	s.lock, err = pebble.LockDirectory(s.dir, s.fs)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return &LockedError{Dir: s.dir, Err: err}
	}
	defer func() {
		if err == nil {
			return
		}
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		if s.slabs != nil {
			s.slabs.Close()
		}
		err = errors.Join(err, s.lock.Close())
	}()
	if err := checkRestored(s.fs, s.dir); err != nil {
		return err
	}
	desc, err := pebble.Peek(s.dir, s.fs)
	if err != nil {
		return &FormatError{What: "store", Where: s.dir, Err: err}
	}
	seal, sealed, err := checkSeal(s.fs, s.dir, desc)
	if err != nil {
		return err
	}
	if !desc.Exists {
		if err := checkNoTables(s.fs, s.dir); err != nil {
			return err
		}
		if s.opts.ReadOnly {
			return ErrNoStore
		}
	}
	if !seal.clean {
		if err := checkLogTail(s.fs, s.dir); err != nil {
			return err
		}
	}
	if seal.clean && !s.opts.ReadOnly {
		// From here on the write-ahead logs change.
		seal.clean, seal.wals = false, nil
		if err := writeSeal(s.fs, s.dir, seal); err != nil {
			return err
		}
	}
	if !sealed && desc.Exists {
		s.log.Warn("storage: no intact " + sealName + ", damage to the MANIFEST cannot be told from a torn write")
	}
	if err := s.openPebble(desc.Exists); err != nil {
		return err
	}
	if s.slabs, err = newSlabDecoder(); err != nil {
		return err
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	if s.opts.ReadOnly {
		return nil
	}
	if err := s.sweep(); err != nil {
		return err
	}
	s.sealer.start()
	s.pebbleFS.running.Store(true)
	return nil
}

// checkNoTables returns a *CorruptionError if a directory without a MANIFEST marker has tables: Pebble would begin a store there, and
// delete them as nobody's. A store has tables only once its marker is durable, so it was lost, with the seal that tells.
func checkNoTables(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			return &CorruptionError{File: dir, Reason: "the MANIFEST marker is missing, but the store has a table, " + name}
		}
	}
	return nil
}

// openPebble opens the engine. Whatever it says of a store that exists, short of an error of the operating
// system, is that it cannot make sense of the files.
func (s *Store) openPebble(exists bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &CorruptionError{File: s.dir, Reason: fmt.Sprintf("the storage engine cannot read its files: %v", r)}
		}
	}()
	po := s.pebbleOptions()
	if s.opts.FS == nil {
		po.WithFSDefaults()
	}
	s.db, err = pebble.Open(s.dir, po)
	if err == nil {
		return nil
	}
	err = s.wrap(err)
	var c *CorruptionError
	var errno syscall.Errno
	if !exists || errors.As(err, &c) || errors.As(err, &errno) && errno != syscall.ENOENT {
		return err
	}
	return &CorruptionError{File: s.dir, Reason: "the storage engine cannot read its files", Err: err}
}

func (s *Store) pebbleOptions() *pebble.Options {
	po := &pebble.Options{
		FS:                          s.pebbleFS,
		Lock:                        s.lock,
		ReadOnly:                    s.opts.ReadOnly,
		FormatMajorVersion:          pebbleFormat,
		Logger:                      pebbleLogger{log: s.log, fatal: s.fatal},
		EventListener:               s.eventListener(),
		CacheSize:                   s.opts.CacheBytes,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		// Bursts of bulk loads pile up in level 0 for a while; stalling them at Pebble's default of 12
		// helps nobody here, since reads come from memory.
		L0CompactionThreshold:  2,
		L0StopWritesThreshold:  1000,
		LBaseMaxBytes:          64 << 20,
		MaxOpenFiles:           1000,
		BytesPerSync:           512 << 10,
		TargetByteDeletionRate: 128 << 20,
		// Pebble's default of 16 GiB makes small volumes delete files unpaced all the time.
		FreeSpaceThresholdBytes: 2 << 30,
		CompactionConcurrencyRange: func() (lower, upper int) {
			return 1, max(1, runtime.GOMAXPROCS(0)/4)
		},
	}
	// An excise or an ingest that meets rows in a memtable waits for their flush and reports its own error.
	// Queued behind the memtable instead, as is Pebble's default, it becomes part of a flush, and a damaged table
	// under it makes that flush, and with it Open, repeat for ever.
	po.Experimental.DisableIngestAsFlushable = func() bool { return true }
	po.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	po.Levels[0].BlockSize = 32 << 10
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return po
}

// eventListener replaces Pebble's defaults, which end the process when a read meets a damaged block.
func (s *Store) eventListener() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.count.corruptions.Add(1)
			s.log.Error("storage: damaged file", "path", info.Path, "err", info.Details)
		},
		BackgroundError: func(err error) {
			s.count.backgroundErrors.Add(1)
			s.log.Error("storage: background work failed", "err", err)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			s.count.slowDisk.Add(1)
			s.log.Warn("storage: slow disk", "info", info.String())
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			s.count.writeStalls.Add(1)
			s.log.Warn("storage: writes stall", "reason", info.Reason)
		},
		WriteStallEnd: func() { s.log.Info("storage: writes go on") },
		LowDiskSpace: func(info pebble.LowDiskSpaceInfo) {
			s.log.Warn("storage: low disk space", "avail", info.AvailBytes, "total", info.TotalBytes)
		},
	}
}

// checkFormat reads m/format, or writes it into a store that has no row at all: one that is new, or whose
// creation was cut short.
func (s *Store) checkFormat() error {
	key := []byte(formatKey)
	value, done, err := s.get(key)
	if errors.Is(err, ErrNotFound) {
		return s.createFormat(key)
	}
	if err != nil {
		return err
	}
	defer done()
	version, oldestReader, err := decodeFormatRow(value)
	if err != nil {
		return err
	}
	if oldestReader > FormatVersion {
		return &FormatError{What: "store", Where: s.dir, Found: version, Newest: FormatVersion,
			Reason: fmt.Sprintf("the oldest program that may open it is of format %d", oldestReader)}
	}
	if version < FormatVersion && !s.opts.ReadOnly {
		return s.upgradeFormat(key, version)
	}
	return nil
}

// upgradeFormat marks an older store as one of this format before anything of this format can be written to it.
// Its rows stay as they are: every kind of row has its own version.
func (s *Store) upgradeFormat(key []byte, from uint32) error {
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(key, encodeFormatRow(FormatVersion, OldestReader), nil); err != nil {
		return err
	}
	s.log.Info("storage: upgrading the store", "from", from, "to", FormatVersion)
	return s.apply(b)
}

func (s *Store) createFormat(key []byte) error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return s.wrap(err)
	}
	found := it.First()
	var first []byte
	if found {
		first = append(first, it.Key()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return s.wrap(err)
	}
	if found {
		return &CorruptionError{Key: formatKey, Reason: "missing, but there are other rows, the first at " + formatKeyForPeople(first)}
	}
	if s.opts.ReadOnly {
		return ErrNoStore
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Set(key, encodeFormatRow(FormatVersion, OldestReader), nil); err != nil {
		return err
	}
	if err := s.apply(b); err != nil {
		return err
	}
	// Pebble made the first write-ahead log before it raised the format, so that log has no sync offsets to
	// find damage by (see checkLogTail). A flush starts the next one.
	return s.wrap(s.db.Flush())
}

// sweep removes what an interrupted process left behind.
func (s *Store) sweep() error {
	for _, name := range []string{ingestDir, checkpointDir} {
		if err := s.fs.RemoveAll(s.fs.PathJoin(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.sweepPending()
}

// makeDir creates dir and its missing parents and makes them durable: every directory that got a new entry is
// synced, lowest first, so that a power loss cannot take away a store that acknowledged writes.
func makeDir(fsys vfs.FS, dir string) error {
	_, err := fsys.Stat(dir)
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := fsys.PathDir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if parent == dir {
		return nil
	}
	return syncDir(fsys, parent)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
