package engine

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/segue-ann/segue/storage"
)

// resolveGroup makes a group ready to be committed: it turns updates into puts of whole rows, since recovery, releases and snapshots
// know no other change of an item; checks conditions; finds out which deletes find nothing; and numbers what is left. Writes that
// fail or come to nothing are answered and leave the group. The writer calls it. It alone changes rows, so what it reads is what
// is replaced: a condition that holds here holds in the order of the log.
func (r *release) resolveGroup(g *writeGroup) {
	x := resolution{r: r, next: LSN(r.committed.Load()), now: r.engine.micros(), requests: map[string]*write{}}
	if slices.ContainsFunc(g.writes, (*write).reads) {
		x.newest = make(map[stateKey]*mutation)
		x.readAhead(g)
	}
	g.writes = slices.DeleteFunc(g.writes, func(w *write) bool {
		if x.answered(g.requests, w) {
			return true
		}
		err := x.resolve(w)
		if err == nil && len(w.mutations) > 0 {
			if w.request != nil {
				x.requests[w.request.ID] = w
			}
			return false
		}
		w.rev = x.next
		w.finish(err)
		return true
	})
}

// reads says whether it matters to the write what is there.
func (w *write) reads() bool {
	return w.updates != nil || slices.ContainsFunc(w.mutations, func(m mutation) bool { return m.needsState() })
}

// resolution is the resolving of one group.
type resolution struct {
	r    *release
	next LSN // the last one given to a mutation
	now  int64
	// newest holds, of what the group changed so far, the last change; nil where no write of the group reads.
	newest map[stateKey]*mutation
	// ahead holds rows as they were before the group.
	ahead map[stateKey]stored
	// requests are those of the group that are to be made, by id.
	requests map[string]*write
}

// answered says that the write is a request that was made before, or is about to be made by another write of the group: it is
// answered, or will be with that one.
func (x *resolution) answered(made *requests, w *write) bool {
	if w.request == nil {
		return false
	}
	twin := x.requests[w.request.ID]
	var was *request
	switch {
	case twin != nil:
		was = twin.request
	case made != nil:
		was = made.get(w.request.ID, x.now)
	}
	switch {
	case was == nil:
		return false
	case !bytes.Equal(was.Digest, w.request.Digest):
		w.finish(reused(w.request.ID))
	case twin != nil:
		twin.echoes = append(twin.echoes, w)
	default:
		w.rev, w.missing, w.replayed = was.lsn, was.Missing, true
		w.finish(nil)
	}
	return true
}

// stateKey names an item or a profile.
type stateKey struct {
	profile bool
	id      string
}

func (m *mutation) key() stateKey { return stateKey{m.ofProfile(), m.id} }

// resolve resolves one write. On error nothing of it is noted.
func (x *resolution) resolve(w *write) error {
	if err := x.r.model.fits(w.model); err != nil {
		return err
	}
	first := x.next
	if x.newest == nil {
		for i := range w.mutations {
			x.next++
			w.mutations[i].lsn = x.next
		}
		w.rev = x.next
		return nil
	}
	type before struct {
		key stateKey
		was *mutation
	}
	var undo []before
	muts := make([]mutation, 0, w.len()) // never grows: newest points into it
	for i := range w.len() {
		m, err := x.mutation(w, i)
		if err != nil {
			for _, b := range slices.Backward(undo) {
				if x.newest[b.key] = b.was; b.was == nil {
					delete(x.newest, b.key)
				}
			}
			x.next = first
			return err
		}
		if m == nil {
			continue
		}
		x.next++
		m.lsn = x.next
		muts = append(muts, *m)
		if key := m.key(); m.kind != storage.LogSkip {
			undo = append(undo, before{key, x.newest[key]})
			x.newest[key] = &muts[len(muts)-1]
		}
	}
	w.mutations, w.rev = muts, x.next
	return nil
}

