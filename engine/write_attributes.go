package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/storage"
)

// AttributesUpdate changes attributes of one item and leaves its vector alone.
type AttributesUpdate struct {
	ID string
	// Set holds new values by name, in any order, each name once.
	Set Attributes
	// Remove names attributes to remove; one that the item lacks is no error. No name is in Set too.
	Remove []string
	// ReplaceAll removes every attribute that Set does not name.
	ReplaceAll bool
	// ExpireTime, unless it is nil, is when the item expires from now on; the zero time is never.
	ExpireTime *time.Time
	// IfRevision, unless it is nil, is the revision that the item must have, or the write fails with *RevisionMismatchError as
	// a whole. An item that does not exist is missing, whatever its revision was.
	IfRevision *LSN
}

// maxUpdateBytes bounds the vectors that one call makes the writer read.
const maxUpdateBytes = 64 << 20

// UpdateAttributes changes attributes of the items that exist, in the order given, and returns the ids that do not. It is durable
// and visible as Upsert is, and touches neither vectors nor graph. All or nothing but for missing items. Errors: those of Upsert;
// *InvalidError also where an item would have more attributes than it may. Cost: a read of each item's row, and its rewrite.
func (c *Collection) UpdateAttributes(ctx context.Context, updates []AttributesUpdate) (missing []string, rev LSN, err error) {
	return c.UpdateAttributesWith(ctx, updates, WriteOptions{})
}

// UpdateAttributesWith is UpdateAttributes under conditions.
func (c *Collection) UpdateAttributesWith(ctx context.Context, updates []AttributesUpdate, o WriteOptions) (missing []string, rev LSN, err error) {
	var p problems
	p.requestID(o.RequestID, c.engine.opts.Limits)
	// The writer reads and rewrites a vector for each.
	p.batch("updates", len(updates), min(c.engine.opts.Limits.MaxBatch, maxUpdateBytes/(4*c.cfg.Dim)))
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	sorted, now := slices.Clone(updates), c.engine.micros()
	for i := range sorted {
		if p.full() {
			break
		}
		u := &sorted[i]
		field := fmt.Sprintf("updates[%d]", i)
		u.Set = u.Set.Sorted()
		p.id(field+".id", u.ID, c.engine.opts.Limits)
		p.attributes(field+".attributes", u.Set, c.schema, c.engine.opts.Limits)
		if u.ExpireTime != nil {
			p.expiry(field+".expire_time", *u.ExpireTime, now)
		}
		if n := len(u.Remove); n > c.engine.opts.Limits.MaxAttributes {
			p.add(ReasonOutOfRange, field+".remove", "must be at most %d, are %d", c.engine.opts.Limits.MaxAttributes, n)
		}
	}
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	w := &write{updates: sorted, model: o.Model}
	w.identify(o.RequestID)
	if err := c.submit(ctx, w); err != nil {
		return nil, 0, err
	}
	return w.missing, w.rev, nil
}

// readPut returns the stored item as the put that would write it, without its vector's components, or a delete where there is none.
func (r *release) readPut(id string) (*mutation, error) {
	row, err := r.rows.Item(id)
	if errors.Is(err, storage.ErrNotFound) {
		return &mutation{kind: storage.LogDeleteItem, id: id}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("item %q: %w", clip(id), err)
	}
	if err := r.checkVector(row.DType, row.Dim, row.Vector); err != nil {
		return nil, fmt.Errorf("item %q: %w", clip(id), err)
	}
	return &mutation{
		kind: storage.LogPutItem, id: id, lsn: LSN(row.LSN), row: row.Vector, attributes: row.Attributes, keepsVector: true,
	}, nil
}

// apply returns the encoded attributes after the update, which is number i of its call.
func (u *AttributesUpdate) apply(old []byte, l Limits, i int) ([]byte, error) {
	expiry := attribute.Expiry(old)
	if u.ExpireTime != nil {
		expiry = expiryMicros(*u.ExpireTime)
	}
	change := attribute.Update{Set: u.Set, Remove: u.Remove, ReplaceAll: u.ReplaceAll}
	all, count, size, err := change.Append(nil, old, expiry)
	if err != nil {
		return nil, fmt.Errorf("item %q: %w", clip(u.ID), err)
	}
	// Of the item as a whole: how many, and how many bytes.
	if count > l.MaxAttributes || size > l.MaxAttributeBytes {
		var p problems
		field := fmt.Sprintf("updates[%d].attributes", i)
		if count > l.MaxAttributes {
			p.add(ReasonOutOfRange, field, "must be at most %d, are %d", l.MaxAttributes, count)
		} else {
			p.attributeBytes(field, size, l)
		}
		return nil, p.err()
	}
	return all, nil
}
