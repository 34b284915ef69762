package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Collection is a named set of items of one dimension and metric, searchable while it is written. What it holds
// stands in its published release; the collection is the name, the config, and the entry of writes.
type Collection struct {
	engine     *Engine
	id         uint32
	cfg        *CollectionConfig
	createTime time.Time
	schema     map[string]AttributeType // nil where the schema is open

	// published is what reads see and writes go to. Only the writer replaces it.
	published atomic.Pointer[release]

	writes   chan *write   // to the writer
	requests *requests     // the writer's
	control  chan func()   // run by the writer between groups
	calls    callGate      // counts writes, imports and changes of releases in
	stopped  chan struct{} // closed when the writer has ended

	// admin serialises what changes which releases there are and which one is published. Held over disk writes.
	// Lock order: Engine.catalog, admin, importJob.mu, recordMu.
	admin sync.Mutex
	// standby are the releases that are loaded and not published. Guarded by admin.
	standby map[uint32]*release
	// leaving are the releases that were replaced and still finish their calls: closed once they have. Until then nobody
	// else may load or drop them. Guarded by admin.
	leaving map[uint32]chan struct{}

	recordMu sync.Mutex // guards record; held over its writing
	record   collectionRecord

	jobsMu sync.Mutex // guards jobs
	jobs   map[string]*importJob

	// background are builds and the closing of releases; they end with ctx.
	background sync.WaitGroup
	ctx        context.Context //nolint:containedctx // the lifetime of background work
	cancel     context.CancelFunc
}

// newCollection returns a collection that serves r and is not started yet.
func newCollection(e *Engine, id uint32, record collectionRecord, r *release, made *requests) *Collection {
	c := &Collection{
		engine:     e,
		id:         id,
		cfg:        r.cfg,
		createTime: record.CreateTime,
		record:     record,
		requests:   made,
		standby:    make(map[uint32]*release),
		leaving:    make(map[uint32]chan struct{}),
		jobs:       make(map[string]*importJob),
		writes:     make(chan *write, 64),
		control:    make(chan func()),
		stopped:    make(chan struct{}),
	}
	c.schema = c.cfg.schema()
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.calls.init()
	r.limitTrim = c.trimLimit(r)
	c.published.Store(r)
	return c
}

// start launches the writer and the published release's applier, and goes on with what a restart interrupted.
func (c *Collection) start() {
	c.published.Load().start()
	go c.writeLoop()
	if c.engine.opts.SweepInterval > 0 {
		c.background.Go(c.sweepLoop)
	}
	c.resume()
}

// close lets calls in flight finish, then stops the goroutines and frees the index.
func (c *Collection) close() error {
	c.cancel()
	if !c.calls.close() {
		return nil
	}
	c.background.Wait()
	close(c.writes)
	<-c.stopped
	c.admin.Lock()
	defer c.admin.Unlock()
	errs := []error{c.published.Load().close()}
	for _, r := range c.standby {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// enter counts a write in; the caller must call c.calls.leave. After close it fails as acquire does.
func (c *Collection) enter() error {
	if c.calls.enter() {
		return nil
	}
	return c.gone()
}

// acquire returns the published release for one call, which must call its leave. The release stays whole until
// then, also when another one is published meanwhile. After close it fails: ErrClosed where the engine was
// closed, *NotFoundError where the collection was deleted.
func (c *Collection) acquire() (*release, error) {
	for {
		r := c.published.Load()
		if r.calls.enter() {
			c.engine.lastRead.Store(time.Now().UnixNano())
			return r, nil
		}
		if r == c.published.Load() {
			return nil, c.gone() // closed, not replaced
		}
	}
}

// acquireAt is acquire once every write up to lsn is visible.
func (c *Collection) acquireAt(ctx context.Context, lsn LSN) (*release, error) {
	for {
		r, err := c.acquire()
		if err != nil {
			return nil, err
		}
		err = r.waitVisible(ctx, lsn)
		if err == nil {
			return r, nil
		}
		r.leave()
		if !errors.Is(err, errReplaced) {
			return nil, err
		}
	}
}

// gone says why the collection takes no calls any more.
func (c *Collection) gone() error {
	if c.engine.closed.Load() {
		return ErrClosed
	}
	return &NotFoundError{Kind: "collection", Name: c.cfg.Name}
}

// Config returns what the collection was created with, defaults filled in.
func (c *Collection) Config() CollectionConfig { return *c.cfg }

// Model returns what made the vectors of the published release.
func (c *Collection) Model() EmbeddingModel { return c.published.Load().model }

// CreateTime returns when the collection was created, UTC.
func (c *Collection) CreateTime() time.Time { return c.createTime }

// Len returns the number of items.
func (c *Collection) Len() int { return c.published.Load().table.len() }

// Backlog returns how many changes of the log, since a restart, every search looks at because the graph lacks them.
func (c *Collection) Backlog() int { return int(c.published.Load().backlog.left.Load()) }

// Revision returns the visible LSN: the highest that every read sees.
func (c *Collection) Revision() LSN { return c.published.Load().revision() }
