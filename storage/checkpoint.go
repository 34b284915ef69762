package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkpointDir is the directory, inside the store's, where a checkpoint stands while it is copied. Whatever is there
// at Open is garbage.
const checkpointDir = "checkpoint"

// checkpointTries is how often a checkpoint is made anew whose copy of the write-ahead log has a hole.
const checkpointTries = 5

// Checkpoint makes a directory that is a store of its own: this one as of a moment during the call, which every write
// that was acknowledged before the call is part of. Writes go on meanwhile, and the directory does not change any more:
// copy it, then call remove. There is one at a time; a second call fails with fs.ErrExist.
//
// Tables are hard links, so it costs little but the write-ahead logs, which are copied; while it stands, it keeps the
// disk space of tables that compactions have replaced. Close waits for remove. What a crash leaves is removed by Open.
func (s *Store) Checkpoint() (dir string, remove func() error, err error) {
	if err := s.enterWrite(); err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			s.leave()
		}
	}()
	if err := s.checkSpace(4 * int(s.opts.MemTableBytes)); err != nil {
		return "", nil, err
	}
	dir = s.fs.PathJoin(s.dir, checkpointDir)
	if _, err := s.fs.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return "", nil, errors.Join(err, &fs.PathError{Op: "checkpoint", Path: dir, Err: fs.ErrExist})
	}
	for try := 1; ; try++ {
		s.sealTail()
		if err := s.db.Checkpoint(dir); err != nil {
			return "", nil, fmt.Errorf("checkpoint: %w", s.wrap(err))
		}
		// The newest log is copied while it is written: a copy may have missed bytes that a record behind them promises.
		if err = checkLogTail(s.fs, dir); err == nil {
			err = sealClean(s.fs, dir)
		}
		if err == nil {
			return dir, func() error { defer s.leave(); return s.fs.RemoveAll(dir) }, nil
		}
		if err = errors.Join(err, s.fs.RemoveAll(dir)); !IsCorruption(err) || try == checkpointTries {
			return "", nil, fmt.Errorf("checkpoint: %w", err)
		}
	}
}

// Files returns the names of the files that make up the store, in ascending order: a copy of them is the store. It is for
// stores opened read-only, whose files do not change. What a crash left half-written is not among them.
func (s *Store) Files() ([]string, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, s.wrap(err)
	}
	tables := make(map[string]bool)
	for _, level := range levels {
		for _, t := range level {
			tables[t.BackingSSTNum.String()+tableSuffix] = true
		}
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		info, err := s.fs.Stat(s.fs.PathJoin(s.dir, name))
		switch {
		case err != nil:
			return nil, err
		case info.IsDir(), name == lockName, strings.HasSuffix(name, ".tmp"), strings.HasSuffix(name, tableSuffix) && !tables[name]:
			continue
		}
		delete(tables, name)
		files = append(files, name)
	}
	for name := range tables {
		return nil, &CorruptionError{File: s.fs.PathJoin(s.dir, name), Reason: "the file is missing"}
	}
	slices.Sort(files)
	return files, nil
}

const tableSuffix = ".sst"

// lockName is Pebble's file that says who has the directory.
const lockName = "LOCK"

// CheckFile verifies a file of a store by the checksums inside it, where it is of a kind that has them: a table, block
// by block. A damaged one is a *CorruptionError.
func CheckFile(fsys vfs.FS, path string) error {
	if !strings.HasSuffix(path, tableSuffix) {
		return nil
	}
	s := &Store{opts: Options{}.EnsureDefaults()}
	po := s.pebbleOptions()
	po.EnsureDefaults()
	err := s.wrap(checkTable(fsys, path, po.MakeReaderOptions()))
	var c *CorruptionError
	if errors.As(err, &c) && c.File == "" {
		c.File = path
	}
	return err
}

// Position says how far the log of a release goes.
type Position struct {
	Collection uint32
	// Name is that of the collection.
	Name    string
	Release uint32
	// LSN is the last one of the release.
	LSN uint64
}

// Positions returns the end of every log, by ascending collection and release. A release that nothing was ever written to
// has none. Cost: a few point reads for each release.
func (s *Store) Positions() ([]Position, error) {
	rows, err := s.Collections()
	if err != nil {
		return nil, err
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	var all []Position
	for _, row := range rows {
		prefix := binary.BigEndian.AppendUint32([]byte{kindLog}, row.ID)
		start, end := keySpan(prefix)
		for start != nil {
			release, found := uint32(0), false
			err := s.scan(start, end, func(key, _ []byte) (bool, error) {
				k, ok := parseKey(key)
				if !ok {
					return false, rowCorruption(key, "malformed key")
				}
				release, found = k.release, true
				return false, nil
			})
			if err != nil {
				return nil, err
			}
			if !found {
				break
			}
			last, err := s.Collection(row.ID, release).LastLSN()
			if err != nil {
				return nil, err
			}
			all = append(all, Position{Collection: row.ID, Name: row.Name, Release: release, LSN: last})
			_, start = keySpan(appendPrefix(nil, kindLog, row.ID, release))
			if release == ^uint32(0) {
				break
			}
		}
	}
	return all, nil
}
