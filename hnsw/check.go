package hnsw

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/segue-ann/segue/internal/invariants"
)

// Rule names an invariant of the index.
type Rule string

// The rules that Check verifies.
const (
	RuleState     Rule = "every slot is free, allocated, linking, live or in limbo, and the lists and counts agree"
	RuleEntry     Rule = "the entry point is live and on the highest level of any live node; there is none in an empty index"
	RuleRow       Rule = "a row holds slots that have its level, live ones if two-way, no self, no duplicate, and nil only at its end"
	RuleSymmetric Rule = "u has a two-way link to v if and only if v has one to u"
	RuleDegree    Rule = "a live node has at least 4 links on level 0, or one to every other node"
	RuleTree      Rule = "every live node but one has its parent among its links, and parents lead to the root"
	RuleBacklog   Rule = "slots that wait are allocated, or were linked just now, each once; slots that are hidden are live"
	RuleReachable Rule = "every live node is reachable from the entry point on level 0"
	RuleCodes     Rule = "the codes of a live vector are those of the codec in force"
	RuleVector    Rule = "a live vector is finite, its pad is zero, and under Cosine its norm is 1"
)

// maxFaults is the most faults one Check reports.
const maxFaults = 100

// CheckError says which slot breaks which rule on which level.
type CheckError struct {
	Slot  uint32
	Level int
	Rule  Rule
	// Detail tells what was found.
	Detail string
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("hnsw: slot %d, level %d: %s; broken: %s", e.Slot, e.Level, e.Detail, e.Rule)
}

// checker collects faults.
type checker struct {
	x    *Index
	errs []error
}

func (k *checker) fault(rule Rule, slot uint32, level int, format string, args ...any) {
	if len(k.errs) < maxFaults {
		k.errs = append(k.errs, &CheckError{Slot: slot, Level: level, Rule: rule, Detail: fmt.Sprintf(format, args...)})
	}
}

// Check verifies every rule of the index and returns a join of *CheckError, at most 100. Writers wait while it runs,
// searchers do not. Cost: it reads everything once.
func (x *Index) Check() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed.Load() {
		return ErrClosed
	}
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	k := &checker{x: x}
	k.states()
	k.backlog()
	live := x.appendLive(nil)
	k.entry(live)
	for _, v := range live {
		k.node(v)
		k.vector(v)
	}
	k.tree(live)
	k.reachable(live)
	return errors.Join(k.errs...)
}

// checkNode panics if a rule about one node is broken. The caller holds mu.
func (x *Index) checkNode(slot uint32) {
	k := &checker{x: x}
	k.node(slot)
	err := errors.Join(k.errs...)
	invariants.Check(err == nil, "after the commit of slot %d: %v", slot, err)
}

func (k *checker) states() {
	x := k.x
	slots := x.slots.Load()
	listed := make(map[uint32]uint32, len(x.free)+x.limbo.len())
	list := func(slot, state uint32) {
		if _, twice := listed[slot]; twice || slot >= slots {
			k.fault(RuleState, slot, 0, "listed twice, or never allocated")
		}
		listed[slot] = state
	}
	for _, slot := range x.free {
		list(slot, stateFree)
	}
	for _, l := range x.limbo.slots[x.limbo.head:] {
		list(l.slot, stateLimbo)
	}
	live, upper, links := 0, uint32(0), 0
	for slot := range slots {
		level := x.level(slot)
		if x.upperAt[slot] != upper {
			k.fault(RuleState, slot, 0, "upper rows at %d, not %d", x.upperAt[slot], upper)
		}
		upper += uint32(level)
		state, want := x.loadParent(slot), listed[slot]
		if state < slots {
			live++
			state = 0
			links += rowLength(x.row(slot, 0))
		}
		if x.isLive(slot) != (state == 0) {
			k.fault(RuleState, slot, 0, "live bit %t, parent %#x", x.isLive(slot), x.loadParent(slot))
		}
		// A slot on its way from takeSlot to Allocated is free and not listed.
		if want != 0 && want != state || want == 0 && state == stateLimbo || state != 0 && state < stateLimbo {
			k.fault(RuleState, slot, 0, "state %#x, listed as %#x", x.loadParent(slot), want)
		}
		if state == stateFree {
			for l := 0; l <= level; l++ {
				if rowLength(x.row(slot, l)) != 0 {
					k.fault(RuleState, slot, l, "free, with links")
				}
			}
		}
	}
	if live != x.Len() {
		k.fault(RuleState, 0, 0, "%d live slots, counted %d", live, x.Len())
	}
	if int64(links) != x.links.Load() {
		k.fault(RuleState, 0, 0, "%d links on level 0, counted %d", links, x.links.Load())
	}
	if upper != x.upperNext {
		k.fault(RuleState, 0, 0, "%d upper rows, counted %d", upper, x.upperNext)
	}
}

func (k *checker) backlog() {
	x, b := k.x, k.x.heldBacklog()
	seen := make(map[uint32]bool, len(b.waiting))
	for _, slot := range b.waiting {
		state := x.loadParent(slot)
		if late := slices.Contains(x.catchUp.late, slot); seen[slot] || late != x.isLive(slot) || !late && state != stateAllocated && state != stateLinking {
			k.fault(RuleBacklog, slot, 0, "waits in state %#x, linked just now %t, or twice", state, late)
		}
		seen[slot] = true
	}
	hides := 0
	for _, slot := range x.NextHidden(nil, int(x.slots.Load())) {
		hides++
		if !x.isLive(slot) {
			k.fault(RuleBacklog, slot, 0, "hidden and not live")
		}
	}
	if hides != x.catchUp.hides {
		k.fault(RuleBacklog, 0, 0, "%d hidden slots, counted %d", hides, x.catchUp.hides)
	}
}

