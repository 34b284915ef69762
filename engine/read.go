package engine

import (
	"context"
	"fmt"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/storage"
)

// Get returns an item as it was written, or *NotFoundError. One store read.
func (c *Collection) Get(ctx context.Context, id string) (Item, error) {
	if err := c.validateIDs([]string{id}); err != nil {
		return Item{}, err
	}
	if err := ctx.Err(); err != nil {
		return Item{}, err
	}
	r, err := c.acquire()
	if err != nil {
		return Item{}, err
	}
	defer r.leave()
	return r.get(ctx, id)
}

// GetBatch returns the items that exist, in the order asked for, and the ids that do not.
func (c *Collection) GetBatch(ctx context.Context, ids []string) (found []Item, missing []string, err error) {
	if err := c.validateIDs(ids); err != nil {
		return nil, nil, err
	}
	r, err := c.acquire()
	if err != nil {
		return nil, nil, err
	}
	defer r.leave()
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		it, err := r.get(ctx, id)
		switch err.(type) { //nolint:errorlint // get returns this type unwrapped
		case nil:
			found = append(found, it)
		case *NotFoundError:
			missing = append(missing, id)
		default:
			return nil, nil, err
		}
	}
	return found, missing, nil
}

// List returns up to limit items in ascending byte order of id, beginning after the id given, and whether
// there are more. An item written or deleted between two pages may or may not be seen; no other is missed
// or seen twice.
func (c *Collection) List(ctx context.Context, after string, limit int) (items []Item, more bool, err error) {
	var p problems
	p.inRange("limit", limit, 1, c.engine.opts.Limits.MaxPage)
	if err := p.err(); err != nil {
		return nil, false, err
	}
	r, err := c.acquire()
	if err != nil {
		return nil, false, err
	}
	defer r.leave()
	now := c.engine.micros()
	for row, err := range r.rows.Items(after, 0) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, false, fmt.Errorf("list items: %w", err)
		}
		if over(row.Attributes, now) {
			continue
		}
		if len(items) == limit {
			more = true
			break
		}
		it, err := r.item(row)
		if err != nil {
			return nil, false, err
		}
		items = append(items, it)
	}
	return items, more, r.waitVisible(ctx, LSN(r.appended.Load()))
}

// Profile returns a user's profile, or *NotFoundError. One store read.
func (c *Collection) Profile(ctx context.Context, user string) (Profile, error) {
	var p problems
	p.id("user_id", user, c.engine.opts.Limits)
	if err := p.err(); err != nil {
		return Profile{}, err
	}
	if err := ctx.Err(); err != nil {
		return Profile{}, err
	}
	r, err := c.acquire()
	if err != nil {
		return Profile{}, err
	}
	defer r.leave()
	return r.profile(ctx, user)
}

func (r *release) profile(ctx context.Context, user string) (Profile, error) {
	row, err := r.rows.Profile(user)
	if err := r.durable(ctx, row.LSN, err); err != nil {
		return Profile{}, notFound(err, "user", user)
	}
	if over(row.Attributes, r.engine.micros()) {
		return Profile{}, &NotFoundError{Kind: "user", Name: clip(user)}
	}
	return r.profileOf(&row)
}

func (r *release) profileOf(row *storage.ProfileRow) (Profile, error) {
	interests, err := r.decodeInterests(row)
	if err != nil {
		return Profile{}, fmt.Errorf("profile of user %q: %w", clip(row.UserID), err)
	}
	return Profile{UserID: row.UserID, Interests: interests, ExpireTime: expiryTime(attribute.Expiry(row.Attributes)), Revision: LSN(row.LSN)}, nil
}

func (r *release) get(ctx context.Context, id string) (Item, error) {
	row, err := r.rows.Item(id)
	if err := r.durable(ctx, row.LSN, err); err != nil {
		return Item{}, notFound(err, "item", id)
	}
	if over(row.Attributes, r.engine.micros()) {
		return Item{}, &NotFoundError{Kind: "item", Name: clip(id)}
	}
	return r.item(row)
}

// durable waits until a row just read, or its absence, is durable and visible, and returns readErr or why
// it could not wait. Pebble shows a batch to readers before its fsync; without the wait a crash could take
// back what a caller has seen. A row that was visible before costs no wait.
func (r *release) durable(ctx context.Context, lsn uint64, readErr error) error {
	if readErr != nil {
		lsn = r.appended.Load()
	}
	if err := r.waitVisible(ctx, LSN(lsn)); err != nil {
		return err
	}
	return readErr
}

func (r *release) item(row storage.ItemRow) (Item, error) {
	v, err := r.decodeVector(nil, row.DType, row.Dim, row.Vector)
	if err != nil {
		return Item{}, fmt.Errorf("item %q: %w", clip(row.ID), err)
	}
	a, err := decodeAttributes(row.Attributes, nil)
	if err != nil {
		return Item{}, fmt.Errorf("item %q: %w", clip(row.ID), err)
	}
	return Item{ID: row.ID, Vector: v, Attributes: a, ExpireTime: expiryTime(attribute.Expiry(row.Attributes)), Revision: LSN(row.LSN)}, nil
}
