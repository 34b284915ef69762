package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segue-ann/segue/storage"
)

// Options configure an Engine. The zero value of a field means its documented default.
type Options struct {
	// Logger receives what an operator should know. Default slog.Default().
	Logger *slog.Logger
	// Limits bound requests. Default DefaultLimits(), as a whole.
	Limits Limits
	// SnapshotTail is how many log records may follow the newest snapshot before one is taken in the
	// background. Default 100,000. Negative: never.
	SnapshotTail int
	// ReserveBytes is the address space reserved for the vectors and links of one collection, which bounds
	// how many items it can hold; memory is taken only as items come. Default 64 GiB.
	ReserveBytes int64
	// Memory, where it is set, says what the process uses and may use. It is asked before writes that need memory, which are refused
	// with *MemoryLimitError beyond the limit; a limit of 0 is none. It must be fast, and safe for concurrent use. Under a limit the
	// defaults of Store.CacheBytes and Store.MemTableBytes are a small part of it.
	Memory func() MemoryUse
	// RetainReleases is how many releases that served before are kept for a rollback. Default 1. Negative: none.
	RetainReleases int
	// BuildSnapshotItems is after how many inserts the build of an import takes a snapshot, so that a restart does not begin
	// anew. Default 250,000.
	BuildSnapshotItems int
	// SweepInterval is how often what has expired is deleted; reads do not wait for it. Default 1 s. Negative: never.
	SweepInterval time.Duration
	// IdleThreads says that imports, snapshots and calibrations run on threads that get a processor only while nothing else in the
	// process wants it, for as long as reads come (package background). Without, they share the processors with reads.
	IdleThreads bool
	// Now is the clock by which items, profiles and exclusions expire. Default time.Now.
	Now func() time.Time
	// Loading, where it is set, tells how far Open has come.
	Loading *Loading
	// Store configures the store; its Logger is set where it is nil.
	Store storage.Options
}

const (
	defaultSnapshotTail = 100_000
	defaultReserveBytes = 64 << 30
	defaultRetained     = 1
	defaultBuildItems   = 250_000
	snapshotsKept       = 2
	defaultSweep        = time.Second

	// What the store's cache and each of its memtables, of which there are up to four, take at most of a limit on memory.
	cacheShare, memTableShare = 16, 32
)

func (o *Options) ensureDefaults() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.SnapshotTail == 0 {
		o.SnapshotTail = defaultSnapshotTail
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = defaultReserveBytes
	}
	if o.BuildSnapshotItems == 0 {
		o.BuildSnapshotItems = defaultBuildItems
	}
	if o.RetainReleases == 0 {
		o.RetainReleases = defaultRetained
	}
	if o.SweepInterval == 0 {
		o.SweepInterval = defaultSweep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Store.Logger == nil {
		o.Store.Logger = o.Logger
	}
	if o.Memory == nil {
		return
	}
	if limit := int64(o.Memory().Limit); limit > 0 {
		if o.Store.CacheBytes == 0 {
			o.Store.CacheBytes = max(min(limit/cacheShare, storage.DefaultCacheBytes), 1<<20)
		}
		if o.Store.MemTableBytes == 0 {
			o.Store.MemTableBytes = max(min(limit/memTableShare, storage.DefaultMemTableBytes), 1<<20)
		}
	}
}

// Engine is the set of collections in one directory.
type Engine struct {
	opts  Options
	dir   string
	store *storage.Store

	catalog sync.Mutex // serialises creating, deleting and closing; held over disk writes

	mu     sync.RWMutex // guards byName and aliases; held only for a look
	byName map[string]*Collection
	// aliases are other names. Invariant: none of them is in byName.
	aliases map[string]*Collection

	// lastRead is when a read last began, in nanoseconds since 1970: what builds yield to.
	lastRead atomic.Int64

	exclusions exclusionCache
	lists      sync.Pool     // of *rankedLists
	releases   atomic.Uint64 // serials given to releases
	// calibrating says that a release is being calibrated: one at a time, for what it costs.
	calibrating atomic.Bool
	// backingUp says that a backup is being made.
	backingUp atomic.Bool

	closed atomic.Bool
}