func (k *checker) entry(live []uint32) {
	x := k.x
	entry := x.entry.Load()
	if len(live) == 0 || entry == noEntry {
		if len(live) > 0 || entry != noEntry {
			k.fault(RuleEntry, uint32(entry), 0, "%d live nodes, entry point %#x", len(live), entry)
		}
		return
	}
	slot, level := unpackEntryPoint(entry)
	top := 0
	for _, v := range live {
		top = max(top, x.level(v))
	}
	if slot >= x.slots.Load() || !x.isLive(slot) || level != top || x.level(slot) != top {
		k.fault(RuleEntry, slot, level, "entry point %#x, highest level %d", entry, top)
	}
}

// node verifies the rows of a live node.
func (k *checker) node(v uint32) {
	x := k.x
	for level := x.level(v); level >= 0; level-- {
		row := x.row(v, level)
		ids := appendLinks(nil, row)
		k.oneWay(v, level, row, ids)
		for i, w := range ids {
			switch {
			case w >= x.slots.Load() || !x.isLive(w) || x.level(w) < level:
				k.fault(RuleRow, v, level, "link to %d, which is not live there", w)
			case w == v || slices.Contains(ids[:i], w):
				k.fault(RuleRow, v, level, "link to %d, itself or twice", w)
			case linkIndex(x.row(w, level), v) < 0:
				k.fault(RuleSymmetric, v, level, "link to %d, which does not link back", w)
			}
		}
		if want := min(x.minLinks, x.Len()-1); level == 0 && len(ids) < want {
			k.fault(RuleDegree, v, level, "%d links of at least %d", len(ids), want)
		}
	}
}

// oneWay verifies the one-way links of a row, whose two-way links are ids.
func (k *checker) oneWay(v uint32, level int, row, ids []uint32) {
	x := k.x
	seen := slices.Clone(ids)
	for i := range rowLength(row) {
		switch w := row[i] &^ oneWay; {
		case row[i] == nilSlot:
			k.fault(RuleRow, v, level, "nil at %d of %d links", i, rowLength(row))
		case row[i] < oneWay:
		case !x.oneWayLinks || w >= x.slots.Load() || w == v || x.level(w) < level || slices.Contains(seen, w):
			k.fault(RuleRow, v, level, "one-way link to %d, itself, twice, or not allowed", w)
		default:
			seen = append(seen, w)
		}
	}
}

func (k *checker) vector(v uint32) {
	x := k.x
	row := x.vectors.row(v, nil)
	norm2 := 0.0
	for i, c := range row {
		norm2 += float64(c) * float64(c)
		if i >= x.o.Dim && c != 0 {
			k.fault(RuleVector, v, 0, "component %d of the pad is %g", i, c)
		}
	}
	if !(norm2 <= maxNorm2) || x.o.Metric == Cosine && math.Abs(norm2-1) > x.o.Precision.normTolerance() {
		k.fault(RuleVector, v, 0, "squared norm %g", norm2)
	}
	if c := x.codes.Load(); c != nil {
		want := make([]uint8, c.stride)
		c.encode(want, row[:x.o.Dim])
		if got := c.row(v); !bytes.Equal(got, want) {
			k.fault(RuleCodes, v, 0, "codes %v, want %v", got, want)
		}
	}
}

func (k *checker) tree(live []uint32) {
	x := k.x
	roots := 0
	// depth is the way to the root, found by walking up to a slot whose depth is known.
	depth := make(map[uint32]int, len(live))
	var path []uint32
	for _, v := range live {
		parent := x.loadParent(v)
		if parent == v {
			roots++
		} else if linkIndex(x.row(v, 0), parent) < 0 {
			k.fault(RuleTree, v, 0, "parent %#x is not linked", parent)
			continue
		}
		if n := x.treeLinks(v); n > x.maxTreeLinks() {
			k.fault(RuleTree, v, 0, "%d edges of the tree, at most %d", n, x.maxTreeLinks())
		}
		path = path[:0]
		at := v
		for len(path) <= len(live) {
			if _, known := depth[at]; known {
				break
			}
			path = append(path, at)
			up := x.loadParent(at)
			if up == at || up >= x.slots.Load() {
				break
			}
			at = up
		}
		if len(path) > len(live) {
			k.fault(RuleTree, v, 0, "parents go round")
			return
		}
		for _, u := range path {
			depth[u] = 0
		}
	}
	if roots != min(1, len(live)) {
		k.fault(RuleTree, 0, 0, "%d roots of %d nodes", roots, len(live))
	}
}

func (k *checker) reachable(live []uint32) {
	x := k.x
	entry := x.entry.Load()
	if entry == noEntry {
		return
	}
	start, _ := unpackEntryPoint(entry)
	if start >= x.slots.Load() {
		return
	}
	var seen visited
	seen.begin(x.slots.Load())
	seen.add(start)
	queue := []uint32{start}
	for i := 0; i < len(queue); i++ {
		for _, w := range appendLinks(nil, x.row(queue[i], 0)) {
			if w < x.slots.Load() && seen.add(w) {
				queue = append(queue, w)
			}
		}
	}
	for _, v := range live {
		if seen.add(v) {
			k.fault(RuleReachable, v, 0, "not reached from %d", start)
		}
	}
}
