package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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
}

// maxUpdateBytes bounds the vectors that one call makes the writer read.
const maxUpdateBytes = 64 << 20

// UpdateAttributes changes attributes of the items that exist, in the order given, and returns the ids that do not. It is durable
// and visible as Upsert is, and touches neither vectors nor graph. All or nothing but for missing items. Errors: those of Upsert;
// *InvalidError also where an item would have more attributes than it may. Cost: a read of each item's row, and its rewrite.
func (c *Collection) UpdateAttributes(ctx context.Context, updates []AttributesUpdate) (missing []string, rev LSN, err error) {
	var p problems
	// The writer reads and rewrites a vector for each.
	p.batch("updates", len(updates), min(c.engine.opts.Limits.MaxBatch, maxUpdateBytes/(4*c.cfg.Dim)))
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	sorted := slices.Clone(updates)
	for i := range sorted {
		if p.full() {
			break
		}
		u := &sorted[i]
		field := fmt.Sprintf("updates[%d]", i)
		u.Set = u.Set.Sorted()
		p.id(field+".id", u.ID, c.engine.opts.Limits)
		p.attributes(field+".attributes", u.Set, c.schema, c.engine.opts.Limits)
		if n := len(u.Remove); n > c.engine.opts.Limits.MaxAttributes {
			p.add(ReasonOutOfRange, field+".remove", "must be at most %d, are %d", c.engine.opts.Limits.MaxAttributes, n)
		}
	}
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	w := &write{updates: sorted}
	if err := c.submit(ctx, w); err != nil {
		return nil, 0, err
	}
	if len(w.mutations) == 0 {
		return w.missing, c.Revision(), nil
	}
	return w.missing, w.lastLSN(), nil
}

// resolveUpdates turns the updates of a group into puts of whole rows: recovery, releases and snapshots know no other change of
// an item. Writes that come to nothing are answered and leave the group. The writer calls it; it alone changes rows, so what it
// reads is what it replaces.
func (r *release) resolveUpdates(g *writeGroup) {
	if !slices.ContainsFunc(g.writes, func(w *write) bool { return w.updates != nil }) {
		return
	}
	newest := make(map[string]*mutation) // by id, of this group
	g.writes = slices.DeleteFunc(g.writes, func(w *write) bool {
		err := r.resolveWrite(w, newest)
		if err != nil || len(w.mutations) == 0 {
			w.done <- err
			return true
		}
		for i := range w.mutations {
			if m := &w.mutations[i]; m.kind == storage.LogPutItem || m.kind == storage.LogDeleteItem {
				newest[m.id] = m
			}
		}
		return false
	})
}

// resolveWrite makes the mutations of one write. newest holds those of writes before it in the group.
func (r *release) resolveWrite(w *write, newest map[string]*mutation) error {
	if w.updates == nil {
		return nil
	}
	own := make(map[string]int, len(w.updates))
	muts := make([]mutation, 0, len(w.updates))
	for i := range w.updates {
		u := &w.updates[i]
		m := newest[u.ID]
		if at, again := own[u.ID]; again {
			m = &muts[at]
		}
		if m == nil {
			read, err := r.readPut(u.ID)
			if err != nil {
				return err
			}
			m = read
		}
		if m.kind == storage.LogDeleteItem {
			w.missing = append(w.missing, u.ID)
			continue
		}
		changed := *m
		changed.keepsVector = true
		var err error
		if changed.attributes, err = u.apply(m.attributes, r.engine.opts.Limits, i); err != nil {
			return err
		}
		own[u.ID] = len(muts)
		muts = append(muts, changed)
	}
	w.mutations = muts
	return nil
}

// readPut returns the stored item as the put that would write it, or a delete where there is none.
func (r *release) readPut(id string) (*mutation, error) {
	row, err := r.rows.Item(id)
	if errors.Is(err, storage.ErrNotFound) {
		return &mutation{kind: storage.LogDeleteItem, id: id}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("item %q: %w", clip(id), err)
	}
	m, err := r.putOf(row)
	m.row = row.Vector
	return &m, err
}

// apply returns the encoded attributes after the update, which is number i of its call.
func (u *AttributesUpdate) apply(old []byte, l Limits, i int) ([]byte, error) {
	var kept Attributes
	if !u.ReplaceAll {
		var err error
		if kept, err = attribute.Decode(old, nil); err != nil {
			return nil, fmt.Errorf("item %q: %w", clip(u.ID), err)
		}
		kept = slices.DeleteFunc(kept, func(a Attribute) bool {
			_, set := u.Set.Get(a.Name)
			return set || slices.Contains(u.Remove, a.Name)
		})
	}
	all := append(kept, u.Set...)
	slices.SortFunc(all, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
	var p problems
	p.attributes(fmt.Sprintf("updates[%d].attributes", i), all, nil, l) // of the item as a whole: how many, and how many bytes
	return attribute.Append(nil, all), p.err()
}
