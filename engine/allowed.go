package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
)

// Filter is a condition on the attributes of an item; see package filter. nil is fulfilled by every item.
type Filter = filter.Expr

// allowance is what filter and exclusions of a request come to, at one moment.
type allowance struct {
	// set holds the slots that may be found; nil means all.
	set      *hnsw.SlotSet
	matching int // slots in set
	// asked says that the request has a filter or exclusions; without it set leaves out what has expired.
	asked bool
	now   int64

	applies uint64 // release.applies when it was made

	r       *release
	program *filter.Program // of filter and excluded attributes; nil where there are none
	ids     map[string]bool
	sets    []*excluded
	result  filter.Result
	own     *hnsw.SlotSet // set, where it is nobody else's
}

// allowed resolves filter and exclusions of a valid request to slots. The caller holds a searcher of the index from before, so that no
// slot is reused, and releases the allowance before it. Cost: that of filter.Index.Evaluate, of Collection.excluded for each set, and one
// pass over a bitmap.
func (r *release) allowed(ctx context.Context, f *Filter, x *Exclusions) (a allowance, err error) {
	a.applies = r.applies.Load()
	a.r, a.now, a.asked = r, r.engine.micros(), f != nil || !x.none()
	// Without a filter what has expired need not be left out here, and is not worth waiting for filters to load.
	expired := r.expiries.expired(r.table, a.now) && (a.asked || !r.filters.Loading())
	if !a.asked && !expired {
		return a, nil
	}
	a.program = programOf(f, x)
	a.result, err = r.filters.Evaluate(ctx, a.program)
	if errors.Is(err, filter.ErrTooManyAttributes) {
		var p problems
		p.add(ReasonUnknownAttribute, "filter", "%v", err)
		return allowance{}, p.err()
	}
	if err != nil {
		return allowance{}, err
	}
	a.set = a.result.Set
	// After Evaluate: sets of before could name a slot that was given to another item, which is allowed, between the two.
	for _, name := range x.Sets {
		s, err := r.excluded(ctx, name)
		if err != nil {
			a.release()
			return allowance{}, err
		}
		a.sets = append(a.sets, s)
	}
	if len(x.ItemIDs) > 0 || len(x.Sets) > 0 || expired {
		a.own = r.filters.Scratch()
		a.own.CopyFrom(a.set)
		a.set = a.own
		r.expiries.removeFrom(a.own)
		for _, s := range a.sets {
			s.removeFrom(a.own)
		}
		a.ids = make(map[string]bool, len(x.ItemIDs))
		for _, id := range x.ItemIDs {
			a.ids[id] = true
			if slot, ok := r.table.slotOf(id); ok {
				a.own.Remove(slot)
			}
		}
	}
	a.matching = a.set.Len()
	return a, nil
}

// programOf joins a filter and excluded values of attributes; nil where there are neither.
func programOf(f *Filter, x *Exclusions) *filter.Program {
	none := x.valuesFilter()
	if len(none.Args) == 0 {
		if f == nil {
			return nil
		}
		return filter.Compile(f)
	}
	e := Filter{Op: filter.All, Args: []Filter{none}}
	if f != nil {
		e.Args = append(e.Args, *f)
	}
	return filter.Compile(&e)
}

// valuesFilter is the condition that an item has none of the excluded values.
func (x *Exclusions) valuesFilter() Filter {
	none := Filter{Op: filter.None}
	for _, a := range x.Attributes {
		none.Args = append(none.Args, Filter{Op: filter.In, Attribute: a.Attribute, Values: a.Values})
	}
	if x.Bitmap != nil {
		none.Args = append(none.Args, x.Bitmap.condition())
	}
	return none
}

// admits says whether the item of e may be answered, by its attributes as they are now and the time when the search began. A search asks it of what it found: an item that was
// written after its slot was found allowed may have another slot, or other attributes.
func (a *allowance) admits(e entry) bool {
	if over(e.attributes(), a.now) { // set may hold such items: see expiries.expired
		return false
	}
	if a.set == nil {
		return true
	}
	if a.current() {
		return a.set.Contains(e.slot())
	}
	if a.ids[string(e.idBytes())] || a.program != nil && !a.program.Match(e.attributes()) {
		return false
	}
	return !slices.ContainsFunc(a.sets, func(x *excluded) bool { return x.holds(&a.r.engine.exclusions, e.idBytes()) })
}

// current says that nothing was written since the allowance was made: every item has the slot and the attributes that it had.
func (a *allowance) current() bool {
	return a.r != nil && a.applies%2 == 0 && a.r.applies.Load() == a.applies
}

