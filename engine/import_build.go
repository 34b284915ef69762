package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/segue-ann/segue/internal/background"
	"github.com/segue-ann/segue/storage"
)

// CommitImport ends the taking of rows and begins the build, which goes on in the background and over restarts. A job
// that was committed before is returned as it is. Errors: *NotFoundError, *StateError of a cancelled import.
func (c *Collection) CommitImport(ctx context.Context, job string) (ImportInfo, error) {
	if err := ctx.Err(); err != nil {
		return ImportInfo{}, err
	}
	if err := c.enter(); err != nil {
		return ImportInfo{}, err
	}
	defer c.calls.leave()
	c.admin.Lock()
	defer c.admin.Unlock()
	record := c.catalog()
	rel := record.job(job)
	switch {
	case rel == nil:
		return ImportInfo{}, &NotFoundError{Kind: "import", Name: clip(job)}
	case rel.Cancelled:
		return ImportInfo{}, &StateError{What: fmt.Sprintf("import %q", clip(job)), State: rel.State, Want: string(ReleaseImporting)}
	case rel.State != ReleaseImporting:
		return c.importInfo(rel)
	}
	j, err := c.openJob(rel)
	if err != nil {
		return ImportInfo{}, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.flush(); err != nil {
		return ImportInfo{}, err
	}
	if err := j.hasGraph(); err != nil {
		return ImportInfo{}, err
	}
	err = c.changeRelease(rel.ID, func(r *releaseRecord) error {
		r.State = ReleaseBuilding
		return nil
	})
	if err != nil {
		return ImportInfo{}, err
	}
	j.closed = true
	c.startBuild(j)
	return ImportInfo{JobID: job, Release: rel.ID, State: ReleaseBuilding, Model: rel.Model, Sequence: j.progress.Sequence,
		Accepted: j.progress.Accepted, Rejected: j.progress.Rejected, CreateTime: rel.CreateTime}, nil
}

// WaitImport waits until the build of a committed import has ended, and returns how.
func (c *Collection) WaitImport(ctx context.Context, job string) (ImportInfo, error) {
	c.jobsMu.Lock()
	j := c.jobs[job]
	c.jobsMu.Unlock()
	if j != nil {
		select {
		case <-j.done:
		case <-ctx.Done():
			return ImportInfo{}, ctx.Err()
		}
	}
	return c.Import(ctx, job)
}

// resume goes on with what a restart interrupted: builds, and the dropping of releases.
func (c *Collection) resume() {
	record := c.catalog()
	for i := range record.Releases {
		rel := &record.Releases[i]
		switch rel.State {
		case ReleaseBuilding:
			j, err := c.openJob(rel)
			if err != nil {
				c.engine.opts.Logger.Error("import cannot go on", "collection", c.cfg.Name, "job", rel.Job, "err", err)
				continue
			}
			j.closed = true
			c.startBuild(j)
		case ReleaseDropping:
			c.background.Go(func() {
				if err := c.drop(rel.ID); err != nil {
					c.engine.opts.Logger.Error("release is not dropped", "collection", c.cfg.Name, "release", rel.ID, "err", err)
				}
			})
		}
	}
}

// startBuild builds a job's release in the background.
func (c *Collection) startBuild(j *importJob) {
	var ctx context.Context
	ctx, j.cancel = context.WithCancel(c.ctx)
	c.background.Go(func() {
		defer close(j.done)
		defer j.cancel()
		log := c.engine.opts.Logger.With("collection", c.cfg.Name, "job", j.id, "release", j.release)
		began := time.Now()
		switch err := j.build(ctx); {
		case err == nil:
			log.Info("release is ready", "items", j.built.Load(), "took", time.Since(began).Round(time.Millisecond))
		case ctx.Err() != nil:
			// Closed or cancelled: what was built so far is in a snapshot, or will be built again.
		default:
			j.err.Store(&err)
			log.Error("release is not built", "err", err)
		}
	})
}

// build makes the graph over the release's rows, brings it up to date, and makes it ready.
func (j *importJob) build(ctx context.Context) (err error) {
	c := j.c
	record := c.catalog()
	r, err := newRelease(c.engine, c.id, &record, j.release)
	if err != nil {
		return err
	}
	if c.engine.opts.IdleThreads {
		r.threads = background.NewPool(background.Processors())
		defer r.threads.Close()
	}
	keep := false
	defer func() {
		if !keep {
			err = errors.Join(err, r.close())
		}
	}()
	partial, err := r.loadPartial(ctx)
	if err != nil {
		return err
	}
	graph, taken := record.release(j.release).Graph, false
	if graph != nil && !partial {
		if taken, err = j.takeGraph(ctx, r); err != nil {
			return err
		}
	}
	r.setLSN(j.base)
	r.snapshotLSN.Store(uint64(j.base))
	r.building.Store(true)
	r.start()
	var saved SnapshotInfo
	if taken {
		// Before a write that follows changes a row that the graph was built over: whatever happens now, it is this graph.
		saved, err = r.saveBuilt(ctx)
	} else {
		err = j.insert(ctx, r)
	}
	if err != nil {
		return err
	}
	items := r.table.len()
	// From here on nobody else may publish, since this release follows the published one.
	c.admin.Lock()
	defer c.admin.Unlock()
	if err := j.inheritProfiles(ctx, r); err != nil {
		return err
	}
	last, err := r.rows.LastLSN()
	if err != nil {
		return fmt.Errorf("read last LSN: %w", err)
	}
	// What it followed before a restart is in its rows and, up to here, in no snapshot.
	replayed := r.within(ctx, func() { err = r.replay(ctx, j.base, atOnce) })
	if err := errors.Join(replayed, err); err != nil {
		return err
	}
	if r.committed.Load() != last {
		return fmt.Errorf("the log of release %d ends at %d, replay at %d", j.release, last, r.committed.Load())
	}
	if err := c.catchUp(ctx, r); err != nil {
		return err
	}
	if !taken || r.committed.Load() != uint64(saved.LSN) {
		if saved, err = r.saveBuilt(ctx); err != nil {
			return err
		}
	}
	// Older generations hold a part of the items, or of the writes since: none may ever be recovered from.
	if err := r.dropSnapshotsBefore(saved.Generation); err != nil {
		return err
	}
	if graph != nil {
		if err := r.rows.DropImportGraph(); err != nil {
			return fmt.Errorf("drop the parts of the graph: %w", err)
		}
	}
	err = c.changeRelease(j.release, func(rel *releaseRecord) error {
		rel.State, rel.ReadyTime, rel.Follow = ReleaseReady, now(), nil
		j.mu.Lock()
		defer j.mu.Unlock()
		p := j.progress
		rel.Counts = counts{Accepted: p.Accepted, Rejected: p.Rejected, Duplicates: max(p.Accepted-p.Profiles-items, 0)}
		return nil
	})
	if err != nil {
		return err
	}
	r.building.Store(false)
	keep = true
	c.standby[j.release] = r
	return nil
}

// loadPartial installs the newest snapshot of an interrupted build, and reports whether there was an intact one.
func (r *release) loadPartial(ctx context.Context) (partial bool, err error) {
	kept, err := r.rows.Snapshots()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	for _, k := range kept {
		err := r.restore(ctx, k)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		r.engine.opts.Logger.Warn("snapshot of an unfinished build is not usable", "generation", k.Generation, "err", err)
	}
	return false, nil
}

// dropSnapshotsBefore drops every generation below gen.
func (r *release) dropSnapshotsBefore(gen uint64) error {
	kept, err := r.rows.Snapshots()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, k := range kept {
		if k.Generation < gen {
			if err := r.rows.DropSnapshot(k.Generation); err != nil {
				return fmt.Errorf("drop snapshot %d: %w", k.Generation, err)
			}
		}
	}
	return nil
}

// buildPageBytes is about how many bytes of vectors a build reads from the store at a time.
const buildPageBytes = 32 << 20

// insert puts every row of the store that is not in the graph yet into it.
func (j *importJob) insert(ctx context.Context, r *release) error {
	j.mu.Lock()
	total := j.progress.Accepted - j.progress.Profiles
	j.mu.Unlock()
	j.built.Store(int64(r.table.len()))
	j.before.Store(int64(r.table.len()))
	j.start.Store(time.Now().UnixNano())
	j.total.Store(int64(total))
	page := min(max(buildPageBytes/(4*r.cfg.Dim), 256), 1<<16)
	rng := rand.New(rand.NewPCG(uint64(j.release), uint64(r.rows.ID()))) //nolint:gosec // an order, not a secret
	unsaved := 0
	for after := ""; ; {
		var (
			muts []mutation
			last string
			err  error
		)
		r.engine.inBackground(func() { muts, last, err = r.readPage(after, page) })
		if err != nil {
			return err
		}
		if last == "" {
			return nil
		}
		after = last
		// Neighbours in order of id are often neighbours in space; inserted side by side they would not find each other.
		rng.Shuffle(len(muts), func(a, b int) { muts[a], muts[b] = muts[b], muts[a] })
		for len(muts) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(len(muts), maxGroupMutations)
			g := &writeGroup{writes: []*write{{mutations: muts[:n], done: make(chan error, 1)}}, mutations: muts[:n]}
			if err := r.hasRoom(n); err != nil {
				return err
			}
			if err := r.applyNow(g); err != nil {
				return err
			}
			muts, unsaved = muts[n:], unsaved+n
			j.built.Store(int64(r.table.len()))
		}
		if unsaved >= r.engine.opts.BuildSnapshotItems {
			unsaved = 0
			if _, err := r.saveBuilt(ctx); err != nil {
				return err
			}
		}
	}
}

