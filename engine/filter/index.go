package filter

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/engine/attribute"
)

// MaxColumns bounds the pairs of attribute name and type that an index has columns for. It is beyond what a schema can
// declare; only items without a schema that use names as data reach it.
const MaxColumns = 4096

// Index holds the columns of one release.
type Index struct {
	schema Schema
	seed   maphash.Seed

	mu       sync.Mutex // guards everything to the next blank line; held while a group is published, never by readers
	staged   []change
	settled  []uint32
	position map[uint32]int // of a slot in staged
	numbers  map[columnID]int
	scratch  map[int]*stage

	markets marketSets
	view    atomic.Pointer[view]
	ready   chan struct{} // closed when the base is there
	keep    kept
	sets    sync.Pool // of *hnsw.SlotSet, all about as large as this index needs
}

// columnID names a column. The column of the zero name holds all live slots under key 0.
type columnID struct {
	name string
	t    attribute.Type
}

// view is all that readers see: one state between two groups.
type view struct {
	version uint64
	live    *column
	columns []*column
	byID    map[columnID]int // position in columns; a copy of numbers
	full    bool             // an attribute got no column, since there were MaxColumns
	recent  []group          // the last groups, oldest first
	moved   []moves          // slots that got or lost an item, oldest first
}

// Move says that a slot got an item, or was settled, or else lost its item.
type Move struct {
	Slot uint32
	Live bool
}

// group is what one Publish changed.
type group struct {
	version uint64
	changes []change
}

// change is the state of one slot after a group.
type change struct {
	slot            uint32
	wasLive, live   bool
	old, attributes []byte // encoded; empty where not live
}

// moves are those of some groups.
type moves struct {
	last  uint64 // version of the last of the groups
	slots []Move // in the order of the groups
}

// Bounds of what Moved knows: the number of slots in all, and in one of the moves that groups are gathered in.
const (
	maxMoved    = 1 << 16
	movesGather = 1 << 10
)

// Bounds of the changes that a view remembers: beyond them a kept result is computed anew.
const (
	maxRecent       = 4096
	maxRecentGroups = 256
)

// stage gathers what a group does to one column.
type stage struct {
	touched []uint32
	pairs   []pair
}

// New returns an index without items. Attributes that the schema declares not filterable get no column. Where loading is
// true, Evaluate waits until Load has put the base below what is published meanwhile.
func New(schema Schema, loading bool) *Index {
	x := &Index{
		schema:   schema,
		seed:     maphash.MakeSeed(),
		position: make(map[uint32]int),
		numbers:  make(map[columnID]int),
		scratch:  make(map[int]*stage),
		ready:    make(chan struct{}),
	}
	v := &view{live: &column{}}
	if !loading {
		v.live = v.live.under(&run{base: true})
		close(x.ready)
	}
	x.view.Store(v)
	x.markets.numbers = make(map[attribute.MarketSet]uint64)
	x.markets.list.Store(new([]attribute.MarketSet))
	x.keep.entries = make(map[string]*keptResult)
	return x
}

// Insert stages that slot, which held no item, holds one with these attributes. Encoded attributes must not change
// afterwards; the index lets go of them after some thousand changes.
func (x *Index) Insert(slot uint32, attributes []byte) {
	x.stage(change{slot: slot, live: true, attributes: attributes})
}

// Update stages that the attributes of the item in slot change.
func (x *Index) Update(slot uint32, old, attributes []byte) {
	x.stage(change{slot: slot, wasLive: true, live: true, old: old, attributes: attributes})
}

// Remove stages that slot, whose item had these attributes, holds none any more.
func (x *Index) Remove(slot uint32, old []byte) {
	x.stage(change{slot: slot, wasLive: true, old: old})
}

// stage folds changes of one slot in one group into one: from its first old state to its last new one.
func (x *Index) stage(c change) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i, again := x.position[c.slot]; again {
		x.staged[i].live, x.staged[i].attributes = c.live, c.attributes
		return
	}
	x.position[c.slot] = len(x.staged)
	x.staged = append(x.staged, c)
}

// Settle stages that slot is found by its item's id from now on, which Moved tells. Evaluate is not concerned.
func (x *Index) Settle(slot uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.settled = append(x.settled, slot)
}

// Publish makes everything staged visible at once. Cost: O(log n) a changed value, amortised.
func (x *Index) Publish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.staged) == 0 && len(x.settled) == 0 {
		return
	}
	v := *x.view.Load()
	v.version++
	v.columns = slices.Clone(v.columns)
	x.stageColumns(&v)
	for n, s := range x.scratch {
		v.columns[n] = x.push(v.columns[n], s)
	}
	clear(x.scratch)
	x.share(&v)
	var live stage
	moved := make([]Move, 0, len(x.settled)+len(x.staged))
	for _, slot := range x.settled {
		moved = append(moved, Move{slot, true})
	}
	for _, c := range x.staged {
		if c.live == c.wasLive {
			continue
		}
		live.touched = append(live.touched, c.slot)
		moved = append(moved, Move{c.slot, c.live})
		if c.live {
			live.pairs = append(live.pairs, pair{slot: c.slot})
		}
	}
	v.moved = addMoves(v.moved, v.version, moved)
	v.live = x.push(v.live, &live)
	v.recent = remember(v.recent, group{version: v.version, changes: x.staged})
	x.staged, x.settled = nil, nil
	clear(x.position)
	x.view.Store(&v)
}

