package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"pgregory.net/rapid"
)

// releaseModel is what TestModel knows of the releases that do not serve. What serves is in model.truth.
type releaseModel struct {
	published uint32
	whole     map[uint32]*contents // ready and retired ones
	next      *importModel         // the unfinished import, or nil
	jobs      int
}

// contents is what a release holds.
type contents struct {
	items    map[string]Item
	profiles map[string][]float32
}

// importModel is an import that is not ready.
type importModel struct {
	job     string
	release uint32
	base    LSN
	batches []ImportRows // taken; the first durable of them are durable
	durable int
	rejects int // in all batches
	commit  bool
	// touched are the items and profiles that were written or deleted since the import began, as they are now; nil: gone.
	touched  map[string]*Item
	profiles map[string][]float32
	inherit  map[string][]float32 // profiles when it began
}

func (m *model) init() { m.published, m.whole = firstRelease, map[uint32]*contents{} }

// touch tells the other releases of a change of an item in the truth.
func (m *model) touch(id string) {
	it, ok := m.truth.items[id]
	for _, c := range m.whole {
		if delete(c.items, id); ok {
			c.items[id] = it
		}
	}
	if m.next == nil {
		return
	}
	m.next.touched[id] = nil
	if ok {
		m.next.touched[id] = &it
	}
}

func (m *model) touchProfile(user string) {
	v, ok := m.profiles[user]
	for _, c := range m.whole {
		if delete(c.profiles, user); ok {
			c.profiles[user] = v
		}
	}
	if m.next != nil {
		m.next.profiles[user] = v // nil: gone
	}
}

func (m *model) importStart(t *rapid.T) {
	if m.next != nil && m.next.commit {
		return // whether it still builds is a matter of time
	}
	m.jobs++
	job := fmt.Sprintf("job %d", m.jobs)
	if m.next != nil && rapid.Bool().Draw(t, "same") {
		job = m.next.job
	}
	info, err := m.c.StartImport(context.Background(), ImportOptions{JobID: job})
	if m.next != nil {
		if job == m.next.job && (err != nil || info.Release != m.next.release) || job != m.next.job && !errors.As(err, new(*BusyError)) {
			t.Fatalf("start %q during %q: %+v, %v", job, m.next.job, info, err)
		}
		return
	}
	if err != nil || info.State != ReleaseImporting || info.Sequence != 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	if m.lsn == 0 {
		m.lsn = 1 // so that something is older than the first write
	}
	m.next = &importModel{job: job, release: info.Release, base: m.lsn, touched: map[string]*Item{}, profiles: map[string][]float32{}, inherit: maps.Clone(m.profiles)}
}

