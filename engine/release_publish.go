package engine

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// ReleaseInfo describes a release.
type ReleaseInfo struct {
	ID    uint32
	State ReleaseState
	// JobID is that of the import that made it; empty for the release a collection is created with.
	JobID     string
	Cancelled bool
	Model     EmbeddingModel
	// Previous is the release that was published before this one; 0 where there was none.
	Previous uint32
	// Accepted, Rejected and Duplicates are of its import.
	Accepted, Rejected, Duplicates int
	// Loaded says that it is in memory.
	Loaded bool
	// Items is how many it has; known where it is loaded.
	Items                              int
	DiskBytes                          int64
	CreateTime, ReadyTime, PublishTime time.Time
}

// Releases returns the releases that are on disk, newest first.
func (c *Collection) Releases(ctx context.Context) ([]ReleaseInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.calls.leave()
	record := c.catalog()
	var infos []ReleaseInfo
	for i := range slices.Backward(record.Releases) {
		if record.Releases[i].State == ReleaseDropped {
			continue
		}
		info, err := c.releaseInfo(&record.Releases[i])
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Release returns one release, also one that was dropped, or *NotFoundError. 0 means the published one.
func (c *Collection) Release(ctx context.Context, id uint32) (ReleaseInfo, error) {
	if err := ctx.Err(); err != nil {
		return ReleaseInfo{}, err
	}
	if err := c.enter(); err != nil {
		return ReleaseInfo{}, err
	}
	defer c.calls.leave()
	record := c.catalog()
	if id == 0 {
		id = record.Published
	}
	rel := record.release(id)
	if rel == nil {
		return ReleaseInfo{}, &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
	}
	return c.releaseInfo(rel)
}

func (c *Collection) releaseInfo(rel *releaseRecord) (ReleaseInfo, error) {
	info := ReleaseInfo{ID: rel.ID, State: rel.State, JobID: rel.Job, Cancelled: rel.Cancelled, Model: rel.Model, Previous: rel.Previous,
		Accepted: rel.Counts.Accepted, Rejected: rel.Counts.Rejected, Duplicates: rel.Counts.Duplicates,
		CreateTime: rel.CreateTime, ReadyTime: rel.ReadyTime, PublishTime: rel.PublishTime}
	if rel.State == ReleaseDropped {
		return info, nil
	}
	n, err := c.engine.store.Collection(c.id, rel.ID).DiskBytes()
	if err != nil {
		return info, fmt.Errorf("size of release %d: %w", rel.ID, err)
	}
	info.DiskBytes = int64(n)
	if r := c.published.Load(); r.rows.Release() == rel.ID {
		info.Loaded, info.Items = true, r.table.len()
	} else if c.admin.TryLock() { // held for long by a publication: then the answer goes without
		if r := c.standby[rel.ID]; r != nil {
			info.Loaded, info.Items = true, r.table.len()
		}
		c.admin.Unlock()
	}
	return info, nil
}

// PublishConditions are what a release must fulfil to be published. A zero field is no condition.
type PublishConditions struct {
	// MinItems is the least number of items.
	MinItems int
	// MinItemsRatio is the least number of items relative to the published release, 0..1 or above.
	MinItemsRatio float64
	// MinRecall is the least recall@10 of a search with the default effort, on a sample, 0..1.
	MinRecall float64
	// MinOverlap is the least mean share of ten neighbors that the release has in common with the published one, over
	// sampled items that both have, 0..1.
	MinOverlap float64
	// MaxRejectRatio is the largest share of rows that the import may have refused, 0..1. Negative: none may.
	MaxRejectRatio float64
}

// ConditionError says which conditions kept a release from being published.
type ConditionError struct {
	Release    uint32
	Violations []string
}

func (e *ConditionError) Error() string {
	return fmt.Sprintf("release %d is not published: %v", e.Release, e.Violations)
}

// PublishRelease makes a release the one that serves, in one durable step: calls that began before end on the release
// they began on, later ones see the new one. Nothing written meanwhile is lost: the release has followed the log of the
// one it replaces to its end. The published release is published already: nothing happens. The one that was published is
// retired; of those that are, the newest RetainReleases are kept. Errors: *NotFoundError, *StateError,
// *ConditionError. Cost: that of loading the release where it is not loaded; writes wait for the last few records.
func (c *Collection) PublishRelease(ctx context.Context, id uint32, conditions PublishConditions) (ReleaseInfo, error) {
	if err := ctx.Err(); err != nil {
		return ReleaseInfo{}, err
	}
	if err := c.enter(); err != nil {
		return ReleaseInfo{}, err
	}
	defer c.calls.leave()
	c.admin.Lock()
	defer c.admin.Unlock()
	record := c.catalog()
	rel := record.release(id)
	switch {
	case rel == nil:
		return ReleaseInfo{}, &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
	case rel.State == ReleasePublished:
	case !rel.State.whole():
		return ReleaseInfo{}, &StateError{What: fmt.Sprintf("release %d", id), State: rel.State, Want: "READY or RETIRED"}
	default:
		if err := c.publish(ctx, rel, &conditions, record.Published); err != nil {
			return ReleaseInfo{}, err
		}
	}
	record = c.catalog()
	rel = record.release(id)
	info, err := c.releaseInfo(rel)
	info.Loaded, info.Items = true, c.published.Load().table.len()
	return info, err
}

// RollbackCollection publishes the release that was published before the one that is. Errors: *StateError where there
// is none any more.
func (c *Collection) RollbackCollection(ctx context.Context) (ReleaseInfo, error) {
	if err := ctx.Err(); err != nil {
		return ReleaseInfo{}, err
	}
	if err := c.enter(); err != nil {
		return ReleaseInfo{}, err
	}
	defer c.calls.leave()
	record := c.catalog()
	rel := record.release(record.Published)
	if back := record.release(rel.Previous); back == nil || !back.State.whole() {
		return ReleaseInfo{}, &StateError{What: fmt.Sprintf("the release before release %d", rel.ID), State: ReleaseDropped, Want: string(ReleaseRetired)}
	}
	return c.PublishRelease(ctx, rel.Previous, PublishConditions{})
}

// publish does it. c.admin is held.
func (c *Collection) publish(ctx context.Context, rel *releaseRecord, conditions *PublishConditions, from uint32) error {
	next, err := c.load(ctx, rel.ID)
	if err != nil {
		return err
	}
	if err := c.checkConditions(ctx, next, rel, conditions); err != nil {
		return err
	}
	// All whole releases are brought up to one LSN, so that each has only the published one to follow.
	followers, err := c.followers(from)
	if err != nil {
		return err
	}
	const closeEnough, rounds = maxGroupMutations / 4, 20
	src := c.published.Load()
	for range rounds {
		for _, f := range followers {
			if err := f.follow(ctx, src, LSN(src.committed.Load())); err != nil {
				return err
			}
		}
		if src.committed.Load()-next.committed.Load() <= closeEnough {
			break
		}
	}
	next.limitTrim = c.trimLimit(next)
	if err := c.inWriter(ctx, func() error { return c.swap(ctx, next, src, followers) }); err != nil {
		return err
	}
	delete(c.standby, rel.ID)
	src.replaced.Store(true)
	src.announce() // who waits there for a later write goes on at the new one
	left := make(chan struct{})
	c.leaving[from] = left
	c.background.Go(func() {
		defer close(left)
		if err := src.close(); err != nil {
			c.engine.opts.Logger.Error("release is not freed", "collection", c.cfg.Name, "release", from, "err", err)
		}
	})
	c.engine.opts.Logger.Info("release published", "collection", c.cfg.Name, "release", rel.ID, "before", from, "lsn", next.revision())
	return c.retain()
}

// swap makes next the published release. The writer runs it: nothing is written meanwhile.
func (c *Collection) swap(ctx context.Context, next, src *release, followers []*release) error {
	if err := src.failure(); err != nil {
		c.engine.opts.Logger.Warn("replacing a release that takes no writes", "err", err)
	}
	at := LSN(src.committed.Load())
	for _, f := range followers {
		if err := f.follow(ctx, src, at); err != nil {
			return err
		}
	}
	to := next.rows.Release()
	from := src.rows.Release()
	err := c.change(func(r *collectionRecord) error {
		r.release(from).State = ReleaseRetired
		rel := r.release(to)
		if rel.State == ReleaseReady {
			rel.Previous = from // a rollback does not make what it rolls back the way back
		}
		rel.State, rel.PublishTime = ReleasePublished, now()
		r.Published = to
		for i := range r.Releases {
			if u := &r.Releases[i]; u.State.unfinished() {
				u.Follow = append(u.Follow, followed{Release: from, To: at})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.published.Store(next)
	return nil
}

// inWriter has the writer run fn between two groups.
func (c *Collection) inWriter(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	select {
	case c.control <- func() { done <- fn() }:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// followers returns the whole releases other than the published one: loaded where they are, else on disk. c.admin is
// held.
func (c *Collection) followers(published uint32) ([]*release, error) {
	record := c.catalog()
	var all []*release
	for _, rel := range record.Releases {
		if rel.ID == published || !rel.State.whole() {
			continue
		}
		r := c.standby[rel.ID]
		if r == nil {
			var err error
			if r, err = c.onDisk(record, rel.ID); err != nil {
				return nil, err
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// load returns a whole release in memory. c.admin is held.
func (c *Collection) load(ctx context.Context, id uint32) (*release, error) {
	if r := c.published.Load(); r.rows.Release() == id {
		return r, nil
	}
	if r := c.standby[id]; r != nil {
		return r, nil
	}
	if err := c.awaitLeft(ctx, id); err != nil {
		return nil, err
	}
	record := c.catalog()
	r, err := recoverRelease(ctx, c.engine, c.id, &record, id, nil)
	if err != nil {
		return nil, fmt.Errorf("load release %d: %w", id, err)
	}
	r.start()
	c.standby[id] = r
	return r, nil
}

// awaitLeft waits until a release that was replaced has finished its calls, a snapshot among them. c.admin is held; no call
// that a release counts in takes it.
func (c *Collection) awaitLeft(ctx context.Context, id uint32) error {
	left, ok := c.leaving[id]
	if !ok {
		return nil
	}
	select {
	case <-left:
		delete(c.leaving, id)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trimLimit returns how the log of r is trimmed: not beyond what another release still has to follow.
func (c *Collection) trimLimit(r *release) func(uint64, func(uint64) error) error {
	return func(below uint64, fn func(uint64) error) error {
		return c.withOldestFollower(r.rows.Release(), below, fn)
	}
}

// retain drops the oldest retired releases beyond the number kept. c.admin is held.
func (c *Collection) retain() error {
	record := c.catalog()
	var retired []*releaseRecord
	for i := range record.Releases {
		if record.Releases[i].State == ReleaseRetired {
			retired = append(retired, &record.Releases[i])
		}
	}
	slices.SortFunc(retired, func(a, b *releaseRecord) int { return b.PublishTime.Compare(a.PublishTime) })
	for i, rel := range retired {
		if i < c.engine.opts.RetainReleases || record.needed(rel.ID) {
			continue
		}
		if err := c.remove(rel.ID, false); err != nil {
			return err
		}
	}
	return nil
}

// needed reports whether an unfinished release has still to read from release id.
func (r *collectionRecord) needed(id uint32) bool {
	for _, rel := range r.Releases {
		if slices.ContainsFunc(rel.Follow, func(f followed) bool { return f.Release == id }) {
			return true
		}
	}
	return false
}

// DeleteRelease removes a release that is not published, and gives its disk space back. One that is being imported is
// cancelled. Errors: *NotFoundError, *StateError of the published release and of one that an import still reads from.
func (c *Collection) DeleteRelease(ctx context.Context, id uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.leave()
	record := c.catalog()
	rel := record.release(id)
	switch {
	case rel == nil:
		return &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
	case rel.State == ReleaseDropped || rel.State == ReleaseDropping:
		return nil
	case rel.State == ReleasePublished || record.needed(id):
		return &StateError{What: fmt.Sprintf("release %d", id), State: rel.State, Want: "neither published nor followed by an import"}
	}
	c.stopBuild(rel)
	c.admin.Lock()
	defer c.admin.Unlock()
	return c.remove(id, rel.State.unfinished())
}

// CancelImport gives an unfinished import up and removes its release; the job may be started anew. Cancelling one that
// was cancelled does nothing. Errors: *NotFoundError, *StateError once the release is ready.
func (c *Collection) CancelImport(ctx context.Context, job string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.leave()
	record := c.catalog()
	rel := record.job(job)
	switch {
	case rel == nil:
		return &NotFoundError{Kind: "import", Name: clip(job)}
	case rel.Cancelled:
		return nil
	case !rel.State.unfinished():
		return &StateError{What: fmt.Sprintf("import %q", clip(job)), State: rel.State, Want: "unfinished"}
	}
	c.stopBuild(rel)
	c.admin.Lock()
	defer c.admin.Unlock()
	return c.remove(rel.ID, true)
}

// stopBuild ends the build of a release, where there is one, and the taking of rows.
func (c *Collection) stopBuild(rel *releaseRecord) {
	c.jobsMu.Lock()
	j := c.jobs[rel.Job]
	c.jobsMu.Unlock()
	if j == nil || j.release != rel.ID {
		return
	}
	j.mu.Lock()
	j.closed = true
	cancel := j.cancel
	j.mu.Unlock()
	if cancel != nil {
		cancel()
		<-j.done
	}
}

// remove drops a release in two steps, so that a crash between them leaves a record of what is to be dropped. c.admin
// is held.
func (c *Collection) remove(id uint32, cancelled bool) error {
	err := c.changeRelease(id, func(rel *releaseRecord) error {
		if rel.State == ReleasePublished || cancelled && !rel.State.unfinished() {
			return &StateError{What: fmt.Sprintf("release %d", id), State: rel.State, Want: "not in use"}
		}
		rel.State, rel.Cancelled, rel.Follow = ReleaseDropping, cancelled, nil
		return nil
	})
	if err != nil {
		return err
	}
	if r := c.standby[id]; r != nil {
		delete(c.standby, id)
		if err := r.close(); err != nil {
			return fmt.Errorf("close release %d: %w", id, err)
		}
	}
	if err := c.awaitLeft(context.Background(), id); err != nil {
		return err
	}
	return c.drop(id)
}

// drop removes the rows of a release whose state is DROPPING.
func (c *Collection) drop(id uint32) error {
	if err := c.engine.store.DropRelease(c.id, id); err != nil {
		return fmt.Errorf("drop release %d: %w", id, err)
	}
	var job string
	err := c.changeRelease(id, func(rel *releaseRecord) error {
		rel.State, job = ReleaseDropped, rel.Job
		return nil
	})
	if err != nil {
		return err
	}
	c.jobsMu.Lock()
	defer c.jobsMu.Unlock()
	if j := c.jobs[job]; j != nil && j.release == id {
		delete(c.jobs, job)
	}
	return nil
}
