package storage

import (
	"encoding/binary"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// ExclusionRow is one entry of an exclusion set: an item that searches which name the set must not answer.
type ExclusionRow struct {
	// ItemID is 1..MaxIDBytes bytes. The item need not exist.
	ItemID string
	// ExpireTime is in microseconds since 1970-01-01 UTC; 0 means never. Rows that expired are there until they are deleted.
	ExpireTime int64
}

const (
	exclusionVersion = 1
	// exclusionLen: envelope, 3 reserved bytes, 8 bytes of the time at which the entry expires.
	exclusionLen = 16
)

func encodeExclusion(key []byte, expires int64) []byte {
	v := make([]byte, exclusionLen)
	binary.BigEndian.PutUint64(v[8:], uint64(expires))
	sealEnvelope(key, v, exclusionVersion)
	return v
}

// decodeExclusion checks an entry; ItemID is not set.
func decodeExclusion(key, value []byte) (r ExclusionRow, err error) {
	if err := openEnvelope(key, value, "exclusion", exclusionVersion, exclusionLen); err != nil {
		return r, err
	}
	if len(value) != exclusionLen {
		return r, rowCorruption(key, "exclusion is too long")
	}
	if value[5] != 0 || value[6] != 0 || value[7] != 0 {
		return r, &FormatError{What: "exclusion", Where: formatKeyForPeople(key), Reason: "unknown flags"}
	}
	r.ExpireTime = int64(binary.BigEndian.Uint64(value[8:]))
	if r.ExpireTime < 0 {
		return r, rowCorruption(key, "exclusion expires before 1970")
	}
	return r, nil
}

// exclusionSetKey is what the keys of all entries of a set, and no other keys, start with.
func exclusionSetKey(collection uint32, set string) []byte {
	k := binary.BigEndian.AppendUint32([]byte{kindExclusion}, collection)
	k = binary.BigEndian.AppendUint16(k, uint16(len(set)))
	return append(k, set...)
}

// PutExclusions adds entries to a set, replacing those of the same items, durably and all or none. Sets belong to a collection, not to
// a release: what a listener heard stays heard.
func (s *Store) PutExclusions(collection uint32, set string, rows []ExclusionRow) error {
	return s.changeExclusions(set, len(rows), func(b *pebble.Batch) error {
		prefix := exclusionSetKey(collection, set)
		for _, r := range rows {
			if err := checkID("item id", r.ItemID); err != nil {
				return err
			}
			if r.ExpireTime < 0 {
				return &ValueError{Field: "expire time", Rule: "must not be before 1970"}
			}
			key := append(prefix[:len(prefix):len(prefix)], r.ItemID...)
			if err := b.Set(key, encodeExclusion(key, r.ExpireTime), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteExclusions removes entries from a set, durably and all or none. They need not be there.
func (s *Store) DeleteExclusions(collection uint32, set string, ids []string) error {
	return s.changeExclusions(set, len(ids), func(b *pebble.Batch) error {
		prefix := exclusionSetKey(collection, set)
		for _, id := range ids {
			if err := checkID("item id", id); err != nil {
				return err
			}
			if err := b.Delete(append(prefix[:len(prefix):len(prefix)], id...), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropExclusionSet removes every entry of a set, durably.
func (s *Store) DropExclusionSet(collection uint32, set string) error {
	return s.changeExclusions(set, 1, func(b *pebble.Batch) error {
		start, end := keySpan(exclusionSetKey(collection, set))
		return b.DeleteRange(start, end, nil)
	})
}

// changeExclusions commits what fill puts into a batch.
func (s *Store) changeExclusions(set string, n int, fill func(*pebble.Batch) error) error {
	if err := checkID("exclusion set", set); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	b := s.db.NewBatch()
	defer b.Close()
	if err := fill(b); err != nil {
		return err
	}
	if err := s.checkSpace(b.Len()); err != nil {
		return err
	}
	return s.apply(b)
}

// Exclusion returns when an entry of a set expires, 0 for never. ErrNotFound.
func (s *Store) Exclusion(collection uint32, set, item string) (expires int64, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.leave()
	key := append(exclusionSetKey(collection, set), item...)
	value, done, err := s.get(key)
	if err != nil {
		return 0, err
	}
	defer done()
	r, err := decodeExclusion(key, value)
	return r.ExpireTime, err
}

// Exclusions yields the entries of a set with item ids above after, in byte order, at most limit of them (all where limit is 0 or
// less). An error is yielded once, last. The iteration sees the store as of its first step.
func (s *Store) Exclusions(collection uint32, set, after string, limit int) iter.Seq2[ExclusionRow, error] {
	return func(yield func(ExclusionRow, error) bool) {
		if err := s.enter(); err != nil {
			yield(ExclusionRow{}, err)
			return
		}
		defer s.leave()
		prefix := exclusionSetKey(collection, set)
		start, end := keySpan(prefix)
		if after != "" {
			start = append(append(start[:len(start):len(start)], after...), 0)
		}
		stopped := false
		err := s.scan(start, end, func(key, value []byte) (bool, error) {
			r, err := decodeExclusion(key, value)
			if err != nil {
				return false, err
			}
			r.ItemID = string(key[len(prefix):])
			limit--
			stopped = !yield(r, nil)
			return !stopped && limit != 0, nil
		})
		if err != nil && !stopped {
			yield(ExclusionRow{}, err)
		}
	}
}

// ExclusionEntry is an entry of any set of a collection.
type ExclusionEntry struct {
	Set string
	ExclusionRow
}

// AllExclusions yields the entries of all sets of a collection behind the one given, or from the first where that is the zero
// entry, in the order of their keys, at most limit of them. An error is yielded once, last.
func (s *Store) AllExclusions(collection uint32, after ExclusionEntry, limit int) iter.Seq2[ExclusionEntry, error] {
	return func(yield func(ExclusionEntry, error) bool) {
		if err := s.enter(); err != nil {
			yield(ExclusionEntry{}, err)
			return
		}
		defer s.leave()
		start, end := keySpan(binary.BigEndian.AppendUint32([]byte{kindExclusion}, collection))
		if after.Set != "" {
			start = append(append(exclusionSetKey(collection, after.Set), after.ItemID...), 0)
		}
		stopped := false
		err := s.scan(start, end, func(key, value []byte) (bool, error) {
			k, ok := parseKey(key)
			if !ok {
				return false, rowCorruption(key, "malformed key")
			}
			r, err := decodeExclusion(key, value)
			if err != nil {
				return false, err
			}
			r.ItemID = string(k.id)
			limit--
			stopped = !yield(ExclusionEntry{Set: string(k.set), ExclusionRow: r}, nil)
			return !stopped && limit != 0, nil
		})
		if err != nil && !stopped {
			yield(ExclusionEntry{}, err)
		}
	}
}

// checkExclusions verifies every entry.
func (c *checker) checkExclusions() {
	start, end := keySpan([]byte{kindExclusion})
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		if !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
			return
		}
		if !c.collections[k.collection] {
			c.find(Fault, formatKeyForPeople(key), "entry of a collection that the catalog does not know")
		}
		if _, err := decodeExclusion(key, value); err != nil {
			c.report(faultOf("", err))
		}
	})
}
