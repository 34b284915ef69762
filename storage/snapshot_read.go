package storage

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// SnapshotInfo describes one generation.
type SnapshotInfo struct {
	Generation uint64
	LSN        uint64
	CreateTime time.Time
	// Slabs and Bytes count the stored slabs and their stored size.
	Slabs int
	Bytes int64
	// Err is set where the header is damaged or of an unknown format; the fields above but Generation are then
	// zero.
	Err error
}

// Snapshots returns the generations of the release, newest (highest) first. It reads headers only: a
// generation that is listed without Err can still have damaged slabs.
func (c *Collection) Snapshots() ([]SnapshotInfo, error) {
	s := c.s
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	start, end := keySpan(append(appendPrefix(nil, kindSnapshot, c.id, c.release), snapshotHeader))
	var infos []SnapshotInfo
	err := s.scan(start, end, func(key, value []byte) (bool, error) {
		k, ok := parseKey(key)
		if !ok {
			return false, rowCorruption(key, "malformed key")
		}
		info := SnapshotInfo{Generation: k.gen}
		if h, err := decodeSnapshotHeader(key, value); err != nil {
			info.Err = err
		} else {
			info.LSN, info.CreateTime, info.Bytes = h.LSN, h.CreateTime, h.bytes()
			for _, sec := range h.sections {
				info.Slabs += len(sec.sums)
			}
		}
		infos = append(infos, info)
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(infos)
	return infos, nil
}

// SnapshotReader reads one generation. It holds no resources and is safe for concurrent use.
type SnapshotReader struct {
	c     *Collection
	id    snapshotID
	h     *storedHeader
	index map[string]int
}

// OpenSnapshot reads the header of a generation. ErrNotFound, *CorruptionError, *FormatError.
func (c *Collection) OpenSnapshot(gen uint64) (*SnapshotReader, error) {
	s := c.s
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	r := &SnapshotReader{c: c, id: snapshotID{releaseID{c.id, c.release}, gen}, index: make(map[string]int)}
	key := r.id.headerKey()
	value, done, err := s.get(key)
	if err != nil {
		return nil, err
	}
	defer done()
	if r.h, err = decodeSnapshotHeader(key, value); err != nil {
		return nil, err
	}
	for i, sec := range r.h.sections {
		r.index[sec.name] = i
	}
	return r, nil
}

// Header returns the header; the caller must not change it.
func (r *SnapshotReader) Header() SnapshotHeader { return r.h.SnapshotHeader }

// ReadSlab returns the bytes of slab n of a section in dst[:0], grown where needed; the caller owns the
// result. The bytes are verified against their own checksum and against the header's. A slab the header does
// not list is ErrNotFound, as is every slab after DropSnapshot; one that is listed and missing or damaged is a
// *CorruptionError with Section and Slab set.
func (r *SnapshotReader) ReadSlab(section string, n int, dst []byte) ([]byte, error) {
	s := r.c.s
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	i, ok := r.index[section]
	if !ok || n < 0 || n >= len(r.h.sections[i].sums) {
		return nil, fmt.Errorf("slab %d of section %q: %w", n, section, ErrNotFound)
	}
	key := slabKey(r.id.collection, r.id.release, r.id.gen, section, uint32(n))
	data, err := s.readSlab(key, dst, r.h.sections[i].sums[n])
	if errors.Is(err, errSlabMissing) {
		return nil, r.missing(key)
	}
	return data, err
}

// readSlab reads and verifies a slab, which must have the checksum want. errSlabMissing.
func (s *Store) readSlab(key, dst []byte, want uint32) ([]byte, error) {
	a := slabAssembler{key: key, dst: dst}
	start, end := keySpan(key)
	err := s.scan(start, end, func(key, value []byte) (bool, error) {
		k, ok := parseKey(key)
		if !ok || k.fragment < 0 {
			return false, rowCorruption(key, "malformed key")
		}
		return true, a.add(k.fragment, value)
	})
	if err != nil {
		return nil, slabError(key, err)
	}
	data, err := a.finish(s.slabs)
	if err == nil && a.sum() != want {
		return nil, slabError(key, rowCorruption(key, "slab is not the one the header was committed with"))
	}
	return data, err
}

// missing tells a dropped snapshot from a lost slab.
func (r *SnapshotReader) missing(key []byte) error {
	_, done, err := r.c.s.get(r.id.headerKey())
	if err == nil {
		done()
		return slabError(key, rowCorruption(key, "slab is missing"))
	}
	return err
}

// DropSnapshot removes a generation: durably when it returns, and its space at once. ErrNotFound. A damaged
// generation can be dropped.
func (c *Collection) DropSnapshot(gen uint64) error {
	s := c.s
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	id := snapshotID{releaseID{c.id, c.release}, gen}
	_, done, err := s.get(id.headerKey())
	switch {
	case err == nil:
		done()
	case !IsCorruption(err): // what cannot be read can still be deleted
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(id.headerKey(), nil); err != nil {
		return err
	}
	key := id.pendingKey()
	if err := b.Set(key, encodePending(key), nil); err != nil {
		return err
	}
	if err := s.apply(b); err != nil {
		return err
	}
	return s.discardPending(id)
}

// sweepPending removes every half-written or half-dropped generation of the store.
func (s *Store) sweepPending() error {
	ids, err := s.pending()
	if err != nil {
		return err
	}
	for _, id := range ids {
		s.log.Info("storage: removing an unfinished snapshot", "collection", id.collection, "release", id.release, "generation", id.gen)
		if err := s.discardPending(id); err != nil {
			return err
		}
	}
	return nil
}

// pending lists the pending marks of every collection.
func (s *Store) pending() (ids []snapshotID, err error) {
	start, end := keySpan([]byte{kindPending})
	err = s.scan(start, end, func(key, _ []byte) (bool, error) {
		k, ok := parseKey(key)
		if !ok {
			return false, rowCorruption(key, "malformed key")
		}
		ids = append(ids, snapshotID{releaseID{k.collection, k.release}, k.gen})
		return true, nil
	})
	return ids, err
}
