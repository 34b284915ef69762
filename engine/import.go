package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-ann/segue/storage"
)

// An import fills a new release beside the one that serves:
//
//	StartImport    IMPORTING  takes rows in numbered batches; a chunk of them is durable at once, with its bookkeeping
//	CommitImport   BUILDING   no more rows; the graph is built in the background (import_build.go), also after a restart
//	               READY      can be looked at and published (release_publish.go)
//
// It is known by its job id, which its caller chooses (a date): starting a job that exists returns it as it is, so
// that a nightly task may be run again after whatever happened to it.

// ImportOptions describe an import.
type ImportOptions struct {
	// JobID is 1..MaxIDBytes bytes of UTF-8.
	JobID string
	// Model made the vectors; not declared means that of the published release.
	Model EmbeddingModel
	// ExpectedItems, where known, makes the time left known. 0: unknown.
	ExpectedItems int
	// Graph describes the graph that comes with the rows, where one does.
	Graph *GraphInfo
}

// ImportInfo is the state of an import.
type ImportInfo struct {
	JobID   string
	Release uint32
	State   ReleaseState
	// Cancelled says that the import was given up; State is DROPPING or DROPPED then.
	Cancelled bool
	Model     EmbeddingModel
	// Sequence is the number of the last batch that is durable: go on with the next one. 0 before the first.
	Sequence uint64
	// Accepted and Rejected count rows of items and profiles that are durable; Duplicates are items among Accepted that
	// a later row of the same id replaced, known once the state is READY.
	Accepted, Rejected, Duplicates int
	// Built counts items in the graph; Total is how many there will be, 0 where that is not known.
	Built, Total int
	// TimeLeft estimates how long the build takes. 0: not known.
	TimeLeft   time.Duration
	CreateTime time.Time
	ReadyTime  time.Time
	// GraphTaken says that the graph that came with the rows serves; GraphRefused why it does not and the release was built from
	// its rows.
	GraphTaken   bool
	GraphRefused string
	// Err is why the build stopped; nil while it runs.
	Err error
}

// Reject is a row that an import refused.
type Reject struct {
	// Sequence and Index are the row's batch and its place there, items before profiles.
	Sequence uint64 `json:"sequence"`
	Index    int    `json:"index"`
	// ID is the item's or the user's, shortened where it is long.
	ID     string `json:"id"`
	Reason Reason `json:"reason"`
	Field  string `json:"field"`
	Rule   string `json:"rule"`
}

// MaxRejects is how many rejects of one import are kept; all are counted.
const MaxRejects = 10_000

// StateError says that a release is not in a state in which it can do what was asked.
type StateError struct {
	// What is "import 2026-11-26" or "release 3".
	What string
	// State is what it is in, Want where it would have to be.
	State ReleaseState
	Want  string
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%s is %s, must be %s", e.What, e.State, e.Want)
}

// SequenceError says that a batch of an import came out of order. Nothing was written.
type SequenceError struct{ Want, Got uint64 }

func (e *SequenceError) Error() string {
	return fmt.Sprintf("batch %d of the import, %d is next", e.Got, e.Want)
}

// importJob is an import that takes rows, or builds.
type importJob struct {
	c       *Collection
	id      string
	release uint32
	base    LSN
	rows    *storage.Collection

	mu       sync.Mutex     // held over the writing of a chunk
	progress importProgress // what is durable; also in shown, for those who must not wait for a chunk
	received uint64         // the last batch taken into chunk
	chunk    storage.ImportChunk
	rejects  int // in chunk
	parts    int // of the graph, in chunk
	bytes    int // of chunk
	graph    *graphRecord
	closed   bool

	shown  atomic.Pointer[importProgress]
	total  atomic.Int64 // items to build
	built  atomic.Int64
	start  atomic.Int64 // when the build began, in nanoseconds since 1970, and what was built then
	before atomic.Int64
	err    atomic.Pointer[error]
	cancel context.CancelFunc
	done   chan struct{} // closed when the build has ended
}

