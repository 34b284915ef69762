package filter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
)

// String returns the expression as a filter string. Parse reads it back to an equivalent one where the schema declares the
// attributes; what has no string form (a list of nothing, values of several types, a bitmap) is written for people.
func (e *Expr) String() string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	e.write(&b, false)
	return b.String()
}

// write appends e, in parentheses where it is part of something and has parts side by side.
func (e *Expr) write(b *strings.Builder, nested bool) {
	switch e.Op {
	case All:
		e.join(b, " AND ", "everything", nested)
	case Any:
		e.join(b, " OR ", "nothing", nested)
	case None:
		b.WriteString("NOT ")
		if len(e.Args) == 1 && e.Args[0].Op != None {
			e.Args[0].write(b, true)
			return
		}
		if len(e.Args) == 1 {
			b.WriteByte('(')
			e.Args[0].write(b, false)
			b.WriteByte(')')
			return
		}
		e.join(b, " OR ", "nothing", true)
	case In:
		var values []string
		for _, v := range e.Values {
			values = append(values, valueStrings(v)...)
		}
		b.WriteString(e.Attribute + " = " + list(values))
	case InMarkets:
		values := make([]string, len(e.Markets))
		for i, m := range e.Markets {
			values[i] = m.String()
		}
		b.WriteString(e.Attribute + " : " + list(values))
	case InBitmap:
		fmt.Fprintf(b, "%s in a bitmap of %d values", e.Attribute, e.Bitmap.Len())
	case Exists:
		b.WriteString(e.Attribute + ":*")
	case Range:
		both := nested && e.Low.Set && e.High.Set
		if both {
			b.WriteByte('(')
		}
		e.bound(b, e.Low, ">")
		if e.Low.Set && e.High.Set {
			b.WriteString(" AND ")
		}
		e.bound(b, e.High, "<")
		if both {
			b.WriteByte(')')
		}
	}
}

func (e *Expr) bound(b *strings.Builder, bound Bound, op string) {
	if !bound.Set {
		return
	}
	if !bound.Open {
		op += "="
	}
	b.WriteString(e.Attribute + " " + op + " " + valueStrings(bound.Value)[0])
}

func (e *Expr) join(b *strings.Builder, between, none string, nested bool) {
	switch len(e.Args) {
	case 0:
		b.WriteString(none)
		return
	case 1:
		e.Args[0].write(b, nested)
		return
	}
	if nested {
		b.WriteByte('(')
	}
	for i := range e.Args {
		if i > 0 {
			b.WriteString(between)
		}
		e.Args[i].write(b, true)
	}
	if nested {
		b.WriteByte(')')
	}
}

func list(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return "(" + strings.Join(values, " OR ") + ")"
}

var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func valueStrings(v attribute.Value) []string {
	switch v.Type {
	case attribute.Keyword:
		out := make([]string, len(v.Keywords))
		for i, k := range v.Keywords {
			out[i] = `"` + quoter.Replace(k) + `"`
		}
		return out
	case attribute.Bool:
		return []string{strconv.FormatBool(v.Bool)}
	case attribute.Int:
		return []string{strconv.FormatInt(v.Int, 10)}
	case attribute.Float:
		s := strconv.FormatFloat(v.Float, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0" // a FLOAT stays one
		}
		return []string{s}
	case attribute.Timestamp:
		return []string{v.Time.UTC().Format(time.RFC3339Nano)}
	}
	return []string{fmt.Sprint(v.Type)}
}

// Failing returns the part of e that attributes do not fulfil and that all of e needs: one condition where it can be told, nil
// where they fulfil e.
func (e *Expr) Failing(attributes []byte) *Expr {
	if Compile(e).Match(attributes) {
		return nil
	}
	if e.Op == All {
		for i := range e.Args {
			if f := e.Args[i].Failing(attributes); f != nil {
				return f
			}
		}
	}
	return e
}
