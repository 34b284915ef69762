package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/segue-ann/segue/storage"
)

// mutation is one change of one item or profile.
type mutation struct {
	kind   storage.LogKind
	id     string // item id or user id
	vector []float32
	// row is the vector as stored, or a profile's count vectors, of type dtype; attributes are encoded.
	row        []byte
	count      int
	dtype      uint8
	attributes []byte
	// keepsVector says that the item has this vector already: the put takes no slot, and vector is nil.
	keepsVector bool
	// guard, unless it is nil, is the revision that what it changes must have; 0 where there must be nothing.
	guard *LSN
	lsn   LSN
}

// removes says that the mutation leaves nothing of its id; ofProfile that the id is a user's.
func (m *mutation) removes() bool {
	return m.kind != storage.LogPutItem && m.kind != storage.LogPutProfile
}
func (m *mutation) ofProfile() bool {
	return m.kind == storage.LogPutProfile || m.kind == storage.LogDeleteProfile || m.kind == storage.LogExpireProfile
}

// write is one caller's mutations, committed and applied together.
type write struct {
	mutations []mutation
	model     EmbeddingModel
	updates   []AttributesUpdate // what the writer makes mutations of; nil for other writes
	missing   []string           // ids that a delete or an update did not find, in order; set by the writer
	rev       LSN                // when it is visible, all of the write is; set by the writer
	request   *request           // what makes it a request that is made once; nil for other writes
	replayed  bool               // it was made before: rev and missing are of then
	echoes    []*write           // of the same request, in the same group: answered alike
	done      chan error
}

// finish answers the write.
func (w *write) finish(err error) {
	for _, e := range w.echoes {
		e.rev, e.missing = w.rev, w.missing
		e.done <- err
	}
	w.done <- err
}

// writeGroup is the unit of commit and of application.
type writeGroup struct {
	writes    []*write
	requests  *requests  // of the collection; nil where no write can be a request
	mutations []mutation // of all writes, in LSN order
}

// Bounds of one group: enough to share an fsync among many writers, small enough that a group is applied
// in tens of milliseconds.
const (
	maxGroupMutations = 2048
	maxGroupBytes     = 16 << 20
)

// dtypeF32 is the type of every stored item vector: little-endian float32.
const dtypeF32 = 1

// Upsert writes items, replacing those that exist. All or nothing: when it returns nil every item is
// durable and visible, and the LSN can be sent as MinRevision. Where an id comes twice, the later one wins.
// The items must not change until it returns. Errors: *InvalidError (nothing written), *LimitError,
// *MemoryLimitError, storage's LowSpaceError; after a context error the write may or may not happen.
func (c *Collection) Upsert(ctx context.Context, items []Item) (LSN, error) {
	return c.UpsertWith(ctx, items, WriteOptions{})
}

// WriteOptions say under which conditions something is written.
type WriteOptions struct {
	// Model, where it is declared, must be that of the published release at the moment of the write, or the write fails
	// with *ModelMismatchError as a whole.
	Model EmbeddingModel
	// IfRevision, of deletes, is the revision that what is deleted must have, or the write fails with *RevisionMismatchError
	// as a whole. What does not exist is missing, whatever its revision was.
	IfRevision *LSN
	// RequestID, at most MaxRequestIDBytes, makes the write once: where one of that id was made before, among the last MaxRequests and
	// not longer ago than RequestTime, nothing is written and the answer is that of then. *InvalidError of field "request_id" where
	// that one asked for something else.
	RequestID string
}

