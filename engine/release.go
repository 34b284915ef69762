package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/background"
	"github.com/segue-ann/segue/internal/mapped"
	"github.com/segue-ann/segue/storage"
)

// release is one generation of a collection's items: rows and log in the store, table and index in memory, and
// the applier that keeps the two in step. Collection.acquire hands it to calls.
type release struct {
	engine *Engine
	serial uint64 // of all releases loaded since the engine was opened
	cfg    *CollectionConfig
	model  EmbeddingModel

	rows    *storage.Collection
	index   *hnsw.Index
	table   *table
	filters *filter.Index
	// expiries is derived from the table.
	expiries *expiries

	// Invariant: visible <= committed <= appended. appended is raised before a batch is committed, so a
	// row read from the store has an LSN <= appended; committed after its fsync; visible once applied.
	appended  atomic.Uint64
	committed atomic.Uint64
	visible   atomic.Uint64
	// applies is odd while apply changes table and filters, and rises with every apply.
	applies atomic.Uint64

	visibleMu sync.Mutex    // guards visibleCh
	visibleCh chan struct{} // closed and replaced whenever visible rises, or a commit fails

	groups chan *writeGroup // from the writer to the applier
	inside chan func()      // run by the applier between groups
	failed atomic.Pointer[error]
	// replaced says that the release was published and is not any more: appended stays as it is.
	replaced atomic.Bool
	// building says that an import fills the release: no snapshot is due, and its inserts pause for reads.
	building atomic.Bool
	// threads are what a build links with while reads come; nil where they are not to be used. Set before start, of use while building.
	threads *background.Pool
	// limitTrim, where it is set, calls fn with how far the log may be trimmed.
	limitTrim func(below uint64, fn func(below uint64) error) error

	backlog backlog
	loading *Loading // while it is recovered by Open; else nil

	snapshotting atomic.Bool
	snapshotLSN  atomic.Uint64 // LSN of the newest snapshot; 0 where there is none
	calibrated   calibrated
	// background are snapshots, the loading of filters and calibrations; the last two end with ctx. Both are set by start.
	background sync.WaitGroup
	ctx        context.Context //nolint:containedctx // the lifetime of background work
	cancel     context.CancelFunc

	calls   callGate // counts reads and snapshots in
	started bool
	closing chan struct{} // closed when close begins
	stopped chan struct{} // closed when the applier has ended
}

// firstRelease is the release a collection is created with.
const firstRelease = 1

// newRelease returns an empty release that is not started yet.
func newRelease(e *Engine, collection uint32, record *collectionRecord, id uint32) (*release, error) {
	rel := record.release(id)
	if rel == nil {
		return nil, &NotFoundError{Kind: "release", Name: fmt.Sprint(id)}
	}
	r := &release{
		engine:    e,
		serial:    e.releases.Add(1),
		cfg:       &record.Config,
		model:     rel.Model,
		rows:      e.store.Collection(collection, id),
		table:     newTable(),
		filters:   filter.New(record.Config.filterSchema(), false),
		expiries:  new(expiries),
		visibleCh: make(chan struct{}),
		groups:    make(chan *writeGroup, 1),
		inside:    make(chan func()),
		closing:   make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	r.calls.init()
	r.backlog.init()
	memory, err := r.vectorMemory()
	if err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	index, err := hnsw.New(r.indexOptions(memory))
	if err != nil {
		releaseMemory(memory)
		return nil, fmt.Errorf("create index: %w", err)
	}
	r.index = index
	return r, nil
}

// vectorMemory returns memory for the vectors of one index, or nil where it has its own. Whoever does not give it to an index
// releases it.
func (r *release) vectorMemory() (*hnsw.Memory, error) {
	if r.cfg.VectorStorage != VectorsInFile {
		return nil, nil
	}
	o := r.indexOptions(nil)
	file, err := mapped.Create(r.engine.dir, int64(o.VectorBytes()))
	if err != nil {
		return nil, err
	}
	return &hnsw.Memory{Bytes: file.Bytes, Extend: file.Back, Release: func() {
		if err := file.Close(); err != nil {
			r.engine.opts.Logger.Warn("file of vectors is not given back", "collection", r.cfg.Name, "err", err)
		}
	}}, nil
}

func releaseMemory(m *hnsw.Memory) {
	if m != nil {
		m.Release()
	}
}

func (r *release) indexOptions(memory *hnsw.Memory) hnsw.Options {
	return hnsw.Options{
		Vectors:        memory,
		Dim:            r.cfg.Dim,
		Metric:         r.cfg.Metric,
		Precision:      r.cfg.VectorPrecision,
		M:              r.cfg.M,
		EfConstruction: r.cfg.EfConstruction,
		MaxSlots:       r.maxSlots(),
		Seed:           uint64(r.rows.ID()),
	}
}

// maxSlots is how many slots fit the reserved address space, of a vector as it is kept, the level-0 links and what stands
// beside them.
func (r *release) maxSlots() int {
	one := hnsw.Options{Dim: r.cfg.Dim, Precision: r.cfg.VectorPrecision, MaxSlots: 1}
	perSlot := int64(one.VectorBytes() + 4*2*r.cfg.M + 64)
	return int(min(max(r.engine.opts.ReserveBytes/perSlot, 1024), 1<<28))
}

// start launches the applier.
func (r *release) start() {
	r.started = true
	r.noteBacklog()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if r.filters.Loading() {
		r.background.Go(func() { r.loadFilters(r.ctx) })
	}
	go r.applyLoop()
}

// close lets calls in flight finish, then stops the applier and frees the index. Nobody may send it groups
// any more.
func (r *release) close() error {
	close(r.closing)
	r.calls.close()
	close(r.groups)
	if r.started {
		<-r.stopped
	}
	if r.cancel != nil {
		r.cancel()
	}
	r.background.Wait()
	return r.index.Close()
}

// within has the applier run fn between two groups.
func (r *release) within(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case r.inside <- func() { defer close(done); fn() }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave ends a call that Collection.acquire began.
func (r *release) leave() { r.calls.leave() }

// revision returns the visible LSN.
func (r *release) revision() LSN { return LSN(r.visible.Load()) }

// errReplaced says that another release takes the writes now.
var errReplaced = errors.New("release was replaced")

// waitVisible waits until every write up to lsn is visible. errReplaced where the release will never have it, since
// another one was published.
func (r *release) waitVisible(ctx context.Context, lsn LSN) error {
	for r.visible.Load() < uint64(lsn) {
		r.visibleMu.Lock()
		ch := r.visibleCh
		r.visibleMu.Unlock()
		if r.visible.Load() >= uint64(lsn) {
			return nil
		}
		if err := r.failure(); err != nil {
			return err
		}
		if r.replaced.Load() && uint64(lsn) > r.appended.Load() {
			return errReplaced
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// announce wakes everyone in waitVisible.
func (r *release) announce() {
	r.visibleMu.Lock()
	close(r.visibleCh)
	r.visibleCh = make(chan struct{})
	r.visibleMu.Unlock()
}

// failure returns why the release takes no writes any more, or nil.
func (r *release) failure() error {
	if p := r.failed.Load(); p != nil {
		return *p
	}
	return nil
}
