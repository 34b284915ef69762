package engine

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// problems gathers violations up to MaxViolations.
type problems struct{ list []Violation }

func (p *problems) add(r Reason, field, format string, args ...any) {
	if len(p.list) < MaxViolations {
		p.list = append(p.list, Violation{Reason: r, Field: field, Rule: fmt.Sprintf(format, args...)})
	}
}

func (p *problems) full() bool { return len(p.list) >= MaxViolations }

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &InvalidError{Violations: p.list}
}

func (p *problems) inRange(field string, v, low, high int) {
	if v < low || v > high {
		p.add(ReasonOutOfRange, field, "must be between %d and %d, is %d", low, high, v)
	}
}

// batch checks the length of a list argument.
func (p *problems) batch(field string, n, most int) {
	if n == 0 {
		p.add(ReasonRequired, field, "must not be empty")
	} else if n > most {
		p.add(ReasonOutOfRange, field, "must be at most %d, are %d", most, n)
	}
}

func (p *problems) id(field, id string, l Limits) {
	switch {
	case id == "":
		p.add(ReasonRequired, field, "must not be empty")
	case len(id) > l.MaxIDBytes:
		p.add(ReasonTooLong, field, "must be at most %d bytes, has %d", l.MaxIDBytes, len(id))
	case !utf8.ValidString(id):
		p.add(ReasonInvalidFormat, field, "must be valid UTF-8")
	}
}

// model checks what an embedding model may be called.
func (p *problems) model(field string, m EmbeddingModel, l Limits) {
	if len(m.Name) > l.MaxIDBytes || len(m.Version) > l.MaxIDBytes {
		p.add(ReasonTooLong, field, "must have a name and a version of at most %d bytes", l.MaxIDBytes)
	}
}

// name checks the name of a collection, an alias or an attribute.
func (p *problems) name(field, name string, l Limits) {
	switch {
	case name == "":
		p.add(ReasonRequired, field, "must not be empty")
	case len(name) > l.MaxNameBytes:
		p.add(ReasonTooLong, field, "must be at most %d bytes, has %d", l.MaxNameBytes, len(name))
	case !validName(name):
		p.add(ReasonInvalidFormat, field, "must match %s", nameForm)
	}
}

// validName says whether name matches nameForm, which a regular expression takes longer over than the rest of a row's checks.
func validName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && (c == '.' || c == '-'):
		default:
			return false
		}
	}
	return name != ""
}

// MaxNorm bounds the Euclidean norm of a vector, so that no squared distance between two of them
// overflows a float32.
const MaxNorm = 1e18

// vector checks dimension, finiteness, norm, and under Cosine that the vector is not zero.
func (p *problems) vector(field string, v []float32, c *CollectionConfig) {
	if len(v) != c.Dim {
		p.add(ReasonDimensionMismatch, field, "must have %d components, has %d", c.Dim, len(v))
		return
	}
	norm := math.Sqrt(squares(v))
	if !finite(norm) { // squares of float32 do not overflow: it is a component
		i := slices.IndexFunc(v, func(x float32) bool { return !finite(float64(x)) })
		p.add(ReasonNotFinite, fmt.Sprintf("%s[%d]", field, i), "must be finite, is %v", v[i])
		return
	}
	if norm == 0 && c.Metric == Cosine {
		p.add(ReasonZeroVector, field, "must not be all zeros in a COSINE collection: it has no direction")
	}
	if norm > MaxNorm {
		p.add(ReasonOutOfRange, field, "must have a norm of at most %g, has %g", MaxNorm, norm)
	}
}

// squares adds up the squares of v, in four sums: an addition waits for the one before it.
func squares(v []float32) float64 {
	var a, b, c, d float64
	for ; len(v) >= 4; v = v[4:] {
		w, x, y, z := float64(v[0]), float64(v[1]), float64(v[2]), float64(v[3])
		a, b, c, d = a+w*w, b+x*x, c+y*y, d+z*z
	}
	for _, x := range v {
		a += float64(x) * float64(x)
	}
	return a + b + (c + d)
}

// itemVector checks a vector that an index is to keep, in its precision.
func (p *problems) itemVector(field string, v []float32, c *CollectionConfig) {
	before := len(p.list)
	p.vector(field, v, c)
	if len(p.list) == before && c.Metric != Cosine && !c.VectorPrecision.Holds(v) {
		p.add(ReasonOutOfRange, field, "must fit FLOAT16, the vector_precision of the collection: components up to 65504, and not all below about 1e-4")
	}
}

// attributes checks sorted attributes against the schema. A path is made only for what breaks a rule.
func (p *problems) attributes(field string, as Attributes, schema map[string]AttributeType, l Limits) {
	if len(as) > l.MaxAttributes {
		p.add(ReasonOutOfRange, field, "must be at most %d, are %d", l.MaxAttributes, len(as))
		return
	}
	size := 0
	for i := range as {
		a := &as[i]
		if a.Name == "" || len(a.Name) > l.MaxNameBytes || !validName(a.Name) {
			p.name(attributeField(field, as, i, l), a.Name, l)
		}
		if i > 0 && as[i-1].Name == a.Name {
			p.add(ReasonDuplicateAttribute, attributeField(field, as, i, l), "is given twice")
		}
		if want, ok := schema[a.Name]; schema != nil && !ok {
			p.add(ReasonUnknownAttribute, attributeField(field, as, i, l), "is not declared in the collection's schema")
		} else if ok && want != a.Value.Type && a.Value.Type != 0 {
			p.add(ReasonAttributeType, attributeField(field, as, i, l), "must be %v, is %v", want, a.Value.Type)
		}
		p.value(func() string { return attributeField(field, as, i, l) }, a.Value)
		size += len(a.Name) + a.Value.Bytes()
	}
	p.attributeBytes(field, size, l)
}

// attributeBytes checks what the attributes of an item take together.
func (p *problems) attributeBytes(field string, size int, l Limits) {
	if size > l.MaxAttributeBytes {
		p.add(ReasonTooLong, field, "must be at most %d bytes in all, are %d", l.MaxAttributeBytes, size)
	}
}

// attributeField is the path of an attribute; an error does not repeat a name that is too long.
func attributeField(field string, as Attributes, i int, l Limits) string {
	if len(as[i].Name) > l.MaxNameBytes {
		return fmt.Sprintf("%s[%d]", field, i)
	}
	return field + "[" + as[i].Name + "]"
}

// value checks one value.
func (p *problems) value(field func() string, v Value) {
	switch v.Type {
	case Keyword:
		if len(v.Keywords) == 0 {
			p.add(ReasonRequired, field(), "must have at least one keyword")
		}
		for _, k := range v.Keywords {
			if !utf8.ValidString(k) {
				p.add(ReasonInvalidFormat, field(), "must be valid UTF-8")
			}
		}
	case Float:
		if math.IsNaN(v.Float) || math.IsInf(v.Float, 0) {
			p.add(ReasonNotFinite, field(), "must be finite, is %v", v.Float)
		}
	case Timestamp:
		if y := v.Time.Year(); y < 1 || y > 9999 {
			p.add(ReasonOutOfRange, field(), "must lie in the years 1 to 9999")
		}
	case Markets:
		if !v.Markets.Valid() {
			p.add(ReasonInvalidFormat, field(), "must be a set of markets")
		}
	case Bool, Int:
	default:
		p.add(ReasonRequired, field(), "must have a value")
	}
}