// UpsertWith is Upsert under conditions.
func (c *Collection) UpsertWith(ctx context.Context, items []Item, o WriteOptions) (LSN, error) {
	var p problems
	p.requestID(o.RequestID, c.engine.opts.Limits)
	p.batch("items", len(items), c.engine.opts.Limits.MaxBatch)
	if err := p.err(); err != nil {
		return 0, err
	}
	muts, now := make([]mutation, len(items)), c.engine.micros()
	for i := range items {
		if p.full() {
			break
		}
		it := &items[i]
		field := fmt.Sprintf("items[%d]", i)
		attributes := it.Attributes.Sorted()
		p.id(field+".id", it.ID, c.engine.opts.Limits)
		p.expiry(field+".expire_time", it.ExpireTime, now)
		p.itemVector(field+".vector", it.Vector, c.cfg)
		p.attributes(field+".attributes", attributes, c.schema, c.engine.opts.Limits)
		if len(p.list) > 0 {
			continue // keep looking for violations, but encode no more
		}
		muts[i] = mutation{
			kind:       storage.LogPutItem,
			id:         it.ID,
			vector:     it.Vector,
			row:        encodeVector(it.Vector),
			attributes: encodeAttributes(attributes, it.ExpireTime),
			guard:      it.IfRevision,
		}
	}
	if err := p.err(); err != nil {
		return 0, err
	}
	w := &write{mutations: muts, model: o.Model}
	w.identify(o.RequestID)
	if err := c.submit(ctx, w); err != nil {
		return 0, err
	}
	return w.rev, nil
}

// Delete removes items. Ids that do not exist are returned in missing and are no error. When it returns nil
// the deletes are durable and no later search returns the items.
func (c *Collection) Delete(ctx context.Context, ids []string) (missing []string, rev LSN, err error) {
	return c.DeleteWith(ctx, ids, WriteOptions{})
}

// DeleteWith is Delete under conditions.
func (c *Collection) DeleteWith(ctx context.Context, ids []string, o WriteOptions) (missing []string, rev LSN, err error) {
	var p problems
	p.requestID(o.RequestID, c.engine.opts.Limits)
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	if err := c.validateIDs(ids); err != nil {
		return nil, 0, err
	}
	w := &write{mutations: make([]mutation, len(ids))}
	for i, id := range ids {
		w.mutations[i] = mutation{kind: storage.LogDeleteItem, id: id, guard: o.IfRevision}
	}
	w.identify(o.RequestID)
	if err := c.submit(ctx, w); err != nil {
		return nil, 0, err
	}
	return w.missing, w.rev, nil
}

// UpsertProfiles writes profiles with the guarantees of Upsert.
func (c *Collection) UpsertProfiles(ctx context.Context, profiles []Profile) (LSN, error) {
	return c.UpsertProfilesWith(ctx, profiles, WriteOptions{})
}

// UpsertProfilesWith is UpsertProfiles under conditions.
func (c *Collection) UpsertProfilesWith(ctx context.Context, profiles []Profile, o WriteOptions) (LSN, error) {
	var p problems
	p.requestID(o.RequestID, c.engine.opts.Limits)
	p.batch("profiles", len(profiles), c.engine.opts.Limits.MaxBatch)
	if err := p.err(); err != nil {
		return 0, err
	}
	w, now := &write{mutations: make([]mutation, len(profiles)), model: o.Model}, c.engine.micros()
	for i := range profiles {
		if p.full() {
			break
		}
		field := fmt.Sprintf("profiles[%d]", i)
		p.id(field+".user_id", profiles[i].UserID, c.engine.opts.Limits)
		p.interests(field+".interests", profiles[i].Interests, c.cfg, c.engine.opts.Limits)
		p.expiry(field+".expire_time", profiles[i].ExpireTime, now)
		if len(p.list) == 0 {
			m := mutation{kind: storage.LogPutProfile, id: profiles[i].UserID, count: len(profiles[i].Interests), guard: profiles[i].IfRevision}
			m.attributes = encodeAttributes(nil, profiles[i].ExpireTime)
			m.dtype, m.row = encodeInterests(profiles[i].Interests)
			w.mutations[i] = m
		}
	}
	if err := p.err(); err != nil {
		return 0, err
	}
	w.identify(o.RequestID)
	if err := c.submit(ctx, w); err != nil {
		return 0, err
	}
	return w.rev, nil
}

// DeleteProfile removes a user's profile, or returns *NotFoundError.
func (c *Collection) DeleteProfile(ctx context.Context, user string) (LSN, error) {
	return c.DeleteProfileWith(ctx, user, WriteOptions{})
}

