package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/segue-ann/segue/storage"
)

// releaseChecker checks one release.
type releaseChecker struct {
	*checker
	collection uint32
	record     *collectionRecord
	id         uint32
	where      string
}

// open returns the release without any state.
func (c *releaseChecker) open() (*release, error) {
	return newRelease(c.e, c.collection, c.record, c.id)
}

// whole recovers the release from each of its snapshots, or from its items where it has none, and compares what comes of it with the
// rows: a snapshot that is not the newest, or that recovery would pass over in silence, has to be right too.
func (c *releaseChecker) whole(ctx context.Context) error {
	kept, err := c.e.store.Collection(c.collection, c.id).Snapshots()
	if err != nil {
		c.find(c.where, "snapshots cannot be listed: %v", err)
	}
	usable := 0
	for _, k := range kept {
		where := fmt.Sprintf("%s, snapshot %d", c.where, k.Generation)
		ok, err := c.recovered(ctx, where, func(r *release) (LSN, error) { return LSN(k.LSN), r.restore(ctx, k) })
		if err != nil {
			return err
		}
		if ok {
			usable++
		}
	}
	if usable > 0 {
		return nil
	}
	_, err = c.recovered(ctx, c.where, func(r *release) (LSN, error) {
		last, err := r.rows.LastLSN()
		if err != nil {
			return 0, err
		}
		return LSN(last), r.rebuild(ctx)
	})
	return err
}

// recovered recovers the release by load and the log behind it, and reports what does not agree with its rows. It says whether
// there was anything to compare.
func (c *releaseChecker) recovered(ctx context.Context, where string, load func(*release) (LSN, error)) (ok bool, err error) {
	r, err := c.open()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.index.Close()) }()
	from, err := load(r)
	if err == nil {
		err = r.replay(ctx, from, later)
	}
	if err == nil {
		err = r.shorten(ctx, 0)
	}
	if err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		c.find(where, "cannot be recovered: %v", err)
		return false, nil
	}
	at := releaseChecker{checker: c.checker, collection: c.collection, record: c.record, id: c.id, where: where}
	if err := r.index.Check(); err != nil {
		at.find(where+", graph", "%v", err)
	}
	return true, at.rows(ctx, r)
}

// rows checks items and profiles, each by itself, and items against what recovery made of them, unless r is nil.
func (c *releaseChecker) rows(ctx context.Context, r *release) error {
	plain, err := c.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.index.Close()) }()
	schema := c.record.Config.schema()
	vectorAt := func(uint32) []float32 { return nil }
	if r != nil {
		s := r.index.Acquire()
		defer s.Release()
		vectorAt = s.Vector
	}
	items := 0
	for row, err := range plain.rows.Items("", 0) {
		if err != nil {
			c.find(c.where+", items", "%v", err)
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		items++
		problem := plain.checkRow(row.DType, row.Dim, row.Vector, row.Attributes, schema)
		if problem == "" && r != nil {
			problem = r.checkItem(vectorAt, row)
		}
		if problem != "" {
			c.find(fmt.Sprintf("%s, item %q", c.where, row.ID), "%s", problem)
		}
	}
	if r != nil {
		if n := r.index.Len(); n != items || r.table.len() != items {
			c.find(c.where, "%d items stored, %d in the graph, %d in the table", items, n, r.table.len())
		}
	}
	for row, err := range plain.rows.Profiles("", 0) {
		if err != nil {
			c.find(c.where+", profiles", "%v", err)
			return nil
		}
		if problem := plain.checkProfile(&row); problem != "" {
			c.find(fmt.Sprintf("%s, profile of %q", c.where, row.UserID), "%s", problem)
		}
	}
	return ctx.Err()
}

// checkRow says what is wrong with an item's row by itself.
func (r *release) checkRow(dtype uint8, dim uint32, vector, encoded []byte, schema map[string]AttributeType) (problem string) {
	v, err := r.decodeVector(nil, dtype, dim, vector)
	if err != nil {
		return err.Error()
	}
	if problem := r.badVector(v); problem != "" {
		return problem
	}
	attributes, err := decodeAttributes(encoded, nil)
	if err != nil {
		return "attributes: " + err.Error()
	}
	for i, a := range attributes {
		want, declared := schema[a.Name]
		switch {
		case i > 0 && a.Name <= attributes[i-1].Name:
			return fmt.Sprintf("attribute %q is out of order", a.Name)
		case schema != nil && !declared:
			return fmt.Sprintf("attribute %q is not in the schema", a.Name)
		case schema != nil && a.Value.Type != want:
			return fmt.Sprintf("attribute %q is %v, the schema has %v", a.Name, a.Value.Type, want)
		}
	}
	return ""
}

// badVector says what keeps a vector from being one of the release.
func (r *release) badVector(v []float32) (problem string) {
	zero := true
	for i, x := range v {
		if x-x != 0 {
			return fmt.Sprintf("component %d is %g", i, x)
		}
		zero = zero && x == 0
	}
	if zero && r.cfg.Metric == Cosine {
		return "the vector is zero, which has no direction"
	}
	return ""
}