// saveBuilt makes durable what was built so far.
func (r *release) saveBuilt(ctx context.Context) (info SnapshotInfo, err error) {
	r.engine.inBackground(func() { info, err = r.createSnapshot(ctx) })
	if err != nil {
		return info, fmt.Errorf("snapshot: %w", err)
	}
	return info, nil
}

// readPage reads up to limit rows after an id and returns those that the table lacks. last is the id of the last row read, empty at the end.
func (r *release) readPage(after string, limit int) (muts []mutation, last string, err error) {
	for row, err := range r.rows.Items(after, limit) {
		if err != nil {
			return nil, "", fmt.Errorf("read items: %w", err)
		}
		last = row.ID
		if slot, ok := r.table.slotOf(row.ID); ok && r.table.entries.at(slot).lsn() >= LSN(row.LSN) {
			continue
		}
		m, err := r.putOf(row)
		if err != nil {
			return nil, "", err
		}
		muts = append(muts, m)
	}
	return muts, last, nil
}

// inheritProfiles copies the profiles of the published release, where the vectors are of the same model and the import
// brought none of that user. Profiles written after the import began come with the log.
func (j *importJob) inheritProfiles(ctx context.Context, r *release) error {
	src := j.c.published.Load()
	if src.model != r.model {
		return nil
	}
	var chunk storage.ImportChunk
	size := 0
	flush := func() error {
		j.mu.Lock()
		defer j.mu.Unlock()
		chunk.Progress = j.progress.encode()
		if err := j.rows.Import(chunk); err != nil {
			return fmt.Errorf("inherit profiles: %w", err)
		}
		chunk, size = storage.ImportChunk{}, 0
		return ctx.Err()
	}
	for after, more := "", true; more; {
		more = false
		for row, err := range src.rows.Profiles(after, 1024) {
			if err != nil {
				return fmt.Errorf("inherit profiles: %w", err)
			}
			after, more = row.UserID, true
			if row.LSN > uint64(j.base) {
				continue
			}
			if _, err := j.rows.Profile(row.UserID); err == nil {
				continue
			} else if !errors.Is(err, storage.ErrNotFound) {
				return fmt.Errorf("inherit profiles: %w", err)
			}
			row.Vectors, row.Attributes = append([]byte(nil), row.Vectors...), append([]byte(nil), row.Attributes...)
			chunk.Profiles = append(chunk.Profiles, row)
			size += len(row.Vectors)
		}
		if size >= importChunkBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(chunk.Profiles) == 0 {
		return nil
	}
	return flush()
}

// How long after a read a build on ordinary threads leaves half of the processors alone, and how long its goroutines sleep then.
const (
	yieldAfterRead = 5 * time.Millisecond
	yieldSleep     = time.Millisecond
)

// yield lets reads go first where threads do not: between two inserts every goroutine of a build lets others run, and while
// reads come, the upper half of them sleeps, as long as there is more for the others to do.
func (r *release) yield(worker int, more func() bool) {
	for worker > 0 && 2*worker >= runtime.GOMAXPROCS(0) && r.engine.readSince(yieldAfterRead) && more() {
		select {
		case <-time.After(yieldSleep):
		case <-r.closing:
			return
		}
	}
	runtime.Gosched()
}
