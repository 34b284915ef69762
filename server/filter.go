package server

import (
	"errors"
	"fmt"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/engine/filter"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// filtering decodes what limits a search to some items.
func (d *decoder) filtering(req *seguev1.NearestNeighborsRequest, c *engine.Collection, search *engine.SearchRequest) {
	switch text := req.GetFilterExpression(); {
	case req.GetFilter() != nil && text != "":
		d.add(engine.ReasonInvalidFormat, "filter_expression", "must not be set with filter")
	case req.GetFilter() != nil:
		f := filterDecoder{decoder: d}
		e := f.expr("filter", req.GetFilter(), 1)
		search.Filter = &e
	case text != "":
		e, err := c.ParseFilter(text)
		var bad *engine.InvalidError
		if errors.As(err, &bad) {
			d.add(bad.Violations[0].Reason, bad.Violations[0].Field, "%s", bad.Violations[0].Rule)
		}
		search.Filter = e
	}
	if m := req.GetExclusions(); m != nil {
		search.Exclusions = d.exclusions("exclusions", m)
	}
}

// filterDecoder turns filters into expressions. It checks what keeps it from taking too much memory or stack, and what an expression
// cannot hold; all other rules are the engine's.
type filterDecoder struct {
	*decoder
	conditions int
	full       bool // a limit was reached: nothing more is decoded
}

func (d *filterDecoder) expr(field string, m *seguev1.Filter, depth int) filter.Expr {
	if d.full {
		return filter.Expr{}
	}
	if d.conditions++; d.conditions > filter.MaxConditions {
		d.full = true
		d.add(engine.ReasonOutOfRange, field, "the filter must have at most %d conditions", filter.MaxConditions)
		return filter.Expr{}
	}
	if depth > filter.MaxDepth {
		d.full = true
		d.add(engine.ReasonOutOfRange, field, "conditions must be nested at most %d deep", filter.MaxDepth)
		return filter.Expr{}
	}
	switch c := m.GetCondition().(type) {
	case *seguev1.Filter_All:
		return d.list(filter.All, field+".all.filters", c.All, depth)
	case *seguev1.Filter_Any:
		return d.list(filter.Any, field+".any.filters", c.Any, depth)
	case *seguev1.Filter_None:
		return d.list(filter.None, field+".none.filters", c.None, depth)
	case *seguev1.Filter_Equals:
		return filter.Expr{Op: filter.In, Attribute: c.Equals.GetAttribute(), Values: []engine.Value{d.compared(field+".equals.value", c.Equals.GetValue())}}
	case *seguev1.Filter_InValues:
		return filter.Expr{Op: filter.In, Attribute: c.InValues.GetAttribute(), Values: d.comparedList(field+".in_values.values", c.InValues.GetValues())}
	case *seguev1.Filter_Range:
		return d.between(field+".range", c.Range)
	case *seguev1.Filter_Exists:
		return filter.Expr{Op: filter.Exists, Attribute: c.Exists}
	case *seguev1.Filter_Markets:
		return filter.Expr{Op: filter.InMarkets, Attribute: c.Markets.GetAttribute(), Markets: d.markets(field+".markets.any_of", c.Markets.GetAnyOf())}
	}
	return filter.Expr{} // which the engine refuses, with the path
}

func (d *filterDecoder) list(op filter.Op, field string, m *seguev1.FilterList, depth int) filter.Expr {
	e := filter.Expr{Op: op}
	for i, f := range m.GetFilters() {
		if d.full {
			break
		}
		e.Args = append(e.Args, d.expr(fmt.Sprintf("%s[%d]", field, i), f, depth+1))
	}
	return e
}

func (d *filterDecoder) between(field string, m *seguev1.AttributeRange) filter.Expr {
	e := filter.Expr{Op: filter.Range, Attribute: m.GetAttribute()}
	switch b := m.GetLower().(type) {
	case *seguev1.AttributeRange_Min:
		e.Low = filter.Bound{Set: true, Value: d.compared(field+".min", b.Min)}
	case *seguev1.AttributeRange_Above:
		e.Low = filter.Bound{Set: true, Open: true, Value: d.compared(field+".above", b.Above)}
	}
	switch b := m.GetUpper().(type) {
	case *seguev1.AttributeRange_Max:
		e.High = filter.Bound{Set: true, Value: d.compared(field+".max", b.Max)}
	case *seguev1.AttributeRange_Below:
		e.High = filter.Bound{Set: true, Open: true, Value: d.compared(field+".below", b.Below)}
	}
	return e
}

// compared decodes a value that attributes are compared with.
func (d *decoder) compared(field string, m *seguev1.AttributeValue) engine.Value {
	switch k := m.GetKind().(type) {
	case *seguev1.AttributeValue_TimestampValue:
		if err := k.TimestampValue.CheckValid(); err != nil {
			d.add(engine.ReasonOutOfRange, field, "must lie in the years 1 to 9999, with 0 to 999,999,999 nanoseconds")
			return engine.Value{Type: engine.Timestamp}
		}
	case *seguev1.AttributeValue_Markets:
		return engine.Value{Type: engine.Markets} // which the engine refuses, whatever the codes
	}
	return d.value(field, "", m)
}

// comparedList decodes values; more than a filter may have are refused unseen.
func (d *decoder) comparedList(field string, ms []*seguev1.AttributeValue) []engine.Value {
	if len(ms) > filter.MaxValues {
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", filter.MaxValues, len(ms))
		return nil
	}
	out := make([]engine.Value, len(ms))
	for i, m := range ms {
		if len(d.violations) == engine.MaxViolations {
			break
		}
		out[i] = d.compared(fmt.Sprintf("%s[%d]", field, i), m)
	}
	return out
}

func (d *decoder) exclusions(field string, m *seguev1.Exclusions) engine.Exclusions {
	x := engine.Exclusions{ItemIDs: m.GetItemIds(), Sets: m.GetExclusionSets()}
	if n := len(m.GetAttributeValues()); n > filter.MaxConditions {
		d.add(engine.ReasonOutOfRange, field+".attribute_values", "must be at most %d, are %d", filter.MaxConditions, n)
		return x
	}
	if b := m.GetBitmap(); b != nil {
		var err error
		x.Bitmap, err = engine.DecodeBitmapExclusion(b.GetAttribute(), b.GetRoaring())
		var bad *engine.InvalidError
		if errors.As(err, &bad) {
			d.add(bad.Violations[0].Reason, field+".bitmap."+bad.Violations[0].Field, "%s", bad.Violations[0].Rule)
		}
	}
	for i, a := range m.GetAttributeValues() {
		if len(d.violations) == engine.MaxViolations {
			break
		}
		x.Attributes = append(x.Attributes, engine.AttributeExclusion{
			Attribute: a.GetAttribute(), Values: d.comparedList(fmt.Sprintf("%s.attribute_values[%d].values", field, i), a.GetValues()),
		})
	}
	return x
}