// DeleteProfileWith is DeleteProfile under conditions.
func (c *Collection) DeleteProfileWith(ctx context.Context, user string, o WriteOptions) (LSN, error) {
	var p problems
	p.requestID(o.RequestID, c.engine.opts.Limits)
	p.id("user_id", user, c.engine.opts.Limits)
	if err := p.err(); err != nil {
		return 0, err
	}
	w := &write{mutations: []mutation{{kind: storage.LogDeleteProfile, id: user, guard: o.IfRevision}}}
	w.identify(o.RequestID)
	if err := c.submit(ctx, w); err != nil {
		return 0, err
	}
	if len(w.missing) > 0 {
		return 0, &NotFoundError{Kind: "user", Name: clip(user)}
	}
	return w.rev, nil
}

// submit hands a write to the writer and waits until it is durable and visible.
func (c *Collection) submit(ctx context.Context, w *write) error {
	if err := ctx.Err(); err != nil {
		return err // else it might be written all the same
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.calls.leave()
	if err := c.published.Load().failure(); err != nil {
		return err
	}
	w.done = make(chan error, 1)
	select {
	case c.writes <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		if err != nil || !w.replayed {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	// What it was may be committed and not visible yet.
	r, err := c.acquireAt(ctx, w.rev)
	if err == nil {
		r.leave()
	}
	return err
}

// writeLoop is the writer: it gathers what callers submitted while the last group was committed, numbers it,
// and commits it in one synced batch. It ends when writes is closed.
func (c *Collection) writeLoop() {
	defer close(c.stopped)
	var next *write // taken from writes, but over the last group's bounds
	for {
		w := next
		next = nil
		if w == nil {
			var open bool
			select {
			case w, open = <-c.writes:
				if !open {
					return
				}
			case fn := <-c.control:
				fn()
				continue
			}
		}
		g := &writeGroup{writes: []*write{w}, requests: c.requests}
		n, size := w.len(), w.size()
	gather:
		for {
			select {
			case w, open := <-c.writes:
				if !open {
					break gather // seen again by the receive above
				}
				n, size = n+w.len(), size+w.size()
				if n > maxGroupMutations || size > maxGroupBytes {
					next = w
					break gather
				}
				g.writes = append(g.writes, w)
			default:
				break gather
			}
		}
		r := c.published.Load()
		if r.resolveGroup(g); len(g.writes) == 0 {
			continue
		}
		if err := r.commit(g); err != nil {
			for _, w := range g.writes {
				w.finish(err)
			}
			continue
		}
		r.groups <- g
	}
}

func (w *write) len() int { return len(w.mutations) + len(w.updates) }

// size is about how many bytes the write takes. What an update will read is not known yet and not counted.
func (w *write) size() int {
	n := 0
	for i := range w.mutations {
		m := &w.mutations[i]
		n += len(m.id) + len(m.row) + len(m.attributes)
	}
	return n
}

// commit makes a group durable whose mutations have the next LSNs. On error nothing is written and no LSN is used up.
func (r *release) commit(g *writeGroup) error {
	if err := r.failure(); err != nil {
		return err
	}
	if err := r.roomFor(g); err != nil {
		return err
	}
	first := LSN(r.committed.Load())
	lsn := first
	b := r.rows.NewBatch()
	defer b.Close()
	for _, w := range g.writes {
		for i := range w.mutations {
			m := &w.mutations[i]
			lsn = m.lsn
			if err := r.put(b, m); err != nil {
				return err
			}
		}
		g.mutations = append(g.mutations, w.mutations...)
	}
	remembered, forgotten, err := g.remember(b, r.engine.micros())
	if err != nil {
		return err
	}
	r.appended.Store(uint64(lsn))
	if err := b.Commit(); err != nil {
		r.appended.Store(uint64(first))
		r.announce()
		return fmt.Errorf("commit LSN %d to %d: %w", first+1, lsn, err)
	}
	r.committed.Store(uint64(lsn))
	for _, q := range remembered {
		g.requests.add(q)
	}
	if forgotten > 0 {
		g.requests.forget(forgotten)
	}
	return nil
}

// remember adds to the batch what is to be remembered of the group's requests, and what is to be forgotten.
func (g *writeGroup) remember(b *storage.Batch, now int64) (made []*request, forgotten LSN, err error) {
	for _, w := range g.writes {
		if w.request == nil {
			continue
		}
		q := w.remember(now)
		data, err := q.encode()
		if err == nil {
			err = b.PutRequest(uint64(q.lsn), data)
		}
		if err != nil {
			return nil, 0, err
		}
		made = append(made, q)
	}
	if len(made) == 0 {
		return nil, 0, nil
	}
	if forgotten = g.requests.stale(now); forgotten > 0 {
		err = b.DropRequests(uint64(forgotten))
	}
	return made, forgotten, err
}

// roomFor refuses a group that the index might not hold: once durable it must be applicable.
func (r *release) roomFor(g *writeGroup) error {
	if r.index == nil {
		return nil // only on disk: see onDisk
	}
	n := 0
	for _, w := range g.writes {
		for i := range w.mutations {
			if w.mutations[i].takesSlot() {
				n++
			}
		}
	}
	return r.hasRoom(n)
}

// hasRoom refuses n puts that the index might not hold.
func (r *release) hasRoom(n int) error {
	// Two groups may be committed but not applied; a replaced item's slot stays taken for a grace period.
	slack := 3 * max(maxGroupMutations, r.engine.opts.Limits.MaxBatch)
	limit := r.index.Options().MaxSlots
	if n > 0 && n+min(slack, limit/4) > r.index.Available() {
		return &LimitError{Resource: "slots", Limit: limit}
	}
	if n == 0 {
		return nil
	}
	if err := r.memoryFor(n); err != nil {
		return err
	}
	return r.index.Reserve(n + min(slack, limit/4))
}

func (r *release) put(b *storage.Batch, m *mutation) error {
	switch m.kind {
	case storage.LogPutItem:
		return b.PutItem(storage.ItemRow{
			ID: m.id, LSN: uint64(m.lsn), DType: dtypeF32, Dim: uint32(r.cfg.Dim), Vector: m.row, Attributes: m.attributes,
		})
	case storage.LogDeleteItem:
		return b.DeleteItem(m.id, uint64(m.lsn))
	case storage.LogPutProfile:
		return b.PutProfile(storage.ProfileRow{
			UserID: m.id, LSN: uint64(m.lsn), DType: m.dtype, Dim: uint32(r.cfg.Dim), Count: uint32(m.count), Vectors: m.row,
			Attributes: m.attributes,
		})
	case storage.LogDeleteProfile:
		return b.DeleteProfile(m.id, uint64(m.lsn))
	case storage.LogExpireItem:
		return b.ExpireItem(m.id, uint64(m.lsn))
	case storage.LogExpireProfile:
		return b.ExpireProfile(m.id, uint64(m.lsn))
	case storage.LogSkip:
		return b.Skip(m.id, uint64(m.lsn))
	}
	panic(fmt.Sprintf("engine: mutation of kind %d", m.kind))
}

func (c *Collection) validateIDs(ids []string) error {
	var p problems
	p.batch("ids", len(ids), c.engine.opts.Limits.MaxBatch)
	for i, id := range ids {
		if p.full() || len(ids) > c.engine.opts.Limits.MaxBatch {
			break
		}
		p.id(fmt.Sprintf("ids[%d]", i), id, c.engine.opts.Limits)
	}
	return p.err()
}

func encodeVector(v []float32) []byte { return appendVector(make([]byte, 0, 4*len(v)), v) }

func appendVector(dst []byte, v []float32) []byte {
	for _, x := range v {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x))
	}
	return dst
}

var errVectorShape = errors.New("stored vector has another type or dimension than the collection")

// checkVector says whether b is the vector of an item.
func (r *release) checkVector(dtype uint8, dim uint32, b []byte) error {
	if dtype != dtypeF32 || int(dim) != r.cfg.Dim || len(b) != 4*r.cfg.Dim {
		return fmt.Errorf("%w: type %d, dimension %d, %d bytes", errVectorShape, dtype, dim, len(b))
	}
	return nil
}

// decodeVector is the inverse of encodeVector, appending to dst[:0].
func (r *release) decodeVector(dst []float32, dtype uint8, dim uint32, b []byte) ([]float32, error) {
	if err := r.checkVector(dtype, dim, b); err != nil {
		return nil, err
	}
	dst = dst[:0]
	for ; len(b) >= 4; b = b[4:] {
		dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return dst, nil
}