// push adds what a group did to a column.
func (x *Index) push(c *column, s *stage) *column {
	if len(s.touched) == 0 {
		return c
	}
	return c.push(newRun(s.pairs, s.touched, false))
}

// remember appends g and forgets the oldest groups beyond maxRecent changes, or all where g alone is beyond.
func remember(recent []group, g group) []group {
	n := len(g.changes)
	if n > maxRecent {
		return nil
	}
	from := len(recent)
	for from > 0 && len(recent)-from+1 < maxRecentGroups && n+len(recent[from-1].changes) <= maxRecent {
		from--
		n += len(recent[from].changes)
	}
	return append(slices.Clone(recent[from:]), g)
}

// addMoves appends what one group moved, and forgets the oldest beyond maxMoved.
func addMoves(moved []moves, version uint64, slots []Move) []moves {
	if len(slots) == 0 {
		return moved
	}
	out := slices.Clone(moved)
	if n := len(out); n > 0 && len(out[n-1].slots)+len(slots) <= movesGather {
		last := &out[n-1]
		last.last, last.slots = version, append(slices.Clip(last.slots), slots...)
	} else {
		out = append(out, moves{last: version, slots: slices.Clone(slots)})
	}
	total := 0
	for i := len(out) - 1; i >= 0; i-- {
		if total += len(out[i].slots); total > maxMoved {
			// What is older than the last of those forgotten cannot be told any more.
			return append([]moves{{last: out[i].last}}, out[i+1:]...)
		}
	}
	return out
}

// Moved returns the version published last, and the slots that got or lost an item, or were settled, after the version since: all of
// them, and maybe some of before, in the order of the changes, so that what is told of a slot last is how it is. It returns false where
// that is not known any more.
func (x *Index) Moved(since uint64) (moved []Move, version uint64, ok bool) {
	v := x.view.Load()
	if since > v.version || len(v.moved) > 0 && len(v.moved[0].slots) == 0 && since < v.moved[0].last {
		return nil, v.version, false
	}
	from := len(v.moved)
	for from > 0 && v.moved[from-1].last > since {
		from--
	}
	for _, m := range v.moved[from:] {
		moved = append(moved, m.slots...)
	}
	return moved, v.version, true
}

// stageColumns compares old and new attributes of every staged slot.
func (x *Index) stageColumns(v *view) {
	for i := range x.staged {
		c := &x.staged[i]
		was := attribute.Read(c.old)
		oldName, oldRaw, hasOld := was.Next()
		for name, raw := range attribute.All(c.attributes) {
			for hasOld && string(oldName) < string(name) {
				x.touch(v, c.slot, oldName, oldRaw.Type)
				oldName, oldRaw, hasOld = was.Next()
			}
			if hasOld && string(oldName) == string(name) {
				same := oldRaw.Equal(raw)
				if oldRaw.Type != raw.Type {
					x.touch(v, c.slot, oldName, oldRaw.Type)
				}
				oldName, oldRaw, hasOld = was.Next()
				if same {
					continue
				}
			}
			if s := x.touch(v, c.slot, name, raw.Type); s != nil {
				s.pairs = x.appendPairs(s.pairs, c.slot, raw)
			}
		}
		for hasOld {
			x.touch(v, c.slot, oldName, oldRaw.Type)
			oldName, oldRaw, hasOld = was.Next()
		}
	}
}

// touch returns the stage of a column, which then speaks of slot; nil where the attribute has no column.
func (x *Index) touch(v *view, slot uint32, name []byte, t attribute.Type) *stage {
	n := x.column(v, name, t)
	if n < 0 {
		return nil
	}
	s := x.scratch[n]
	if s == nil {
		s = new(stage)
		x.scratch[n] = s
	}
	s.touched = append(s.touched, slot)
	return s
}

// column returns the position of a column, which it makes where there is none yet; -1 where the attribute gets none.
func (x *Index) column(v *view, name []byte, t attribute.Type) int {
	if n, ok := x.numbers[columnID{string(name), t}]; ok { // no allocation: the compiler sees the lookup
		return n
	}
	id := columnID{string(name), t}
	if f, declared := x.schema[id.name]; declared && !f.Filterable {
		return -1
	}
	if len(v.columns) >= MaxColumns {
		v.full = true
		return -1
	}
	n := len(v.columns)
	c := &column{}
	if x.isReady() {
		c = c.under(&run{base: true})
	}
	v.columns = append(v.columns, c)
	x.numbers[id] = n
	return n
}

// share lets readers of v find the columns that column made.
func (x *Index) share(v *view) {
	if len(v.byID) < len(x.numbers) {
		v.byID = maps.Clone(x.numbers)
	}
}

// Loading reports whether Evaluate waits for Load.
func (x *Index) Loading() bool { return !x.isReady() }

