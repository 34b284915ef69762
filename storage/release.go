package storage

import (
	"cmp"
	"slices"
)

// ReleaseID names a release of a collection.
type ReleaseID struct{ Collection, Release uint32 }

// Releases returns every pair of collection and release of which there is a row, in order, whether the catalog knows it or not. Cost: a
// seek for each kind of row and release.
func (s *Store) Releases() ([]ReleaseID, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	found := make(map[releaseID]bool)
	for _, kind := range releaseKinds() {
		start, end := keySpan([]byte{kind})
		for start != nil {
			var at *releaseID
			err := s.scan(start, end, func(key, _ []byte) (bool, error) {
				k, ok := parseKey(key)
				if !ok {
					return false, rowCorruption(key, "malformed key")
				}
				at = &releaseID{k.collection, k.release}
				return false, nil
			})
			if err != nil {
				return nil, err
			}
			if at == nil {
				break
			}
			found[*at] = true
			_, start = keySpan(appendPrefix(nil, kind, at.collection, at.release))
		}
	}
	out := make([]ReleaseID, 0, len(found))
	for id := range found {
		out = append(out, ReleaseID{id.collection, id.release})
	}
	slices.SortFunc(out, func(a, b ReleaseID) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Release, b.Release))
	})
	return out, nil
}