func (m *model) importRows(t *rapid.T) {
	if m.next == nil {
		return
	}
	n := m.next
	batch := ImportRows{Sequence: uint64(len(n.batches) + 1)}
	rejects := 0
	for range rapid.IntRange(0, 8).Draw(t, "rows") {
		it := Item{ID: drawID(t), Vector: drawVector(t), Attributes: genAttributes().Draw(t, "attributes"), ExpireTime: m.drawExpiry(t), Revision: n.base}
		if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
			it.Vector[1] = float32(math.NaN())
			rejects++
		}
		batch.Items = append(batch.Items, it)
	}
	if rapid.Bool().Draw(t, "profile") {
		batch.Profiles = []Profile{{UserID: drawID(t), Interests: []Interest{{Vector: drawVector(t)}}}}
	}
	flush := rapid.Bool().Draw(t, "flush")
	durable, err := m.c.WriteImport(context.Background(), n.job, batch, flush)
	if n.commit {
		if !errors.As(err, new(*StateError)) {
			t.Fatalf("rows after the commit: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	n.batches = append(n.batches, batch)
	n.rejects += rejects
	if flush {
		n.durable = len(n.batches)
	}
	if durable != uint64(n.durable) {
		t.Fatalf("durable up to %d, want %d", durable, n.durable)
	}
	// Sent twice: nothing happens. Out of order: refused.
	if _, err := m.c.WriteImport(context.Background(), n.job, batch, false); err != nil {
		t.Fatal(err)
	}
	batch.Sequence += 2
	if _, err := m.c.WriteImport(context.Background(), n.job, batch, false); !errors.As(err, new(*SequenceError)) {
		t.Fatalf("a batch out of order: %v", err)
	}
}

func (m *model) importCommit(t *rapid.T) {
	if m.next == nil {
		return
	}
	info, err := m.c.CommitImport(context.Background(), m.next.job)
	if err != nil || info.State == ReleaseImporting {
		t.Fatalf("%+v, %v", info, err)
	}
	m.next.durable, m.next.commit = len(m.next.batches), true
}

func (m *model) importReady(t *rapid.T) {
	if m.next == nil || !m.next.commit {
		return
	}
	n := m.next
	info, err := m.c.WaitImport(context.Background(), n.job)
	if err != nil || info.State != ReleaseReady || info.Err != nil {
		t.Fatalf("%+v, %v", info, err)
	}
	c := &contents{items: map[string]Item{}, profiles: map[string][]float32{}}
	maps.Copy(c.profiles, n.inherit)
	rows := 0
	for _, b := range n.batches {
		for _, it := range b.Items {
			if !math.IsNaN(float64(it.Vector[1])) {
				c.items[it.ID] = it
				rows++
			}
		}
		for _, p := range b.Profiles {
			c.profiles[p.UserID] = p.Interests[0].Vector
			rows++
		}
	}
	if info.Accepted != rows || info.Rejected != n.rejects {
		t.Fatalf("%d accepted, %d rejected, want %d and %d", info.Accepted, info.Rejected, rows, n.rejects)
	}
	for id, it := range n.touched {
		if delete(c.items, id); it != nil {
			c.items[id] = *it
		}
	}
	for user, v := range n.profiles {
		if delete(c.profiles, user); v != nil {
			c.profiles[user] = v
		}
	}
	m.whole[n.release], m.next = c, nil
}

func (m *model) importCancel(t *rapid.T) {
	if m.next == nil || rapid.IntRange(0, 2).Draw(t, "sure") > 0 {
		return
	}
	n := m.next
	err := m.c.CancelImport(context.Background(), n.job)
	if err != nil && n.commit && errors.As(err, new(*StateError)) {
		return // it was ready already
	}
	if err != nil {
		t.Fatal(err)
	}
	m.next = nil
	info, err := m.c.Release(context.Background(), n.release)
	if err != nil || info.State != ReleaseDropped || !info.Cancelled {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, err := range m.e.store.Collection(m.c.id, n.release).Items("", 1) {
		t.Fatalf("a cancelled import left an item, %v", err)
	}
}

func (m *model) publish(t *rapid.T) {
	if len(m.whole) == 0 {
		return
	}
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.whole))).Draw(t, "release")
	if _, err := m.c.PublishRelease(context.Background(), id, PublishConditions{}); err != nil {
		t.Fatal(err)
	}
	m.switchTo(t, id)
}

// switchTo makes a whole release the truth, and forgets those that the retention dropped.
func (m *model) switchTo(t *rapid.T, id uint32) {
	m.whole[m.published] = &contents{items: m.truth.items, profiles: m.profiles}
	m.truth.items, m.profiles = m.whole[id].items, m.whole[id].profiles
	delete(m.whole, id)
	m.published = id
	m.expire()
	infos, err := m.c.Releases(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	states := map[uint32]ReleaseState{}
	retired := 0
	for _, info := range infos {
		if states[info.ID] = info.State; info.State == ReleaseRetired {
			retired++
		}
	}
	if states[id] != ReleasePublished || retired > 1 && m.next == nil {
		t.Fatalf("after publishing %d: %v", id, states)
	}
	for other := range m.whole {
		if !states[other].whole() {
			delete(m.whole, other)
		}
	}
}

func (m *model) rollback(t *rapid.T) {
	before, err := m.c.Release(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := m.c.RollbackCollection(context.Background())
	if m.whole[before.Previous] == nil {
		if !errors.As(err, new(*StateError)) {
			t.Fatalf("rollback to nothing: %+v, %v", info, err)
		}
		return
	}
	if err != nil || info.ID != before.Previous {
		t.Fatalf("rollback to %d: %+v, %v", before.Previous, info, err)
	}
	m.switchTo(t, info.ID)
}

// reopened says what an import must remember: what it acknowledged as durable, and not what it only took.
func (m *model) reopened(t *rapid.T) {
	n := m.next
	if n == nil {
		return
	}
	info, err := m.c.Import(context.Background(), n.job)
	if err != nil || !n.commit && info.Sequence != uint64(n.durable) {
		t.Fatalf("after a restart %+v, %v, want batch %d", info, err, n.durable)
	}
	for _, b := range n.batches[n.durable:] {
		for _, it := range b.Items {
			if math.IsNaN(float64(it.Vector[1])) {
				n.rejects--
			}
		}
	}
	n.batches = n.batches[:n.durable]
}