func (x *Index) isReady() bool {
	select {
	case <-x.ready:
		return true
	default:
		return false
	}
}

// appendPairs appends the pairs of one value.
func (x *Index) appendPairs(dst []pair, slot uint32, raw attribute.Raw) []pair {
	switch raw.Type {
	case attribute.Keyword:
		for k := range raw.Keywords() {
			dst = append(dst, pair{maphash.Bytes(x.seed, k), slot})
		}
		return dst
	case attribute.Markets:
		return append(dst, pair{x.markets.key(raw.MarketBytes()), slot})
	}
	return append(dst, pair{scalarKey(raw), slot})
}

// marketSets numbers the distinct sets of markets, of which a catalogue has few.
type marketSets struct {
	mu      sync.Mutex // guards numbers, and writing list
	numbers map[attribute.MarketSet]uint64
	list    atomic.Pointer[[]attribute.MarketSet] // by number; grows only
}

// key returns the number of a set.
func (m *marketSets) key(set []byte) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.numbers[attribute.MarketSet(set)]; ok {
		return k
	}
	k := uint64(len(m.numbers))
	m.numbers[attribute.MarketSet(set)] = k
	list := append(*m.list.Load(), attribute.MarketSet(set)) // readers do not look beyond the length they have
	m.list.Store(&list)
	return k
}

// having returns, by number, which sets have one of the markets.
func (m *marketSets) having(markets attribute.MarketSet) []bool {
	list := *m.list.Load()
	want := make([]bool, len(list))
	for i, s := range list {
		want[i] = overlap(string(s), markets)
	}
	return want
}

// loadChunk is how many slots Load sorts at a time: what bounds the memory it takes beyond the columns.
const loadChunk = 1 << 16

// Load builds the base of an index made with loading from the items of a release, while groups are published: what is
// published after Load began counts for its slots. It must be called once, and not before what items yields has
// everything published earlier. items may be consumed slowly; it yields each slot at most once. When ctx ends first the
// index stays not ready.
func (x *Index) Load(ctx context.Context, items iter.Seq2[uint32, []byte]) error {
	l := loader{x: x, columns: make(map[columnID]*column), live: &column{}, stages: make(map[columnID]*stage)}
	n := 0
	for slot, attributes := range items {
		l.add(slot, attributes)
		if n++; n%loadChunk == 0 {
			l.flush()
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("load filter index: %w", err)
			}
		}
	}
	l.flush()
	l.install()
	return nil
}

// loader is a Load under way.
type loader struct {
	x       *Index
	columns map[columnID]*column
	stages  map[columnID]*stage
	live    *column
	added   stage // of live
	full    bool  // as view.full
}

func (l *loader) add(slot uint32, attributes []byte) {
	l.added.touched = append(l.added.touched, slot)
	l.added.pairs = append(l.added.pairs, pair{slot: slot})
	for name, raw := range attribute.All(attributes) {
		id := columnID{string(name), raw.Type}
		s := l.stages[id]
		if s == nil {
			if f, declared := l.x.schema[id.name]; declared && !f.Filterable {
				continue
			}
			if len(l.stages) >= MaxColumns {
				l.full = true
				continue
			}
			s = new(stage)
			l.stages[id] = s
			l.columns[id] = &column{}
		}
		s.touched = append(s.touched, slot)
		s.pairs = l.x.appendPairs(s.pairs, slot, raw)
	}
}

// flush pushes what was added as runs.
func (l *loader) flush() {
	for id, s := range l.stages {
		l.columns[id] = l.x.push(l.columns[id], s)
		*s = stage{}
	}
	l.live = l.x.push(l.live, &l.added)
	l.added = stage{}
}

// install puts what was loaded below what was published.
func (l *loader) install() {
	bases := make(map[columnID]*run, len(l.columns))
	for id, c := range l.columns {
		bases[id] = c.flat()
	}
	live := l.live.flat()
	x := l.x
	x.mu.Lock()
	defer x.mu.Unlock()
	v := *x.view.Load()
	v.version++
	v.columns = slices.Clone(v.columns)
	for id := range bases {
		x.column(&v, []byte(id.name), id.t)
	}
	x.share(&v)
	for id, n := range x.numbers {
		base := bases[id]
		if base == nil {
			base = &run{base: true}
		}
		v.columns[n] = v.columns[n].under(base)
	}
	v.live = v.live.under(live)
	v.full = v.full || l.full
	v.recent = nil
	x.view.Store(&v)
	close(x.ready)
}

// Stats says what an index holds.
type Stats struct {
	Columns int
	Bytes   int64 // of the columns and of kept results
}

// Stats returns the index's numbers. Cost: O(columns).
func (x *Index) Stats() Stats {
	v := x.view.Load()
	s := Stats{Columns: len(v.columns), Bytes: v.live.bytes() + x.keep.bytes()}
	for _, c := range v.columns {
		s.Bytes += c.bytes()
	}
	return s
}

// Version returns a number that rises with every change: a set of slots computed at the same version is up to date.
func (x *Index) Version() uint64 { return x.view.Load().version }