// mutation returns number i of a write, or nil where that comes to nothing.
func (x *resolution) mutation(w *write, i int) (*mutation, error) {
	if w.updates != nil {
		return x.updated(w, i)
	}
	m := &w.mutations[i]
	if !m.needsState() {
		return m, nil
	}
	is, err := x.state(m.key())
	if err != nil {
		return nil, err
	}
	there := x.there(is)
	switch {
	case m.kind == storage.LogExpireItem || m.kind == storage.LogExpireProfile:
		if there || is.removes() || is.lsn != *m.guard {
			return nil, nil // deleted or written since
		}
		return m, nil
	case m.removes() && !there:
		w.missing = append(w.missing, m.id)
		if m.guard != nil {
			return nil, nil
		}
		// It is logged all the same: a release that is being imported may have what this one lacks.
		return m, nil
	}
	if err := x.guarded(m.key(), m.guard, is); err != nil {
		return nil, err
	}
	return m, nil
}

// guarded checks the condition of a write against what is there.
func (x *resolution) guarded(key stateKey, guard *LSN, is *mutation) error {
	if guard == nil {
		return nil
	}
	current := LSN(0)
	if x.there(is) {
		current = is.lsn
	}
	if current == *guard {
		return nil
	}
	e := &RevisionMismatchError{Kind: "item", Name: clip(key.id), Want: *guard, Current: current}
	if key.profile {
		e.Kind = "user"
	}
	return e
}

// there says whether a state is that of something that exists.
func (x *resolution) there(is *mutation) bool { return !is.removes() && !over(is.attributes, x.now) }

// stored is what the store has of an id.
type stored struct {
	is  *mutation
	err error
}

// readAheadFrom is of how many rows on it pays to read them on all cores.
const readAheadFrom = 8

// readAhead reads the rows that the writes of a group are about, on all cores: the reads are most of what an update costs, and the writer
// is one goroutine.
func (x *resolution) readAhead(g *writeGroup) {
	var keys []stateKey
	for _, w := range g.writes {
		for i := range w.updates {
			keys = append(keys, stateKey{id: w.updates[i].ID})
		}
		for i := range w.mutations {
			if m := &w.mutations[i]; m.needsState() {
				keys = append(keys, m.key())
			}
		}
	}
	if len(keys) < readAheadFrom {
		return
	}
	read := make([]stored, len(keys))
	_ = parallel(len(keys), nil, func(_, i int) error {
		read[i].is, read[i].err = x.r.read(keys[i])
		return nil
	})
	x.ahead = make(map[stateKey]stored, len(keys))
	for i, key := range keys {
		x.ahead[key] = read[i]
	}
}

// needsState says whether it matters to a mutation what is there.
func (m *mutation) needsState() bool {
	return m.guard != nil || m.removes() && m.kind != storage.LogSkip
}

// state returns what is there of an id, as the mutation that would make it so.
func (x *resolution) state(key stateKey) (*mutation, error) {
	if m := x.newest[key]; m != nil {
		return m, nil
	}
	if s, ok := x.ahead[key]; ok {
		return s.is, s.err
	}
	return x.r.read(key)
}

// read returns what the store has of an id, as the mutation that would make it so. Of an item it lacks the vector's components.
func (r *release) read(key stateKey) (*mutation, error) {
	if !key.profile {
		return r.readPut(key.id)
	}
	row, err := r.rows.Profile(key.id)
	if errors.Is(err, storage.ErrNotFound) {
		return &mutation{kind: storage.LogDeleteProfile, id: key.id}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("profile of user %q: %w", clip(key.id), err)
	}
	return &mutation{kind: storage.LogPutProfile, id: key.id, lsn: LSN(row.LSN), attributes: row.Attributes}, nil
}

// updated returns the put that update i of a write comes to.
func (x *resolution) updated(w *write, i int) (*mutation, error) {
	u := &w.updates[i]
	key := stateKey{id: u.ID}
	is, err := x.state(key)
	if err != nil {
		return nil, err
	}
	if !x.there(is) {
		w.missing = append(w.missing, u.ID)
		return nil, nil
	}
	if err := x.guarded(key, u.IfRevision, is); err != nil {
		return nil, err
	}
	changed := *is // which keeps its vector unless a put of this group brought it
	changed.guard = nil
	changed.attributes, err = u.apply(is.attributes, x.r.engine.opts.Limits, i)
	return &changed, err
}
