package storage

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// logState is the log position of one release, shared by all its handles.
type logState struct {
	// mu guards the fields below and is held while a batch enters the write-ahead log, so that batches enter
	// in LSN order.
	mu sync.Mutex
	// loaded says that last and first were read from disk.
	loaded bool
	// last is the highest LSN handed to the write-ahead log, 0 before the first.
	last uint64
	// first is the lowest LSN the log holds or, if it holds none, last + 1.
	// Invariant: 1 <= first <= last + 1.
	first uint64
}

func (s *Store) state(id releaseID) *logState {
	s.statesMu.Lock()
	defer s.statesMu.Unlock()
	st := s.states[id]
	if st == nil {
		st = new(logState)
		s.states[id] = st
	}
	return st
}

// forgetStates resets the log positions that drop says were dropped.
func (s *Store) forgetStates(drop func(releaseID) bool) {
	s.statesMu.Lock()
	defer s.statesMu.Unlock()
	for id, st := range s.states {
		if drop(id) {
			st.mu.Lock()
			st.loaded = false
			st.mu.Unlock()
		}
	}
}

// lastLocked returns the release's last LSN. c.state.mu is held.
func (c *Collection) lastLocked() (uint64, error) {
	if err := c.loadLocked(); err != nil {
		return 0, err
	}
	return c.state.last, nil
}

func (c *Collection) loadLocked() error {
	if c.state.loaded {
		return nil
	}
	first, err := c.logHead()
	if err != nil {
		return err
	}
	last, err := c.logTail(first)
	if err != nil {
		return err
	}
	c.state.loaded, c.state.first, c.state.last = true, first, last
	return nil
}

// logHead returns the first LSN that was not trimmed, 1 in a log that never was.
func (c *Collection) logHead() (uint64, error) {
	key := logKey(c.id, c.release, logHeadLSN)
	value, done, err := c.s.get(key)
	if errors.Is(err, ErrNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	defer done()
	return decodeLogHead(key, value)
}

// logTail returns the last LSN on disk of a log that starts at first.
func (c *Collection) logTail(first uint64) (last uint64, err error) {
	_, end := keySpan(appendPrefix(nil, kindLog, c.id, c.release))
	start := logKey(c.id, c.release, logHeadLSN+1)
	it, err := c.s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return 0, c.s.wrapAt(err, start)
	}
	last = first - 1
	if it.Last() {
		k, ok := parseKey(it.Key())
		switch {
		case !ok:
			err = rowCorruption(it.Key(), "malformed key")
		case k.lsn < first:
			err = rowCorruption(it.Key(), fmt.Sprintf("log record below the start of the log, %d", first))
		default:
			last = k.lsn
		}
	}
	if err == nil {
		err = c.s.wrapAt(it.Error(), start)
	}
	if cerr := it.Close(); err == nil {
		err = c.s.wrapAt(cerr, start)
	}
	return last, err
}

// StartLog makes first the LSN that the first mutation of this release will have: a release that is filled beside
// the one that serves continues its LSNs. It is durable when it returns. It does nothing to a log that starts
// there already; one that starts elsewhere, or holds records, is refused with *LSNError.
func (c *Collection) StartLog(first uint64) error {
	if err := c.s.enterWrite(); err != nil {
		return err
	}
	defer c.s.leave()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	if err := c.loadLocked(); err != nil {
		return err
	}
	if c.state.first == first {
		return nil
	}
	if c.state.first != 1 || c.state.last != 0 || first == 0 {
		return &LSNError{Collection: c.id, Release: c.release, Want: c.state.last + 1, Got: first}
	}
	b := c.s.db.NewBatch()
	defer b.Close()
	head := logKey(c.id, c.release, logHeadLSN)
	if err := b.Set(head, encodeLogHead(head, first), nil); err != nil {
		return err
	}
	if err := c.s.apply(b); err != nil {
		return err
	}
	c.state.first, c.state.last = first, first-1
	return nil
}

// LastLSN returns the LSN of the newest mutation handed to the store, 0 if there was none. It survives
// TrimLog.
func (c *Collection) LastLSN() (uint64, error) {
	if err := c.s.enter(); err != nil {
		return 0, err
	}
	defer c.s.leave()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return c.lastLocked()
}

// FirstLSN returns the lowest LSN that Log can start from: LastLSN()+1 if the log is empty.
func (c *Collection) FirstLSN() (uint64, error) {
	if err := c.s.enter(); err != nil {
		return 0, err
	}
	defer c.s.leave()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	err := c.loadLocked()
	return c.state.first, err
}

// Log calls fn for every log record with an LSN of from or more, in LSN order, up to the end of the log as of
// the call. from 0 is taken as 1. An error of fn ends the walk and is returned. Errors: *LogTrimmedError
// if from was trimmed away, *CorruptionError where a record is missing or damaged.
func (c *Collection) Log(from uint64, fn func(LogRecord) error) error {
	if err := c.s.enter(); err != nil {
		return err
	}
	defer c.s.leave()
	c.state.mu.Lock()
	err := c.loadLocked()
	first, last := c.state.first, c.state.last
	c.state.mu.Unlock()
	if err != nil {
		return err
	}
	from = max(from, 1)
	if from > last {
		return nil
	}
	if from < first {
		return &LogTrimmedError{Collection: c.id, Release: c.release, From: from, First: first}
	}
	next := from
	_, end := keySpan(appendPrefix(nil, kindLog, c.id, c.release))
	err = c.s.scan(logKey(c.id, c.release, from), end, func(key, value []byte) (bool, error) {
		k, ok := parseKey(key)
		if !ok || k.lsn != next {
			return false, c.gap(next)
		}
		r, err := decodeLog(key, value, k.lsn)
		if err != nil {
			return false, err
		}
		next++
		return k.lsn < last, fn(r)
	})
	if err == nil && next <= last {
		return c.gap(next)
	}
	return err
}

// gap explains why the record of lsn is not there: trimmed by a concurrent TrimLog, or lost.
func (c *Collection) gap(lsn uint64) error {
	c.state.mu.Lock()
	first := c.state.first
	c.state.mu.Unlock()
	if lsn < first {
		return &LogTrimmedError{Collection: c.id, Release: c.release, From: lsn, First: first}
	}
	return rowCorruption(logKey(c.id, c.release, lsn), "log record is missing")
}

// TrimLog removes the log records with LSNs below the given one, durably. Trimming below what was trimmed
// before does nothing; trimming beyond LastLSN()+1 is refused.
func (c *Collection) TrimLog(below uint64) error {
	if err := c.s.enterWrite(); err != nil {
		return err
	}
	defer c.s.leave()
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	if err := c.loadLocked(); err != nil {
		return err
	}
	if below > c.state.last+1 {
		return &LSNError{Collection: c.id, Release: c.release, Want: c.state.last + 1, Got: below}
	}
	if below <= c.state.first {
		return nil
	}
	b := c.s.db.NewBatch()
	defer b.Close()
	head := logKey(c.id, c.release, logHeadLSN)
	if err := b.Set(head, encodeLogHead(head, below), nil); err != nil {
		return err
	}
	from := logKey(c.id, c.release, c.state.first)
	if err := b.DeleteRange(from, logKey(c.id, c.release, below), nil); err != nil {
		return err
	}
	if err := c.s.apply(b); err != nil {
		return err
	}
	c.state.first = below
	return nil
}
