package storage

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// errBatchUsed is returned for a Batch that is used after Commit.
var errBatchUsed = errors.New("storage: batch was committed already")

// Batch collects mutations of one release that become durable together or not at all. Every mutation carries
// the LSN it is to have; the LSNs of a batch ascend by one. Not safe for concurrent use.
type Batch struct {
	c           *Collection
	b           *pebble.Batch
	first, last uint64 // LSNs; 0 while empty
	err         error  // first error of a Put or Delete; makes Commit fail
	started     bool
	waiting     bool // start succeeded, wait did not run
}

// NewBatch returns an empty batch. It must be closed.
func (c *Collection) NewBatch() *Batch {
	return &Batch{c: c, b: new(pebble.Batch)}
}

// PutItem adds an item, replacing any older one of that id. The row is copied.
func (b *Batch) PutItem(r ItemRow) error {
	if err := b.admit(checkRow("id", r.ID, r.LSN, len(r.Vector), len(r.Attributes)), r.LSN); err != nil {
		return err
	}
	b.set(prefixLen+len(r.ID), itemValueLen(&r), func(key, value []byte) {
		b.fillRowKey(key, kindItem, r.ID)
		encodeItem(key, value, &r)
	})
	b.record(r.LSN, LogPutItem, r.ID)
	return nil
}

// DeleteItem removes an item. The id need not exist; the log records the deletion either way.
func (b *Batch) DeleteItem(id string, lsn uint64) error {
	return b.delete(kindItem, LogDeleteItem, "id", id, lsn)
}

// PutProfile adds a profile, replacing any older one of that user. The row is copied.
func (b *Batch) PutProfile(r ProfileRow) error {
	if err := b.admit(checkRow("user id", r.UserID, r.LSN, len(r.Vectors), len(r.Attributes)), r.LSN); err != nil {
		return err
	}
	b.set(prefixLen+len(r.UserID), profileValueLen(&r), func(key, value []byte) {
		b.fillRowKey(key, kindProfile, r.UserID)
		encodeProfile(key, value, &r)
	})
	b.record(r.LSN, LogPutProfile, r.UserID)
	return nil
}

// DeleteProfile removes a profile. The user need not exist.
func (b *Batch) DeleteProfile(user string, lsn uint64) error {
	return b.delete(kindProfile, LogDeleteProfile, "user id", user, lsn)
}

// ExpireItem is DeleteItem of an item that expired.
func (b *Batch) ExpireItem(id string, lsn uint64) error {
	return b.delete(kindItem, LogExpireItem, "id", id, lsn)
}

// ExpireProfile is DeleteProfile of a profile that expired.
func (b *Batch) ExpireProfile(user string, lsn uint64) error {
	return b.delete(kindProfile, LogExpireProfile, "user id", user, lsn)
}

// Skip adds a log record that changes nothing. id says what it is about.
func (b *Batch) Skip(id string, lsn uint64) error {
	if err := b.admit(checkRow("id", id, lsn, 0, 0), lsn); err != nil {
		return err
	}
	b.record(lsn, LogSkip, id)
	return nil
}

// Len returns the number of mutations, Bytes their encoded size.
func (b *Batch) Len() int {
	if b.first == 0 {
		return 0
	}
	return int(b.last - b.first + 1)
}

// Bytes returns the encoded size of the batch. A batch above half of Options.MemTableBytes bypasses the
// memtable, which is slower to read until it is flushed.
func (b *Batch) Bytes() int { return b.b.Len() }

// Commit returns nil once the batch survives power loss; batches of other goroutines share its fsync. Errors, with nothing
// written: *LSNError unless the first LSN is the next one of the release, *LowSpaceError, ErrReadOnly, ErrClosed, and whatever
// PutItem and its kin refused. A disk that fails ends in Options.OnFatal, and the batch is never acknowledged.
func (b *Batch) Commit() error {
	if err := b.start(); err != nil {
		return err
	}
	return b.wait()
}