// importProgress is the bookkeeping that becomes durable with each chunk.
type importProgress struct {
	Sequence uint64 `json:"sequence"`
	Accepted int    `json:"accepted"`
	Profiles int    `json:"profiles,omitempty"` // of those accepted
	Rejected int    `json:"rejected"`
	Kept     int    `json:"kept_rejects"`
	Expected int    `json:"expected,omitempty"`
	Parts    int    `json:"parts,omitempty"`  // of the graph
	Pieces   uint64 `json:"pieces,omitempty"` // in which those are stored
}

func (p importProgress) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("engine: encode progress: %v", err)) // numbers always encode
	}
	return b
}

// importChunkBytes is how much is taken into memory before it is made durable.
const importChunkBytes = 16 << 20

// StartImport begins an import, or returns the one that exists under this job id, whatever its state; a cancelled one
// is begun anew. At most one import of a collection is unfinished at a time: *BusyError.
func (c *Collection) StartImport(ctx context.Context, o ImportOptions) (ImportInfo, error) {
	l := c.engine.opts.Limits
	var p problems
	p.id("job_id", o.JobID, l)
	p.model("model", o.Model, l)
	if o.ExpectedItems < 0 {
		p.add(ReasonOutOfRange, "expected_items", "must not be negative, is %d", o.ExpectedItems)
	}
	if o.Graph != nil {
		p.graph("graph", o.Graph, c.published.Load().index.Options())
	}
	if err := p.err(); err != nil {
		return ImportInfo{}, err
	}
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
	if rel := record.job(o.JobID); rel != nil && !rel.Cancelled {
		if o.Graph != nil {
			if rel.State == ReleaseImporting && rel.Model.declared() {
				if err := rel.Model.fits(o.Model); err != nil {
					return ImportInfo{}, err
				}
			}
			if err := c.bring(rel, o.Graph); err != nil {
				return ImportInfo{}, err
			}
		}
		return c.importInfo(rel)
	}
	for _, rel := range record.Releases {
		if rel.State.unfinished() {
			return ImportInfo{}, &BusyError{Operation: fmt.Sprintf("import %q of collection %s", clip(rel.Job), c.cfg.Name)}
		}
	}
	published := c.published.Load()
	if published.committed.Load() == 0 {
		// A row has an LSN of at least 1, and this release's first write is to be newer than what is imported.
		w := &write{mutations: []mutation{{kind: storage.LogSkip, id: o.JobID}}}
		if err := c.submit(ctx, w); err != nil {
			return ImportInfo{}, err
		}
	}
	if !o.Model.declared() {
		o.Model = published.model
	}
	var added releaseRecord
	err := c.change(func(r *collectionRecord) error {
		added = releaseRecord{
			ID: r.Releases[len(r.Releases)-1].ID + 1, State: ReleaseImporting, Job: o.JobID, Model: o.Model,
			Base: LSN(published.committed.Load()), CreateTime: now(),
		}
		if g := o.Graph; g != nil {
			added.Graph = &graphRecord{Build: g.Build, Parts: g.Parts}
		}
		r.Releases = append(r.Releases, added)
		return nil
	})
	if err != nil {
		return ImportInfo{}, err
	}
	j, err := c.openJob(&added)
	if err != nil {
		return ImportInfo{}, err
	}
	j.mu.Lock()
	j.progress.Expected = o.ExpectedItems
	j.show()
	j.mu.Unlock()
	return c.importInfo(&added)
}

