package engine

import (
	"context"
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

	writes  chan *write   // to the writer
	calls   callGate      // counts writes in
	stopped chan struct{} // closed when the writer has ended
}

// newCollection returns a collection that serves r and is not started yet.
func newCollection(e *Engine, id uint32, r *release) *Collection {
	c := &Collection{
		engine:     e,
		id:         id,
		cfg:        r.cfg,
		createTime: r.createTime,
		writes:     make(chan *write, 64),
		stopped:    make(chan struct{}),
	}
	if len(c.cfg.Attributes) > 0 {
		c.schema = make(map[string]AttributeType, len(c.cfg.Attributes))
		for _, a := range c.cfg.Attributes {
			c.schema[a.Name] = a.Type
		}
	}
	c.calls.init()
	c.published.Store(r)
	return c
}

// start launches the writer and the published release's applier.
func (c *Collection) start() {
	c.published.Load().start()
	go c.writeLoop()
}

// close lets calls in flight finish, then stops the goroutines and frees the index.
func (c *Collection) close() error {
	if !c.calls.close() {
		return nil
	}
	close(c.writes)
	<-c.stopped
	return c.published.Load().close()
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
		if r == c.published.Load() || ctx.Err() != nil {
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

// CreateTime returns when the collection was created, UTC.
func (c *Collection) CreateTime() time.Time { return c.createTime }

// Len returns the number of items.
func (c *Collection) Len() int { return c.published.Load().table.len() }

// Revision returns the visible LSN: the highest that every read sees.
func (c *Collection) Revision() LSN { return c.published.Load().revision() }
