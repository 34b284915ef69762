package filter

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/segue-ann/segue/engine/attribute"
)

// Op says what an expression is.
type Op uint8

// The operators.
const (
	// All: every one of Args holds. True without Args.
	All Op = iota + 1
	// Any: at least one of Args holds. False without Args.
	Any
	// None: no one of Args holds. True without Args.
	None
	// In: Attribute has at least one of Values.
	In
	// Range: Attribute is an INT, FLOAT or TIMESTAMP between Low and High.
	Range
	// Exists: the item has Attribute.
	Exists
	// InMarkets: Attribute is a MARKETS that has at least one of Markets.
	InMarkets
	// InBitmap: Attribute is an INT that is in Bitmap. It is made by exclusions; Filter has no such condition.
	InBitmap
)

// Expr is a condition on one item's attributes. It is read only once made.
type Expr struct {
	Op        Op
	Args      []Expr             // All, Any, None
	Attribute string             // the others
	Values    []attribute.Value  // In: of any types but Markets; a Keyword stands for each of its strings
	Low, High Bound              // Range: at least one is set, and both are of comparable types
	Markets   []attribute.Market // InMarkets: at least one
	Bitmap    *Bitmap            // InBitmap
}

// Bound is an end of a range.
type Bound struct {
	Set   bool
	Open  bool // the value itself is outside
	Value attribute.Value
}

// Limits of an expression.
const (
	// MaxConditions bounds the nodes of a tree.
	MaxConditions = 1024
	// MaxDepth bounds how deep they are nested.
	MaxDepth = 32
	// MaxValues bounds the values of a tree, all conditions together.
	MaxValues = 10_000
	// MaxExpressionBytes bounds the string form.
	MaxExpressionBytes = 64 << 10
)

// Field is what a schema says of an attribute.
type Field struct {
	Type       attribute.Type
	Filterable bool
}

// Schema holds the declared attributes by name; nil is an open schema, which takes any.
type Schema map[string]Field

// Kind classifies a problem.
type Kind uint8

// The kinds.
const (
	Required      Kind = iota + 1 // something is missing
	OutOfRange                    // too many, too deep, not finite
	Malformed                     // not of the right form
	UnknownName                   // an attribute that the schema does not declare
	NotFilterable                 // an attribute that the schema keeps out of the index
	Incomparable                  // a value of another type than the attribute's
	TooLong                       // too many bytes
)

// Problem is one broken rule. Path is where: a path of fields below the filter for a tree ("all.filters[1].range"), empty
// for a string, whose position the rule names.
type Problem struct {
	Kind Kind
	Path string
	Rule string
}

func (p *Problem) String() string {
	if p.Path == "" {
		return p.Rule
	}
	return p.Path + ": " + p.Rule
}

func problem(kind Kind, path, format string, args ...any) *Problem {
	return &Problem{Kind: kind, Path: path, Rule: fmt.Sprintf(format, args...)}
}

// Validate returns the first broken rule of e, or nil.
func (e *Expr) Validate(schema Schema) *Problem {
	c := checker{schema: schema}
	return c.expr(e, "", 1)
}

// checker counts what the limits bound.
type checker struct {
	schema             Schema
	conditions, values int
}

// listPath names an operator's arguments as the API does.
var listPath = map[Op]string{All: "all.filters", Any: "any.filters", None: "none.filters"}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

func (c *checker) expr(e *Expr, path string, depth int) *Problem {
	if c.conditions++; c.conditions > MaxConditions {
		return problem(OutOfRange, path, "the filter must have at most %d conditions", MaxConditions)
	}
	if depth > MaxDepth {
		return problem(OutOfRange, path, "conditions must be nested at most %d deep", MaxDepth)
	}
	switch e.Op {
	case All, Any, None:
		for i := range e.Args {
			if p := c.expr(&e.Args[i], fmt.Sprintf("%s[%d]", join(path, listPath[e.Op]), i), depth+1); p != nil {
				return p
			}
		}
		return nil
	case In:
		return c.in(e, path)
	case Range:
		return c.between(e, join(path, "range"))
	case Exists:
		_, p := c.field(e.Attribute, join(path, "exists"))
		return p
	case InMarkets:
		return c.markets(e, join(path, "markets"))
	case InBitmap:
		return c.bitmap(e, path)
	}
	return problem(Required, path, "must have a condition")
}

// field returns the declared type of an attribute, 0 where the schema is open.
func (c *checker) field(name, path string) (attribute.Type, *Problem) {
	if name == "" {
		return 0, problem(Required, path, "must name an attribute")
	}
	if c.schema == nil {
		return 0, nil
	}
	f, ok := c.schema[name]
	switch {
	case !ok:
		return 0, problem(UnknownName, path, "%q is not declared in the collection's schema", clip(name))
	case !f.Filterable:
		return 0, problem(NotFilterable, path, "%q is declared not_filterable in the collection's schema", clip(name))
	}
	return f.Type, nil
}

// in checks a condition that came as equals or as in_values: one value is reported as the former.
func (c *checker) in(e *Expr, path string) *Problem {
	one := len(e.Values) == 1
	at := join(path, "in_values")
	if one {
		at = join(path, "equals")
	}
	t, p := c.field(e.Attribute, at+".attribute")
	if p != nil {
		return p
	}
	if len(e.Values) == 0 {
		return problem(Required, at+".values", "must have at least one value")
	}
	for i, v := range e.Values {
		if p := c.count(max(1, len(v.Keywords)), at); p != nil {
			return p
		}
		if p := c.value(v, t); p != nil {
			p.Path = at + ".value"
			if !one {
				p.Path = fmt.Sprintf("%s.values[%d]", at, i)
			}
			return p
		}
	}
	return nil
}