// openJob returns the job that fills a release, reading how far it came.
func (c *Collection) openJob(rel *releaseRecord) (*importJob, error) {
	c.jobsMu.Lock()
	defer c.jobsMu.Unlock()
	if j := c.jobs[rel.Job]; j != nil && j.release == rel.ID {
		return j, nil
	}
	j := &importJob{c: c, id: rel.Job, release: rel.ID, base: rel.Base, graph: rel.Graph,
		rows: c.engine.store.Collection(c.id, rel.ID), done: make(chan struct{})}
	if err := j.rows.StartLog(uint64(rel.Base) + 1); err != nil {
		return nil, fmt.Errorf("start log of release %d: %w", rel.ID, err)
	}
	b, err := j.rows.ImportProgress()
	if err == nil {
		err = json.Unmarshal(b, &j.progress)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("read progress of import %q: %w", clip(rel.Job), err)
	}
	j.show()
	j.received = j.progress.Sequence
	j.chunk.FirstReject, j.chunk.FirstGraph = uint64(j.progress.Kept), j.progress.Pieces
	c.jobs[rel.Job] = j
	return j, nil
}

// ImportRows is one batch of an import.
type ImportRows struct {
	// Sequence numbers the batches of an import from 1 on.
	Sequence uint64
	Items    []Item
	Profiles []Profile
	// Refused are rows, by their place in the batch, that the caller found to be bad; they are listed as rejects.
	Refused map[int]Violation
	// Parts are of the graph over the rows, in the order of the export.
	Parts []GraphPart
}

