package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// Collection is a named set of items of one dimension and metric, searchable while it is written.
type Collection struct {
	engine     *Engine
	id         uint32
	cfg        CollectionConfig
	createTime time.Time
	schema     map[string]AttributeType // nil where the schema is open

	rows  *storage.Collection
	index *hnsw.Index
	table *table

	// Invariant: visible <= committed <= appended. appended is raised before a batch is committed, so a
	// row read from the store has an LSN <= appended; committed after its fsync; visible once applied.
	appended  atomic.Uint64
	committed atomic.Uint64
	visible   atomic.Uint64

	visibleMu sync.Mutex    // guards visibleCh
	visibleCh chan struct{} // closed and replaced whenever visible rises, or a commit fails

	writes chan *write      // to the writer
	groups chan *writeGroup // from the writer to the applier
	inside chan func()      // run by the applier between groups
	failed atomic.Pointer[error]

	snapshotting atomic.Bool
	snapshotLSN  atomic.Uint64 // LSN of the newest snapshot; 0 where there is none
	background   sync.WaitGroup

	calls   callGate
	stopped chan struct{} // closed when the applier has ended
}

// newCollection returns an empty collection that is not started yet.
func newCollection(e *Engine, row storage.CollectionRow, record collectionRecord) (*Collection, error) {
	c := &Collection{
		engine:     e,
		id:         row.ID,
		cfg:        record.Config,
		createTime: record.CreateTime,
		rows:       e.store.Collection(row.ID, firstRelease),
		table:      newTable(),
		visibleCh:  make(chan struct{}),
		writes:     make(chan *write, 64),
		groups:     make(chan *writeGroup, 1),
		inside:     make(chan func()),
		stopped:    make(chan struct{}),
	}
	if len(c.cfg.Attributes) > 0 {
		c.schema = make(map[string]AttributeType, len(c.cfg.Attributes))
		for _, a := range c.cfg.Attributes {
			c.schema[a.Name] = a.Type
		}
	}
	c.calls.init()
	index, err := hnsw.New(c.indexOptions())
	if err != nil {
		return nil, fmt.Errorf("create index: %w", err)
	}
	c.index = index
	return c, nil
}

// firstRelease is the only release a collection has so far.
const firstRelease = 1

func (c *Collection) indexOptions() hnsw.Options {
	return hnsw.Options{
		Dim:            c.cfg.Dim,
		Metric:         c.cfg.Metric,
		M:              c.cfg.M,
		EfConstruction: c.cfg.EfConstruction,
		MaxSlots:       c.maxSlots(),
		Seed:           uint64(c.id),
	}
}

// maxSlots is how many slots fit the reserved address space, at about 4 bytes a component, the level-0 links
// and what stands beside them.
func (c *Collection) maxSlots() int {
	perSlot := int64(4*c.cfg.Dim + 4*2*c.cfg.M + 64)
	return int(min(max(c.engine.opts.ReserveBytes/perSlot, 1024), 1<<28))
}

// start launches the writer and the applier.
func (c *Collection) start() {
	go c.writeLoop()
	go c.applyLoop()
}

// close lets calls in flight finish, then stops the goroutines and frees the index.
func (c *Collection) close() error {
	if !c.calls.close() {
		return nil
	}
	close(c.writes)
	<-c.stopped
	c.background.Wait()
	return c.index.Close()
}

// enter counts a call in; the caller must call c.calls.leave. After close it fails: ErrClosed where the engine
// was closed, *NotFoundError where the collection was deleted.
func (c *Collection) enter() error {
	if c.calls.enter() {
		return nil
	}
	if c.engine.closed.Load() {
		return ErrClosed
	}
	return &NotFoundError{Kind: "collection", Name: c.cfg.Name}
}

// Config returns what the collection was created with, defaults filled in.
func (c *Collection) Config() CollectionConfig { return c.cfg }

// CreateTime returns when the collection was created, UTC.
func (c *Collection) CreateTime() time.Time { return c.createTime }

// Len returns the number of items.
func (c *Collection) Len() int { return c.table.len() }

// Revision returns the visible LSN: the highest that every read sees.
func (c *Collection) Revision() LSN { return LSN(c.visible.Load()) }

// waitVisible waits until every write up to lsn is visible.
func (c *Collection) waitVisible(ctx context.Context, lsn LSN) error {
	for c.visible.Load() < uint64(lsn) {
		c.visibleMu.Lock()
		ch := c.visibleCh
		c.visibleMu.Unlock()
		if c.visible.Load() >= uint64(lsn) {
			return nil
		}
		if err := c.failure(); err != nil {
			return err
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
func (c *Collection) announce() {
	c.visibleMu.Lock()
	close(c.visibleCh)
	c.visibleCh = make(chan struct{})
	c.visibleMu.Unlock()
}

// failure returns why the collection takes no writes any more, or nil.
func (c *Collection) failure() error {
	if p := c.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// callGate counts calls in flight so that close can wait for them.
//
// A counter beats a sync.WaitGroup here because calls may begin while close waits, and must then be refused.
type callGate struct {
	n      atomic.Int64 // calls in flight; below zero by gateClosed once closed
	closed chan struct{}
}

const gateClosed = -1 << 40

func (g *callGate) init() { g.closed = make(chan struct{}, 1) }

func (g *callGate) enter() bool {
	if g.n.Add(1) <= 0 {
		g.leave()
		return false
	}
	return true
}

func (g *callGate) leave() {
	if g.n.Add(-1) == gateClosed {
		// Out after close with nobody left inside. A refused enter passes here too: close hears of it once.
		select {
		case g.closed <- struct{}{}:
		default:
		}
	}
}

// close refuses new calls and waits for those in flight. It returns false where it was closed before.
func (g *callGate) close() bool {
	if g.n.Load() < 0 {
		return false
	}
	if g.n.Add(gateClosed) == gateClosed {
		return true
	}
	<-g.closed
	return true
}
