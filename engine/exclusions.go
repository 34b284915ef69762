package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/storage"
)

// Exclusions names items that a search must not return, whatever their score.
type Exclusions struct {
	// ItemIDs are at most Limits.MaxBatch ids. Ids without an item are no error.
	ItemIDs []string
	// Sets are at most MaxExclusionSets names of exclusion sets. A set that was never written to is empty.
	Sets []string
	// Attributes exclude the items that have one of some values (a blocked artist).
	Attributes []AttributeExclusion
	// Bitmap excludes the items whose attribute has a value in a bitmap; nil excludes none.
	Bitmap *BitmapExclusion
}

// none says that nothing is excluded.
func (x *Exclusions) none() bool {
	return len(x.ItemIDs) == 0 && len(x.Sets) == 0 && len(x.Attributes) == 0 && x.Bitmap == nil
}

// AttributeExclusion excludes the items whose attribute has one of the values, by the rules of a filter.
type AttributeExclusion struct {
	Attribute string
	Values    []Value
}

// BitmapExclusion excludes the items whose attribute, which is an INT, has a value in the bitmap.
type BitmapExclusion struct {
	Attribute string
	Values    *filter.Bitmap
}

// DecodeBitmapExclusion reads what a request excludes by bitmap; see filter.DecodeBitmap. Errors: *InvalidError of field "roaring".
func DecodeBitmapExclusion(name string, data []byte) (*BitmapExclusion, error) {
	values, bad := filter.DecodeBitmap(data)
	if bad != nil {
		return nil, &InvalidError{Violations: []Violation{{Reason: filterReasons[bad.Kind], Field: "roaring", Rule: bad.Rule}}}
	}
	return &BitmapExclusion{Attribute: name, Values: values}, nil
}

// condition is what an item that is excluded fulfils.
func (x *BitmapExclusion) condition() Filter {
	return Filter{Op: filter.InBitmap, Attribute: x.Attribute, Bitmap: x.Values}
}

// MaxExclusionSets bounds the sets of one search.
const MaxExclusionSets = 16

// Exclusion is one entry of an exclusion set.
type Exclusion struct {
	ItemID string
	// ExpireTime is when the entry expires, UTC; the zero time where it never does.
	ExpireTime time.Time
}

// AddExclusions adds items to an exclusion set, until expire or, where that is the zero time, for ever. It returns once that is
// durable; every search that begins later heeds it. Items that are in the set already get the new time. Errors: *InvalidError,
// LowSpaceError. Cost: one synced write, whatever the set holds.
func (c *Collection) AddExclusions(ctx context.Context, set string, ids []string, expire time.Time) error {
	var p problems
	c.exclusionProblems(&p, set, ids)
	p.expiry("expire_time", expire, c.engine.micros())
	if err := p.err(); err != nil {
		return err
	}
	return c.changeExclusions(ctx, set, func(cached *exclusionCache, key exclusionKey, r *release) error {
		rows, micros := make([]storage.ExclusionRow, len(ids)), expiryMicros(expire)
		for i, id := range ids {
			rows[i] = storage.ExclusionRow{ItemID: id, ExpireTime: micros}
		}
		if err := c.engine.store.PutExclusions(c.id, set, rows); err != nil {
			return fmt.Errorf("add to exclusion set %q: %w", clip(set), err)
		}
		cached.add(key, r, ids, micros)
		return nil
	})
}

// RemoveExclusions removes items from an exclusion set, with the guarantees of AddExclusions. Items that are not in it are no error.
func (c *Collection) RemoveExclusions(ctx context.Context, set string, ids []string) error {
	var p problems
	c.exclusionProblems(&p, set, ids)
	if err := p.err(); err != nil {
		return err
	}
	return c.changeExclusions(ctx, set, func(cached *exclusionCache, key exclusionKey, r *release) error {
		if err := c.engine.store.DeleteExclusions(c.id, set, ids); err != nil {
			return fmt.Errorf("remove from exclusion set %q: %w", clip(set), err)
		}
		cached.remove(key, r, ids)
		return nil
	})
}

// DeleteExclusionSet removes every entry of an exclusion set, with the guarantees of AddExclusions.
func (c *Collection) DeleteExclusionSet(ctx context.Context, set string) error {
	var p problems
	p.id("exclusion_set", set, c.engine.opts.Limits)
	if err := p.err(); err != nil {
		return err
	}
	return c.changeExclusions(ctx, set, func(cached *exclusionCache, key exclusionKey, _ *release) error {
		if err := c.engine.store.DropExclusionSet(c.id, set); err != nil {
			return fmt.Errorf("delete exclusion set %q: %w", clip(set), err)
		}
		cached.forget(key)
		return nil
	})
}

// ExclusionSet returns up to limit entries of an exclusion set that have not expired, in ascending byte order of item id, beginning after
// the id given, and whether there may be more.
func (c *Collection) ExclusionSet(ctx context.Context, set, after string, limit int) (entries []Exclusion, more bool, err error) {
	var p problems
	p.id("exclusion_set", set, c.engine.opts.Limits)
	p.inRange("limit", limit, 1, c.engine.opts.Limits.MaxPage)
	if err := p.err(); err != nil {
		return nil, false, err
	}
	if err := c.enter(); err != nil {
		return nil, false, err
	}
	defer c.calls.leave()
	now := c.engine.micros()
	for row, err := range c.engine.store.Exclusions(c.id, set, after, 0) {
		if err != nil {
			return nil, false, fmt.Errorf("read exclusion set %q: %w", clip(set), err)
		}
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		if row.ExpireTime != 0 && row.ExpireTime <= now {
			continue
		}
		if len(entries) == limit {
			return entries, true, nil
		}
		entries = append(entries, Exclusion{ItemID: row.ItemID, ExpireTime: expiryTime(row.ExpireTime)})
	}
	return entries, false, nil
}

func (c *Collection) exclusionProblems(p *problems, set string, ids []string) {
	p.id("exclusion_set", set, c.engine.opts.Limits)
	p.batch("item_ids", len(ids), c.engine.opts.Limits.MaxBatch)
	for i, id := range ids {
		if p.full() || len(ids) > c.engine.opts.Limits.MaxBatch {
			break
		}
		p.id(fmt.Sprintf("item_ids[%d]", i), id, c.engine.opts.Limits)
	}
}

// changeExclusions runs one change of a set. Changes of one set follow one another, in the store as in the cache.
func (c *Collection) changeExclusions(ctx context.Context, set string, change func(*exclusionCache, exclusionKey, *release) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.leave()
	cached, key := &c.engine.exclusions, exclusionKey{c.id, set}
	unlock := cached.lockWrites(key)
	defer unlock()
	return change(cached, key, c.published.Load())
}