// WriteImport takes the next batch of rows into a chunk in memory, and returns the number of the last batch that is
// durable: earlier ones need not be sent again, later ones must be after a failure. A batch that was taken before does
// nothing. Rows that break a rule are listed as rejects and do not fail the batch. Chunks are made durable as they
// fill; flush does it at once. Errors: *NotFoundError, *StateError, *SequenceError, *InvalidError where the batch as a
// whole is too large or has parts of no graph, *LowSpaceError.
func (c *Collection) WriteImport(ctx context.Context, job string, batch ImportRows, flush bool) (durable uint64, err error) {
	if n, most := len(batch.Items)+len(batch.Profiles), c.engine.opts.Limits.MaxBatch; n > most {
		var p problems
		p.batch("items", n, most)
		return 0, p.err()
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := c.enter(); err != nil {
		return 0, err
	}
	defer c.calls.leave()
	j, err := c.takingJob(job)
	if err != nil {
		return 0, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return 0, &StateError{What: fmt.Sprintf("import %q", clip(job)), State: ReleaseBuilding, Want: string(ReleaseImporting)}
	case batch.Sequence > j.received+1:
		return 0, &SequenceError{Want: j.received + 1, Got: batch.Sequence}
	case batch.Sequence == j.received+1:
		if err := j.checkParts(batch.Parts); err != nil {
			return 0, err
		}
		j.take(batch)
	}
	if flush || j.bytes >= importChunkBytes {
		if err := j.flush(); err != nil {
			return j.progress.Sequence, err
		}
	}
	return j.progress.Sequence, nil
}

// show publishes a copy of the progress. j.mu is held, or nobody else has the job yet.
func (j *importJob) show() {
	p := j.progress
	j.shown.Store(&p)
}

// takingJob returns a job that takes rows.
func (c *Collection) takingJob(job string) (*importJob, error) {
	record := c.catalog()
	rel := record.job(job)
	if rel == nil {
		return nil, &NotFoundError{Kind: "import", Name: clip(job)}
	}
	if rel.State != ReleaseImporting {
		return nil, &StateError{What: fmt.Sprintf("import %q", clip(job)), State: rel.State, Want: string(ReleaseImporting)}
	}
	return c.openJob(rel)
}

// take checks the rows of a batch and adds them to the chunk. j.mu is held.
func (j *importJob) take(batch ImportRows) {
	l, cfg, now := j.c.engine.opts.Limits, j.c.cfg, j.c.engine.micros()
	for i := range batch.Items {
		it := &batch.Items[i]
		attributes := it.Attributes.Sorted()
		var p problems
		p.id("id", it.ID, l)
		p.itemVector("vector", it.Vector, cfg)
		p.attributes("attributes", attributes, j.c.schema, l)
		if j.graph == nil { // what expired since the graph was built is one of its rows, for as long as that takes
			p.expiry("expire_time", it.ExpireTime, now)
		}
		p.unconditional(it.IfRevision)
		p.refused(batch.Refused, i)
		if j.refused(&p, batch.Sequence, i, it.ID) {
			continue
		}
		row := storage.ItemRow{ID: it.ID, LSN: uint64(j.base), DType: dtypeF32, Dim: uint32(cfg.Dim),
			Vector: encodeVector(it.Vector), Attributes: encodeAttributes(attributes, it.ExpireTime)}
		j.chunk.Rows = append(j.chunk.Rows, row)
		j.bytes += len(row.ID) + len(row.Vector) + len(row.Attributes)
	}
	for i := range batch.Profiles {
		pr := &batch.Profiles[i]
		var p problems
		p.id("user_id", pr.UserID, l)
		p.interests("interests", pr.Interests, cfg, l)
		p.expiry("expire_time", pr.ExpireTime, now)
		p.unconditional(pr.IfRevision)
		p.refused(batch.Refused, len(batch.Items)+i)
		if j.refused(&p, batch.Sequence, len(batch.Items)+i, pr.UserID) {
			continue
		}
		row := storage.ProfileRow{UserID: pr.UserID, LSN: uint64(j.base), Dim: uint32(cfg.Dim), Count: uint32(len(pr.Interests)),
			Attributes: encodeAttributes(nil, pr.ExpireTime)}
		row.DType, row.Vectors = encodeInterests(pr.Interests)
		j.chunk.Profiles = append(j.chunk.Profiles, row)
		j.bytes += len(row.UserID) + len(row.Vectors)
	}
	j.takeParts(batch.Parts)
	j.received = batch.Sequence
}

// unconditional refuses a condition on a row of an import, which replaces nothing.
func (p *problems) unconditional(revision *LSN) {
	if revision != nil {
		p.add(ReasonInvalidFormat, "if_revision", "must not be set in an import: it fills a release of its own")
	}
}

// refused puts what the caller found before what was found here.
func (p *problems) refused(by map[int]Violation, index int) {
	if v, ok := by[index]; ok {
		p.list = append([]Violation{v}, p.list...)
	}
}

// refused notes the first violation of a row that has one.
func (j *importJob) refused(p *problems, sequence uint64, index int, id string) bool {
	if len(p.list) == 0 {
		return false
	}
	j.rejects++
	if j.progress.Kept+len(j.chunk.Rejects) < MaxRejects {
		v := p.list[0]
		b, err := json.Marshal(Reject{Sequence: sequence, Index: index, ID: clip(id), Reason: v.Reason, Field: v.Field, Rule: v.Rule})
		if err != nil {
			panic(fmt.Sprintf("engine: encode a reject: %v", err)) // strings and numbers always encode
		}
		j.chunk.Rejects = append(j.chunk.Rejects, b)
		j.bytes += len(b)
	}
	return true
}

// flush makes the chunk durable. j.mu is held. On error the chunk stays, to be tried again.
func (j *importJob) flush() error {
	if j.received == j.progress.Sequence {
		return nil
	}
	next := j.progress
	next.Sequence = j.received
	next.Accepted += len(j.chunk.Rows) + len(j.chunk.Profiles)
	next.Rejected += j.rejects
	next.Kept += len(j.chunk.Rejects)
	next.Profiles += len(j.chunk.Profiles)
	next.Parts += j.parts
	next.Pieces += uint64(len(j.chunk.Graph))
	j.chunk.Progress = next.encode()
	var err error
	j.c.engine.inBackground(func() { err = j.rows.Import(j.chunk) })
	if err != nil {
		return fmt.Errorf("import %q, batches %d to %d: %w", clip(j.id), j.progress.Sequence+1, j.received, err)
	}
	j.progress = next
	j.show()
	j.chunk = storage.ImportChunk{FirstReject: uint64(next.Kept), FirstGraph: next.Pieces}
	j.rejects, j.parts, j.bytes = 0, 0, 0
	return nil
}

// FlushImport makes every batch that was taken durable, and returns the number of the last one.
func (c *Collection) FlushImport(ctx context.Context, job string) (durable uint64, err error) {
	return c.WriteImport(ctx, job, ImportRows{}, true)
}

// Import returns the state of an import, or *NotFoundError.
func (c *Collection) Import(ctx context.Context, job string) (ImportInfo, error) {
	if err := ctx.Err(); err != nil {
		return ImportInfo{}, err
	}
	if err := c.enter(); err != nil {
		return ImportInfo{}, err
	}
	defer c.calls.leave()
	record := c.catalog()
	rel := record.job(job)
	if rel == nil {
		return ImportInfo{}, &NotFoundError{Kind: "import", Name: clip(job)}
	}
	return c.importInfo(rel)
}

func (c *Collection) importInfo(rel *releaseRecord) (ImportInfo, error) {
	info := ImportInfo{JobID: rel.Job, Release: rel.ID, State: rel.State, Cancelled: rel.Cancelled, Model: rel.Model,
		Accepted: rel.Counts.Accepted, Rejected: rel.Counts.Rejected, Duplicates: rel.Counts.Duplicates,
		CreateTime: rel.CreateTime, ReadyTime: rel.ReadyTime}
	if rel.Graph != nil {
		info.GraphTaken, info.GraphRefused = rel.Graph.Taken, rel.Graph.Refused
	}
	if !rel.State.unfinished() {
		return info, c.addProgress(rel.ID, &info)
	}
	j, err := c.openJob(rel)
	if err != nil {
		return info, err
	}
	p := j.shown.Load()
	info.Sequence, info.Accepted, info.Rejected, info.Total = p.Sequence, p.Accepted, p.Rejected, p.Expected
	if total := int(j.total.Load()); total > 0 {
		info.Total = total
	}
	info.Built = int(j.built.Load())
	if n := j.built.Load() - j.before.Load(); n > 0 && info.Total > info.Built {
		per := time.Since(time.Unix(0, j.start.Load())) / time.Duration(n)
		info.TimeLeft = per * time.Duration(info.Total-info.Built)
	}
	if p := j.err.Load(); p != nil {
		info.Err = *p
	}
	return info, nil
}

// addProgress fills in what a finished import has in its bookkeeping, which goes with the release's rows.
func (c *Collection) addProgress(id uint32, info *ImportInfo) error {
	b, err := c.engine.store.Collection(c.id, id).ImportProgress()
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	var p importProgress
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return fmt.Errorf("read progress of import %q: %w", clip(info.JobID), err)
	}
	info.Sequence = p.Sequence
	info.Built = info.Accepted - p.Profiles - info.Duplicates
	info.Total = info.Built
	return nil
}

// ImportRejects returns up to limit rejects from number after on, in order, of the at most MaxRejects kept.
func (c *Collection) ImportRejects(ctx context.Context, job string, after, limit int) (rejects []Reject, more bool, err error) {
	var p problems
	p.inRange("limit", limit, 1, c.engine.opts.Limits.MaxPage)
	p.inRange("after", after, 0, MaxRejects)
	if err := p.err(); err != nil {
		return nil, false, err
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if err := c.enter(); err != nil {
		return nil, false, err
	}
	defer c.calls.leave()
	record := c.catalog()
	rel := record.job(job)
	if rel == nil {
		return nil, false, &NotFoundError{Kind: "import", Name: clip(job)}
	}
	for b, err := range c.engine.store.Collection(c.id, rel.ID).ImportRejects(uint64(after)) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, false, fmt.Errorf("list rejects: %w", err)
		}
		if len(rejects) == limit {
			return rejects, true, nil
		}
		var r Reject
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, false, fmt.Errorf("list rejects: %w", err)
		}
		rejects = append(rejects, r)
	}
	return rejects, false, nil
}
