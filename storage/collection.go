package storage

import (
	"bytes"
	"iter"
)

// Collection is a handle on the rows of one release of one collection. It holds no resources.
type Collection struct {
	s       *Store
	id      uint32
	release uint32
	state   *logState
}

// Collection returns a handle. It does not look whether the catalog knows the collection: a release is filled
// before it is published.
func (s *Store) Collection(id, release uint32) *Collection {
	return &Collection{s: s, id: id, release: release, state: s.state(releaseID{id, release})}
}

// ID and Release say what the handle is of.
func (c *Collection) ID() uint32 { return c.id }

// Release returns the release the handle is of.
func (c *Collection) Release() uint32 { return c.release }

// Item returns the item with this id; the caller owns it. ErrNotFound. Cost: one point read.
func (c *Collection) Item(id string) (ItemRow, error) {
	if err := c.s.enter(); err != nil {
		return ItemRow{}, err
	}
	defer c.s.leave()
	key := rowKey(kindItem, c.id, c.release, id)
	value, done, err := c.s.get(key)
	if err != nil {
		return ItemRow{}, err
	}
	defer done()
	r, err := decodeItem(key, value)
	if err != nil {
		return ItemRow{}, err
	}
	r.ID = id
	r.Vector, r.Attributes = bytes.Clone(r.Vector), bytes.Clone(r.Attributes)
	return r, nil
}

// Profile returns the profile of this user; the caller owns it. ErrNotFound.
func (c *Collection) Profile(user string) (ProfileRow, error) {
	if err := c.s.enter(); err != nil {
		return ProfileRow{}, err
	}
	defer c.s.leave()
	key := rowKey(kindProfile, c.id, c.release, user)
	value, done, err := c.s.get(key)
	if err != nil {
		return ProfileRow{}, err
	}
	defer done()
	r, err := decodeProfile(key, value)
	if err != nil {
		return ProfileRow{}, err
	}
	r.UserID = user
	r.Vectors, r.Attributes = bytes.Clone(r.Vectors), bytes.Clone(r.Attributes)
	return r, nil
}

// Items yields the items with ids above after, in byte order of id, at most limit of them (all where limit is
// 0 or less). An error is yielded once, last. Vector and Attributes are valid until the next step. The
// iteration sees the store as of its first step, and holds files open until it ends: do not park it.
func (c *Collection) Items(after string, limit int) iter.Seq2[ItemRow, error] {
	return func(yield func(ItemRow, error) bool) {
		c.rows(kindItem, after, limit, func(key, value []byte) bool {
			r, err := decodeItem(key, value)
			r.ID = string(key[prefixLen:])
			return yield(r, err) && err == nil
		}, func(err error) { yield(ItemRow{}, err) })
	}
}

// Profiles is Items for profiles.
func (c *Collection) Profiles(after string, limit int) iter.Seq2[ProfileRow, error] {
	return func(yield func(ProfileRow, error) bool) {
		c.rows(kindProfile, after, limit, func(key, value []byte) bool {
			r, err := decodeProfile(key, value)
			r.UserID = string(key[prefixLen:])
			return yield(r, err) && err == nil
		}, func(err error) { yield(ProfileRow{}, err) })
	}
}

// rows walks the rows of one kind. step returns false to end the walk; fail is called at most once, and only
// if step never returned false.
func (c *Collection) rows(kind byte, after string, limit int, step func(key, value []byte) bool, fail func(error)) {
	if err := c.s.enter(); err != nil {
		fail(err)
		return
	}
	defer c.s.leave()
	_, end := keySpan(appendPrefix(nil, kind, c.id, c.release))
	start := rowKey(kind, c.id, c.release, after)
	if after != "" {
		start = append(start, 0)
	}
	left := limit
	err := c.s.scan(start, end, func(key, value []byte) (bool, error) {
		if !step(key, value) {
			return false, nil
		}
		left--
		return left != 0, nil
	})
	if err != nil {
		fail(err)
	}
}

// DiskBytes estimates how much disk the release's rows take: items, profiles, log, snapshots, and what is kept of its import. Rows still
// in memtables are not counted.
func (c *Collection) DiskBytes() (uint64, error) {
	if err := c.s.enter(); err != nil {
		return 0, err
	}
	defer c.s.leave()
	var total uint64
	for _, span := range releaseSpans(releaseID{c.id, c.release}) {
		n, err := c.s.db.EstimateDiskUsage(span[0], span[1])
		if err != nil {
			return 0, c.s.wrap(err)
		}
		total += n
	}
	return total, nil
}