// checkProfile says what is wrong with a profile.
func (r *release) checkProfile(row *storage.ProfileRow) (problem string) {
	interests, err := r.decodeInterests(row)
	if err != nil {
		return err.Error()
	}
	for i, in := range interests {
		if problem := r.badVector(in.Vector); problem != "" {
			return fmt.Sprintf("interest %d: %s", i, problem)
		}
		if !(in.Weight > 0 && in.Weight <= MaxWeight) { // also NaN
			return fmt.Sprintf("interest %d has weight %g", i, in.Weight)
		}
	}
	attributes, err := decodeAttributes(row.Attributes, nil)
	switch {
	case err != nil:
		return "attributes: " + err.Error()
	case len(attributes) > 0:
		return "it has attributes"
	}
	return ""
}

// importRows checks what is kept of an import.
func (c *releaseChecker) importRows(rel *releaseRecord) {
	rows := c.e.store.Collection(c.collection, c.id)
	b, err := rows.ImportProgress()
	if errors.Is(err, storage.ErrNotFound) {
		if rel.Counts != (counts{}) {
			c.find(c.where+", import", "its progress is missing")
		}
		return
	}
	var p importProgress
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		c.find(c.where+", import", "progress: %v", err)
		return
	}
	n := 0
	for b, err := range rows.ImportRejects(0) {
		var r Reject
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err == nil && (r.Reason == "" || r.Sequence > p.Sequence) {
			err = fmt.Errorf("of batch %d of %d, for reason %q", r.Sequence, p.Sequence, r.Reason)
		}
		if err != nil {
			c.find(fmt.Sprintf("%s, import, reject %d", c.where, n), "%v", err)
			return
		}
		n++
	}
	switch {
	case p.Accepted < 0 || p.Profiles < 0 || p.Profiles > p.Accepted || p.Kept < 0 || p.Kept > p.Rejected:
		c.find(c.where+", import", "impossible progress: %+v", p)
	case n != p.Kept:
		c.find(c.where+", import", "%d rejects are stored, %d were kept", n, p.Kept)
	case rel.State.whole() && (rel.Counts.Accepted != p.Accepted || rel.Counts.Rejected != p.Rejected):
		c.find(c.where+", import", "%d rows accepted and %d rejected, the catalog has %d and %d", p.Accepted, p.Rejected, rel.Counts.Accepted, rel.Counts.Rejected)
	}
}

// check says what is wrong with a request that is remembered.
func (r *request) check() error {
	switch {
	case r.ID == "" || len(r.ID) > MaxRequestIDBytes:
		return fmt.Errorf("an id of %d bytes", len(r.ID))
	case len(r.Digest) == 0:
		return errors.New("no digest")
	case r.Time <= 0 || r.Time > math.MaxInt64/2:
		return fmt.Errorf("made at %d", r.Time)
	}
	return nil
}

// check says which invariant of a record is broken.
func (r *collectionRecord) check(name string, l Limits) error {
	if r.Config.Name != name {
		return fmt.Errorf("the configuration is that of %q", r.Config.Name)
	}
	if err := r.Config.validate(l); err != nil {
		return err
	}
	jobs := make(map[string]bool)
	for i := range r.Releases {
		rel := &r.Releases[i]
		switch {
		case i > 0 && rel.ID <= r.Releases[i-1].ID:
			return fmt.Errorf("release %d stands behind release %d", rel.ID, r.Releases[i-1].ID)
		case !rel.State.known():
			return fmt.Errorf("release %d is in the unknown state %q", rel.ID, rel.State)
		case (rel.State == ReleasePublished) != (rel.ID == r.Published):
			return fmt.Errorf("release %d is %s, release %d is published", rel.ID, rel.State, r.Published)
		case rel.State.unfinished() && rel.Job == "":
			return fmt.Errorf("release %d is %s by no job", rel.ID, rel.State)
		case len(rel.Follow) > 0 && !rel.State.unfinished():
			return fmt.Errorf("release %d is %s and follows others", rel.ID, rel.State)
		case jobs[rel.Job]:
			return fmt.Errorf("two releases are of job %q", rel.Job)
		}
		jobs[rel.Job] = rel.Job != "" && rel.State != ReleaseDropped && rel.State != ReleaseDropping && !rel.Cancelled
	}
	return nil
}

// known says that the state is one of those above.
func (s ReleaseState) known() bool {
	return s.whole() || s.unfinished() || s == ReleaseDropping || s == ReleaseDropped
}

// schema returns the types of the declared attributes, nil where the schema is open.
func (c *CollectionConfig) schema() map[string]AttributeType {
	if len(c.Attributes) == 0 {
		return nil
	}
	schema := make(map[string]AttributeType, len(c.Attributes))
	for _, a := range c.Attributes {
		schema[a.Name] = a.Type
	}
	return schema
}
