package storage

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// PutCollection writes a catalog row and returns once it is durable. A new row's ID must be above every id
// ever used (see NextCollectionID); an existing one is replaced.
func (s *Store) PutCollection(r CollectionRow) error {
	if err := checkCollectionRow(&r); err != nil {
		return err
	}
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.checkSpace(len(r.Config)); err != nil {
		return err
	}
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	highest, err := s.highestCollection()
	if err != nil {
		return err
	}
	key := collectionKey(r.ID)
	b := s.db.NewBatch()
	defer b.Close()
	if r.ID > highest {
		if err := b.Set([]byte(collectionsKey), encodeCollectionsRow(r.ID), nil); err != nil {
			return err
		}
	} else {
		_, done, err := s.get(key)
		if errors.Is(err, ErrNotFound) {
			return &ValueError{Field: "id", Rule: fmt.Sprintf("%d was used by a dropped collection; the next free one is %d", r.ID, highest+1)}
		}
		if err != nil {
			return err
		}
		done()
	}
	if err := b.Set(key, encodeCollection(key, &r), nil); err != nil {
		return err
	}
	return s.apply(b)
}

// NextCollectionID returns an id that was never used; a *ValueError when there is none left.
func (s *Store) NextCollectionID() (uint32, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	highest, err := s.highestCollection()
	if err != nil {
		return 0, err
	}
	if highest == math.MaxUint32 {
		return 0, &ValueError{Field: "id", Rule: "every collection id was used"}
	}
	return highest + 1, nil
}

func (s *Store) highestCollection() (uint32, error) {
	value, done, err := s.get([]byte(collectionsKey))
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer done()
	return decodeCollectionsRow(value)
}

// Collections returns the catalog in ascending order of id.
func (s *Store) Collections() ([]CollectionRow, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	start, end := keySpan([]byte{kindCollection})
	var rows []CollectionRow
	err := s.scan(start, end, func(key, value []byte) (bool, error) {
		k, ok := parseKey(key)
		if !ok {
			return false, rowCorruption(key, "malformed key")
		}
		r, err := decodeCollection(key, value)
		if err != nil {
			return false, err
		}
		r.ID = k.collection
		rows = append(rows, r)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// DropCollection removes a collection's catalog row, its aliases, and every row of every release. It is atomic and durable
// when it returns, and the disk space is given back soon after. ErrNotFound. Handles of the collection
// must not be written through any more.
func (s *Store) DropCollection(id uint32) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	key := collectionKey(id)
	_, done, err := s.get(key)
	if err != nil {
		return err
	}
	done()
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(key, nil); err != nil {
		return err
	}
	aliases, err := s.aliases()
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if a.Collection != id {
			continue
		}
		if err := b.Delete(aliasKey(a.Name), nil); err != nil {
			return err
		}
	}
	return s.drop(b, collectionSpans(id), func(r releaseID) bool { return r.collection == id })
}

// DropRelease removes every row of one release, its log, snapshots and import included. It is atomic and
// durable when it returns, and the disk space is given back soon after. Dropping what does not exist does
// nothing. Handles of the release must not be written through meanwhile.
func (s *Store) DropRelease(collection, release uint32) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	b := s.db.NewBatch()
	defer b.Close()
	id := releaseID{collection, release}
	return s.drop(b, releaseSpans(id), func(r releaseID) bool { return r == id })
}

// drop commits b together with the deletion of spans, and gives their disk space back.
func (s *Store) drop(b *pebble.Batch, spans [][2][]byte, of func(releaseID) bool) error {
	for _, span := range spans {
		if err := b.DeleteRange(span[0], span[1], nil); err != nil {
			return err
		}
	}
	if err := s.apply(b); err != nil {
		return err
	}
	s.forgetStates(of)
	for _, span := range spans {
		s.excise(span[0], span[1])
	}
	return nil
}

// excise gives back the disk space of a range that was deleted durably before. It is an optimisation: without
// it compactions do the same over time, so an error is logged and no more.
func (s *Store) excise(start, end []byte) {
	if err := s.db.Excise(context.Background(), pebble.KeyRange{Start: start, End: end}); err != nil {
		s.log.Warn("storage: cannot give space back at once", "err", err)
	}
}

// scan calls fn for the rows of [start, end) in key order until it returns false or an error. key and value
// are valid during the call.
func (s *Store) scan(start, end []byte, fn func(key, value []byte) (more bool, err error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return s.wrapAt(err, start)
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = s.wrapAt(cerr, start)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.wrapAt(err, it.Key())
		}
		more, err := fn(it.Key(), value)
		if err != nil || !more {
			return err
		}
	}
	return s.wrapAt(it.Error(), start)
}