// count adds n values to those of the tree.
func (c *checker) count(n int, path string) *Problem {
	if c.values += n; c.values > MaxValues {
		return problem(OutOfRange, path, "the filter must have at most %d values", MaxValues)
	}
	return nil
}

// value checks one value for an attribute of type t; the problem has no path.
func (c *checker) value(v attribute.Value, t attribute.Type) *Problem {
	switch v.Type {
	case attribute.Keyword:
		if len(v.Keywords) == 0 {
			return problem(Required, "", "must have at least one keyword")
		}
		if slices.ContainsFunc(v.Keywords, func(k string) bool { return !utf8.ValidString(k) }) {
			return problem(Malformed, "", "must be valid UTF-8")
		}
	case attribute.Float:
		if math.IsNaN(v.Float) || math.IsInf(v.Float, 0) {
			return problem(OutOfRange, "", "must be finite, is %v", v.Float)
		}
	case attribute.Timestamp:
		if !inYears(v.Time) {
			return problem(OutOfRange, "", "must lie in the years 1 to 9999")
		}
	case attribute.Bool, attribute.Int:
	case attribute.Markets:
		return problem(Incomparable, "", "markets are filtered by with the condition markets")
	default:
		return problem(Required, "", "must have a value")
	}
	if t != 0 && !compares(v.Type, t) {
		return problem(Incomparable, "", "must be comparable with %v, is %v", t, v.Type)
	}
	return nil
}

// compares says whether values of two types can be equal.
func compares(a, b attribute.Type) bool { return a == b || number(a) && number(b) }

func number(t attribute.Type) bool { return t == attribute.Int || t == attribute.Float }

func (c *checker) between(e *Expr, path string) *Problem {
	t, p := c.field(e.Attribute, path+".attribute")
	if p != nil {
		return p
	}
	if !e.Low.Set && !e.High.Set {
		return problem(Required, path, "must have a lower or an upper bound")
	}
	for _, b := range []struct {
		bound Bound
		field string
	}{{e.Low, boundField(e.Low, "min", "above")}, {e.High, boundField(e.High, "max", "below")}} {
		if !b.bound.Set {
			continue
		}
		field := join(path, b.field)
		if p := c.count(1, field); p != nil {
			return p
		}
		if p := c.value(b.bound.Value, t); p != nil {
			p.Path = field
			return p
		}
		if vt := b.bound.Value.Type; !number(vt) && vt != attribute.Timestamp {
			return problem(Incomparable, field, "must be an INT, a FLOAT or a TIMESTAMP, is %v", vt)
		}
	}
	if e.Low.Set && e.High.Set && !compares(e.Low.Value.Type, e.High.Value.Type) {
		return problem(Incomparable, path, "has a bound of type %v and one of type %v", e.Low.Value.Type, e.High.Value.Type)
	}
	return nil
}

func boundField(b Bound, closed, open string) string {
	if b.Open {
		return open
	}
	return closed
}

func (c *checker) markets(e *Expr, path string) *Problem {
	t, p := c.field(e.Attribute, path+".attribute")
	if p != nil {
		return p
	}
	if t != 0 && t != attribute.Markets {
		return problem(Incomparable, path, "%q is of type %v, not MARKETS", clip(e.Attribute), t)
	}
	if len(e.Markets) == 0 {
		return problem(Required, path+".any_of", "must have at least one market")
	}
	return c.count(len(e.Markets), path+".any_of")
}

func (c *checker) bitmap(e *Expr, path string) *Problem {
	t, p := c.field(e.Attribute, join(path, "attribute"))
	switch {
	case p != nil:
		return p
	case t != 0 && t != attribute.Int:
		return problem(Incomparable, join(path, "attribute"), "%q is of type %v, not INT", clip(e.Attribute), t)
	case e.Bitmap == nil:
		return problem(Required, join(path, "roaring"), "must be set")
	}
	return nil
}

// clip keeps an error short when it repeats what a caller sent.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// appendKey appends bytes that are equal for equal expressions and differ for others: the key of kept results.
func (e *Expr) appendKey(dst []byte) []byte {
	dst = append(dst, byte(e.Op))
	switch e.Op {
	case All, Any, None:
		dst = binary.AppendUvarint(dst, uint64(len(e.Args)))
		for i := range e.Args {
			dst = e.Args[i].appendKey(dst)
		}
		return dst
	case In:
		set := make(attribute.Set, len(e.Values))
		for i, v := range e.Values {
			set[i] = attribute.Attribute{Value: v}
		}
		dst = attribute.Append(dst, set)
	case Range:
		for _, b := range []Bound{e.Low, e.High} {
			if !b.Set {
				dst = append(dst, 0)
				continue
			}
			dst = append(dst, byte(1+btoi(b.Open)))
			dst = attribute.Append(dst, attribute.Set{{Value: b.Value}})
		}
	case InMarkets:
		dst = binary.AppendUvarint(dst, uint64(len(e.Markets)))
		for _, m := range e.Markets {
			dst = binary.AppendUvarint(dst, uint64(m))
		}
	case InBitmap:
		dst = append(dst, e.Bitmap.digest[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Attribute)))
	return append(dst, e.Attribute...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