// start hands the batch to the write-ahead log, behind every batch started before, and returns without waiting for the disk; wait
// must follow.
func (b *Batch) start() error {
	if b.started {
		return errBatchUsed
	}
	if b.err != nil {
		return b.err
	}
	s := b.c.s
	if err := s.enterWrite(); err != nil {
		return err
	}
	if b.first == 0 {
		b.started = true
		s.leave()
		return nil
	}
	if err := b.apply(); err != nil {
		s.leave()
		return err
	}
	return nil // wait leaves
}

func (b *Batch) apply() error {
	s, st := b.c.s, b.c.state
	if err := s.checkSpace(b.b.Len()); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	last, err := b.c.lastLocked()
	if err != nil {
		return err
	}
	if b.first != last+1 {
		return &LSNError{Collection: b.c.id, Release: b.c.release, Want: last + 1, Got: b.first}
	}
	defer s.fatal.guard()
	// The order of these calls is the order in the write-ahead log, and st.mu is held: that makes what
	// survives a crash a prefix of the LSNs. Waiting for the fsync outside of the lock is what lets
	// concurrent writers of one release share it. (Pebble marks the call as one to understand before use:
	// the batch must not be closed before SyncWait, and readers see it before it is durable. So do they with
	// Commit.)
	if err := s.db.ApplyNoSyncWait(b.b, pebble.Sync); err != nil {
		s.fatal.fail(err)
	}
	b.started, b.waiting = true, true
	st.last = b.last
	return nil
}

// wait returns once a started batch survives power loss. It has no error to return but use before start.
func (b *Batch) wait() error {
	if !b.started {
		return errors.New("storage: wait before start")
	}
	if !b.waiting {
		return nil
	}
	s := b.c.s
	if err := b.b.SyncWait(); err != nil {
		s.fatal.fail(err)
	}
	b.waiting = false
	s.sealer.committed()
	s.leave()
	return nil
}

// Close releases the batch, waiting for it first if it was started. It returns nil.
func (b *Batch) Close() error {
	if b.waiting {
		_ = b.wait()
	}
	b.started = true
	return b.b.Close()
}

// admit remembers the first error, and checks that lsn follows the batch's last one.
func (b *Batch) admit(err error, lsn uint64) error {
	if b.started {
		return errBatchUsed
	}
	if err == nil && b.last != 0 && lsn != b.last+1 {
		err = &LSNError{Collection: b.c.id, Release: b.c.release, Want: b.last + 1, Got: lsn}
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return err
}

func (b *Batch) delete(kind byte, op LogKind, field, id string, lsn uint64) error {
	if err := b.admit(checkRow(field, id, lsn, 0, 0), lsn); err != nil {
		return err
	}
	d := b.b.DeleteDeferred(prefixLen + len(id))
	b.fillRowKey(d.Key, kind, id)
	b.finish(d)
	b.record(lsn, op, id)
	return nil
}

// record adds the log record of a mutation; rows and record are in one Pebble batch.
func (b *Batch) record(lsn uint64, kind LogKind, id string) {
	b.set(prefixLen+8, logHeaderLen+len(id), func(key, value []byte) {
		copy(key, logKey(b.c.id, b.c.release, lsn))
		encodeLog(key, value, kind, id)
	})
	if b.first == 0 {
		b.first = lsn
	}
	b.last = lsn
}

// set encodes a row in place, without an intermediate copy.
func (b *Batch) set(keyLen, valueLen int, fill func(key, value []byte)) {
	d := b.b.SetDeferred(keyLen, valueLen)
	fill(d.Key, d.Value)
	b.finish(d)
}

func (b *Batch) finish(d *pebble.DeferredBatchOp) {
	if err := d.Finish(); err != nil && b.err == nil {
		b.err = err
	}
}

func (b *Batch) fillRowKey(key []byte, kind byte, id string) {
	copy(key[prefixLen:], id)
	appendPrefix(key[:0], kind, b.c.id, b.c.release)
}