// Open opens the store in dir, creating it where there is none, and recovers every collection: newest valid
// snapshot, then the log records after it. It returns when all of them answer, which is before what the log says is in the
// graph (backlog.go); cost is bound by reading the snapshots. A directory held by another process is storage's LockedError; items
// that fail their checksum refuse to open.
func Open(ctx context.Context, dir string, o Options) (*Engine, error) {
	o.ensureDefaults()
	store, err := storage.Open(dir, o.Store)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	e := &Engine{opts: o, dir: dir, store: store, byName: make(map[string]*Collection), aliases: make(map[string]*Collection)}
	e.exclusions.init()
	rows, err := store.Collections()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read catalog: %w", err), e.Close())
	}
	for _, row := range rows {
		c, err := openCollection(ctx, e, row)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("recover collection %q: %w", row.Name, err), e.Close())
		}
		c.start()
		e.byName[row.Name] = c
	}
	if err := e.loadAliases(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	o.Loading.begin("", PhaseReady, 0)
	return e, nil
}

// Close waits for calls in flight, stops the collections and closes the store. No snapshot is taken: a
// restart does not depend on one. Calls after Close fail with ErrClosed.
func (e *Engine) Close() error {
	e.catalog.Lock()
	defer e.catalog.Unlock()
	if e.closed.Swap(true) {
		return nil
	}
	var errs []error
	for _, c := range e.Collections() {
		errs = append(errs, c.close())
	}
	return errors.Join(append(errs, e.store.Close())...)
}

// Limits returns the limits in force.
func (e *Engine) Limits() Limits { return e.opts.Limits }

// CreateCollection creates an empty collection durably. Errors: *InvalidError, *AlreadyExistsError,
// *LimitError.
func (e *Engine) CreateCollection(ctx context.Context, cfg CollectionConfig) (*Collection, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(e.opts.Limits); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	record := newCollectionRecord(cfg, now())
	b, err := record.encode()
	if err != nil {
		return nil, fmt.Errorf("encode collection config: %w", err)
	}
	e.catalog.Lock()
	defer e.catalog.Unlock()
	switch _, err := e.Collection(cfg.Name); {
	case e.closed.Load():
		return nil, ErrClosed
	case err == nil:
		return nil, &AlreadyExistsError{Name: cfg.Name}
	case len(e.Collections()) >= e.opts.Limits.MaxCollections:
		return nil, &LimitError{Resource: "collections", Limit: e.opts.Limits.MaxCollections}
	}
	id, err := e.store.NextCollectionID()
	if err != nil {
		return nil, fmt.Errorf("choose collection id: %w", err)
	}
	row := storage.CollectionRow{ID: id, Name: cfg.Name, Config: b}
	r, err := newRelease(e, id, &record, firstRelease)
	if err != nil {
		return nil, err
	}
	if err := e.store.PutCollection(row); err != nil {
		return nil, errors.Join(fmt.Errorf("write catalog: %w", err), r.index.Close())
	}
	c := newCollection(e, id, record, r, &requests{byID: make(map[string]*request)})
	c.start()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.byName[cfg.Name] = c
	return c, nil
}

// Collection returns the collection of that name or alias, or *NotFoundError.
func (e *Engine) Collection(name string) (*Collection, error) {
	if e.closed.Load() {
		return nil, ErrClosed
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if c := e.byName[name]; c != nil {
		return c, nil
	}
	if c := e.aliases[name]; c != nil {
		return c, nil
	}
	return nil, &NotFoundError{Kind: "collection", Name: clip(name)}
}

// Collections returns all collections by ascending name.
func (e *Engine) Collections() []*Collection {
	e.mu.RLock()
	defer e.mu.RUnlock()
	all := make([]*Collection, 0, len(e.byName))
	for _, c := range e.byName {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *Collection) int { return strings.Compare(a.cfg.Name, b.cfg.Name) })
	return all
}

// DeleteCollection removes a collection with all its items, profiles, snapshots and aliases. Calls in flight finish
// first; later ones fail with *NotFoundError. An alias is no name to delete by: *InvalidError.
func (e *Engine) DeleteCollection(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.catalog.Lock()
	defer e.catalog.Unlock()
	c, err := e.Collection(name)
	if err != nil {
		return err
	}
	if c.cfg.Name != name {
		var p problems
		p.add(ReasonInvalidFormat, "name", "must be the collection's own name, %q, not an alias", c.cfg.Name)
		return p.err()
	}
	e.mu.Lock()
	delete(e.byName, name)
	maps.DeleteFunc(e.aliases, func(_ string, of *Collection) bool { return of == c })
	e.mu.Unlock()
	if err := c.close(); err != nil {
		return fmt.Errorf("close collection %q: %w", name, err)
	}
	if err := e.store.DropCollection(c.id); err != nil {
		return fmt.Errorf("drop collection %q: %w", name, err)
	}
	return nil
}

// DiskBytes returns the size of the store's files.
func (e *Engine) DiskBytes() int64 { return int64(e.store.Metrics().DiskBytes) }

// clip keeps an error message short when it repeats what a caller sent.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