// release gives back what allowed took.
func (a *allowance) release() {
	if a.set == nil {
		return
	}
	a.result.Release()
	if a.own != nil {
		a.r.filters.Recycle(a.own)
	}
}

// whyDenied says why filter or exclusions of a request do not allow an item.
func (r *release) whyDenied(ctx context.Context, a *Absence, e entry, req *SearchRequest) error {
	x := &req.Exclusions
	if slices.Contains(x.ItemIDs, e.id()) {
		a.Reason, a.Clause, a.Detail = Excluded, e.id(), "the request excludes its id"
		return nil
	}
	for _, name := range x.Sets {
		s, err := r.excluded(ctx, name)
		if err != nil {
			return err
		}
		if s.holds(&r.engine.exclusions, e.idBytes()) {
			a.Reason, a.Clause, a.Detail = Excluded, name, fmt.Sprintf("it is in exclusion set %q", clip(name))
			return nil
		}
	}
	for _, excluded := range x.valuesFilter().Args {
		if excluded.Failing(e.attributes()) == nil {
			a.Reason, a.Clause = Excluded, excluded.String()
			a.Detail = "the request excludes " + a.Clause
			return nil
		}
	}
	a.Reason, a.Detail = FilteredOut, "it changed while this was looked into"
	if req.Filter != nil {
		if failing := req.Filter.Failing(e.attributes()); failing != nil {
			a.Clause = failing.String()
			a.Detail = "it does not fulfil " + a.Clause
		}
	}
	return nil
}

// filterReasons says how the API names a filter's problems.
var filterReasons = map[filter.Kind]Reason{
	filter.Required: ReasonRequired, filter.OutOfRange: ReasonOutOfRange, filter.Malformed: ReasonInvalidFormat,
	filter.UnknownName: ReasonUnknownAttribute, filter.NotFilterable: ReasonNotFilterable,
	filter.Incomparable: ReasonAttributeType, filter.TooLong: ReasonTooLong,
}

// filter checks a filter against the schema.
func (p *problems) filter(field string, f *Filter, schema filter.Schema) {
	if f == nil {
		return
	}
	if bad := f.Validate(schema); bad != nil {
		if bad.Path != "" {
			field += "." + bad.Path
		}
		p.add(filterReasons[bad.Kind], field, "%s", bad.Rule)
	}
}

// exclusions checks what a search excludes.
func (p *problems) exclusions(field string, x *Exclusions, schema filter.Schema, l Limits) {
	if n := len(x.ItemIDs); n > l.MaxBatch {
		p.add(ReasonOutOfRange, field+".item_ids", "must be at most %d, are %d", l.MaxBatch, n)
		return
	}
	for i, id := range x.ItemIDs {
		if p.full() {
			return
		}
		p.id(fmt.Sprintf("%s.item_ids[%d]", field, i), id, l)
	}
	if n := len(x.Sets); n > MaxExclusionSets {
		p.add(ReasonOutOfRange, field+".exclusion_sets", "must be at most %d, are %d", MaxExclusionSets, n)
		return
	}
	for i, name := range x.Sets {
		p.id(fmt.Sprintf("%s.exclusion_sets[%d]", field, i), name, l)
	}
	if n := len(x.Attributes); n > filter.MaxConditions {
		p.add(ReasonOutOfRange, field+".attribute_values", "must be at most %d, are %d", filter.MaxConditions, n)
		return
	}
	if x.Bitmap != nil {
		e := x.Bitmap.condition()
		p.filter(field+".bitmap", &e, schema)
	}
	values := 0
	for i := range x.Attributes {
		at := fmt.Sprintf("%s.attribute_values[%d]", field, i)
		e := Filter{Op: filter.In, Attribute: x.Attributes[i].Attribute, Values: x.Attributes[i].Values}
		if bad := e.Validate(schema); bad != nil {
			p.add(filterReasons[bad.Kind], at, "%s", bad.Rule)
		}
		for _, v := range e.Values {
			values += max(1, len(v.Keywords))
		}
	}
	if values > filter.MaxValues {
		p.add(ReasonOutOfRange, field+".attribute_values", "must be at most %d values in all, are %d", filter.MaxValues, values)
	}
}

// ParseFilter reads a filter string of AIP-160 by the collection's schema; nil where it is empty. Errors: *InvalidError of field "filter_expression".
func (c *Collection) ParseFilter(s string) (*Filter, error) {
	e, bad := filter.Parse(s, c.cfg.filterSchema())
	if bad != nil {
		return nil, &InvalidError{Violations: []Violation{{Reason: filterReasons[bad.Kind], Field: "filter_expression", Rule: bad.Rule}}}
	}
	return e, nil
}
