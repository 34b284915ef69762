package filter

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
)

// tracks is a schema like that of the demo.
var tracks = Schema{
	"title":     {Type: attribute.Keyword},
	"artists":   {Type: attribute.Keyword, Filterable: true},
	"genre":     {Type: attribute.Keyword, Filterable: true},
	"explicit":  {Type: attribute.Bool, Filterable: true},
	"year":      {Type: attribute.Int, Filterable: true},
	"gain":      {Type: attribute.Float, Filterable: true},
	"released":  {Type: attribute.Timestamp, Filterable: true},
	"available": {Type: attribute.Markets, Filterable: true},
	"x.y-z":     {Type: attribute.Int, Filterable: true},
}

// TestParse: the string, and what it means in the canonical form of String.
func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		" \n ":                    "",
		`genre = jazz`:            `genre = "jazz"`,
		`genre="jazz"`:            `genre = "jazz"`,
		`genre : 'it''s'`:         `!position 13`,
		`genre = 'say "x"'`:       `genre = "say \"x\""`,
		`genre = "a\"b\\c\n"`:     `genre = "a\"b\\cn"`,
		`genre = Röyksopp`:        `genre = "Röyksopp"`,
		`genre = R&B`:             `genre = "R&B"`,
		`genre = 2020`:            `genre = "2020"`,
		`genre != jazz`:           `NOT genre = "jazz"`,
		`year >= 2020`:            `year >= 2020`,
		`year>=-5`:                `year >= -5`,
		`year < 2.5`:              `year < 2.5`,
		`gain > -7`:               `gain > -7`,
		`gain = 1e3`:              `gain = 1000.0`,
		`explicit = true`:         `explicit = true`,
		`released > 2020`:         `released > 2020-01-01T00:00:00Z`,
		`released <= 2020-06`:     `released <= 2020-06-01T00:00:00Z`,
		`released = "2020-06-30"`: `released = 2020-06-30T00:00:00Z`,
		`released < 2012-04-21T11:30:00-04:00 year=1`: `released < 2012-04-21T15:30:00Z AND year = 1`,
		`available : SE`:              `available : SE`,
		`available = ("SE" OR NO)`:    `available : (SE OR NO)`,
		`artists:*`:                   `artists:*`,
		`artists : "*"`:               `artists = "*"`,
		`artists : ("a" OR b OR 'c')`: `artists = ("a" OR "b" OR "c")`,
		`artists : (a AND b)`:         `artists = "a" AND artists = "b"`,
		`artists : (a NOT b)`:         `artists = "a" AND NOT artists = "b"`,
		`year = (1 OR 2) `:            `year = (1 OR 2)`,
		`year > (1 AND 2)`:            `year > 1 AND year > 2`,
		`x.y-z = 3`:                   `x.y-z = 3`,
		// OR binds tighter than AND; side by side is AND.
		`genre=a AND year=1 OR year=2`:           `genre = "a" AND year = (1 OR 2)`,
		`genre=a OR year=1 AND explicit=false`:   `(genre = "a" OR year = 1) AND explicit = false`,
		`genre=a year=1`:                         `genre = "a" AND year = 1`,
		`(genre=a AND year=1) OR year=2`:         `(genre = "a" AND year = 1) OR year = 2`,
		`NOT genre=a AND year=1`:                 `NOT genre = "a" AND year = 1`,
		`-genre=a`:                               `NOT genre = "a"`,
		`-(genre=a OR year=1)`:                   `NOT (genre = "a" OR year = 1)`,
		`NOT (genre=a AND year=1) explicit=true`: `NOT (genre = "a" AND year = 1) AND explicit = true`,
		`genre = "AND"`:                          `genre = "AND"`,

		`jazz`:                        `!position 5: expected a comparator`,
		`genre`:                       `!position 6: expected a comparator`,
		`genre =`:                     `!position 8: expected a value after '=', found the end`,
		`genre = AND`:                 `!position 9: expected a value`,
		`= 3`:                         `!position 1: expected the name`,
		`genre = a AND`:               `!position 14: expected the name of an attribute, found the end`,
		`genre = a OR`:                `!position 13: expected the name`,
		`AND genre = a`:               `!position 1: expected the name`,
		`(genre = a`:                  `!position 11: expected ')', found the end`,
		`genre = a)`:                  `!position 10: expected AND, OR or the end, found ')'`,
		`genre = "abc`:                `!position 9: the string that begins here does not end`,
		`genre ! a`:                   `!position 7: '!' must be followed by '='`,
		`genre = {a}`:                 `!position 9: '{' means nothing here`,
		`NOT NOT genre = a`:           `!position 5: NOT NOT`,
		`title = a`:                   `!position 1: "title" is declared not_filterable`,
		`year = many`:                 `!position 8: 'year' must be compared with a number, not 'many'`,
		`year = "2020"`:               `!position 8`,
		`year = 99999999999999999999`: `year = 1e+20`,
		`year = 1e999`:                `!position 8`,
		`year = 0x10`:                 `!position 8`,
		`year = inf`:                  `!position 8`,
		`year = *`:                    `!position 8: '*' stands for any value after ':' only`,
		`explicit = yes`:              `!position 12: 'explicit' must be compared with true or false`,
		`explicit > true`:             `!position 12: an attribute of type BOOL has no order`,
		`genre > a`:                   `!position 9: an attribute of type KEYWORD has no order`,
		`released > yesterday`:        `!position 12: a range ends at a time`,
		`available : Sweden`:          `!position 13: 'available' must be compared with a market`,
		`min(year) > 3`:               `!position 4: expected a comparator`,
		`genre.sub = a`:               `!position 1: "genre.sub" is not declared`,
		strings.Repeat("(", 40) + "year=1" + strings.Repeat(")", 40):     `!position 33: conditions must be nested at most 32 deep`,
		strings.Repeat("NOT (", 20) + "year=1" + strings.Repeat(")", 20): `!position 81: conditions must be nested`,
		strings.Repeat("year=1 explicit=true ", 600):                     `!the filter must have at most 1024 conditions`,
		"year = (" + strings.Repeat("1 OR ", 10_001) + "1)":              `!the filter must have at most 10000 values`,
		"genre = " + strings.Repeat("a", MaxExpressionBytes):             `!must be at most 65536 bytes`,
	} {
		e, err := Parse(in, tracks)
		got := e.String()
		if err != nil {
			got = "!" + err.String()
		}
		if got != want && (want == "" || want[0] != '!' || !strings.HasPrefix(got, want)) {
			t.Errorf("%.60q\n got %s\nwant %s", in, got, want)
		}
	}
}

// TestParseOpen: without a schema, values say their types.
func TestParseOpen(t *testing.T) {
	for in, want := range map[string]string{
		`a = 1`:               `a = 1`,
		`a = "1"`:             `a = "1"`,
		`a = 1.5`:             `a = 1.5`,
		`a = true`:            `a = true`,
		`a = "true"`:          `a = "true"`,
		`a = 2020-01-02`:      `a = ("2020-01-02" OR 2020-01-02T00:00:00Z)`,
		`a > 2020-01-02`:      `a > 2020-01-02T00:00:00Z`,
		`a > "2020-01-02"`:    `a > 2020-01-02T00:00:00Z`,
		`a > 2020`:            `a > 2020`,
		`a : SE`:              `a = "SE" OR a : SE`,
		`a != jazz OR b:*`:    `NOT a = "jazz" OR b:*`,
		`a < jazz`:            `!position 5: a range ends at a number or a time, not at 'jazz'`,
		`a.b.c = 1 AND NOT d`: `!position 20: expected a comparator`,
	} {
		e, err := Parse(in, nil)
		got := e.String()
		if err != nil {
			got = "!" + err.String()
		}
		if got != want && (want[0] != '!' || !strings.HasPrefix(got, want)) {
			t.Errorf("%q\n got %s\nwant %s", in, got, want)
		}
	}
}

// modelSchema declares the attributes of the model but "any".
var modelSchema = Schema{
	"k": {attribute.Keyword, true}, "k2": {attribute.Keyword, true}, "b": {attribute.Bool, true}, "i": {attribute.Int, true},
	"f": {attribute.Float, true}, "t": {attribute.Timestamp, true}, "m": {attribute.Markets, true},
}

// TestStringIsEquivalent: a valid expression, written and read again, matches the same items.
func TestStringIsEquivalent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := fromRapid(t)
		e := rapid.Custom(func(t *rapid.T) Expr { return fromRapid(t).expr(2) }).
			Filter(func(e Expr) bool { return e.Validate(modelSchema) == nil && hasString(&e) }).Draw(t, "expression")
		again, err := Parse(e.String(), modelSchema)
		if err != nil {
			t.Fatalf("%s: %v", e.String(), err)
		}
		for range 20 {
			s := p.attributes()
			if holds(e, s) != holds(*again, s) {
				t.Fatalf("%#v as %q became %#v: they differ on %v", e, e.String(), *again, s)
			}
		}
	})
}

// clause draws a filter string over the attributes of the model, and what it means. It is made of the grammar's rules, and the meaning
// from them and never from an Expr: OR binds tighter than AND, side by side is AND, a minus is NOT.
func (p picker) clause(depth int) (string, func(attribute.Set) bool) {
	sequence, meanings := "", []func(attribute.Set) bool{}
	for i := range 1 + p(3, "conjuncts") {
		if i > 0 {
			sequence += []string{" AND ", " ", "\n AND\t"}[p(3, "and")]
		}
		var terms []string
		var either []func(attribute.Set) bool
		for range 1 + p(3, "terms")/2 {
			s, m := p.term(depth)
			terms, either = append(terms, s), append(either, m)
		}
		sequence += strings.Join(terms, " OR ")
		meanings = append(meanings, func(s attribute.Set) bool {
			return slices.ContainsFunc(either, func(m func(attribute.Set) bool) bool { return m(s) })
		})
	}
	return sequence, func(s attribute.Set) bool {
		return !slices.ContainsFunc(meanings, func(m func(attribute.Set) bool) bool { return !m(s) })
	}
}

func (p picker) term(depth int) (string, func(attribute.Set) bool) {
	not := []string{"", "", "NOT ", "-"}[p(4, "not")]
	var text string
	var means func(attribute.Set) bool
	if depth > 0 && p(3, "nest") == 0 {
		inner, m := p.clause(depth - 1)
		text, means = "("+inner+")", m
	} else {
		text, means = p.restriction()
	}
	if not == "" {
		return text, means
	}
	return not + text, func(s attribute.Set) bool { return !means(s) }
}

// restriction is one attribute compared with one value, or with several in parentheses.
func (p picker) restriction() (string, func(attribute.Set) bool) {
	name := []string{"k", "k2", "b", "i", "f", "t", "m"}[p(7, "name")]
	t := modelSchema[name].Type
	ordered := t == attribute.Int || t == attribute.Float || t == attribute.Timestamp
	op := []string{"=", ":", "!=", "<", "<=", ">", ">="}[p(map[bool]int{false: 3, true: 7}[ordered], "operator")]
	if op == ":" && p(6, "exists") == 0 {
		return name + ":*", func(s attribute.Set) bool { _, ok := s.Get(name); return ok }
	}
	one := func() (string, func(attribute.Set) bool) {
		text, c := p.literal(t)
		return text, func(s attribute.Set) bool {
			v, ok := s.Get(name)
			if !ok {
				return op == "!="
			}
			order, equal := c(v)
			return map[string]bool{"=": equal, ":": equal, "!=": !equal, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[op]
		}
	}
	space := []string{"", " ", "  "}[p(3, "space")]
	if p(3, "list") > 0 {
		text, means := one()
		return name + space + op + space + text, means
	}
	var texts []string
	var means []func(attribute.Set) bool
	for range 1 + p(3, "values") {
		s, m := one()
		texts, means = append(texts, s), append(means, m)
	}
	every := p(2, "every") == 0
	between := map[bool]string{true: " AND ", false: " OR "}[every]
	return name + space + op + space + "(" + strings.Join(texts, between) + ")", func(s attribute.Set) bool {
		n := 0
		for _, m := range means {
			n += btoi(m(s))
		}
		return n == len(means) || !every && n > 0
	}
}

// literal writes a value of one of the ways that type t has, and returns how an attribute compares with it.
func (p picker) literal(t attribute.Type) (string, func(attribute.Value) (order int, equal bool)) {
	switch t {
	case attribute.Keyword:
		w := words[p(len(words), "word")]
		text := strconv.Quote(w)
		switch {
		case w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyzR&B0123456789é") == "" && p(2, "bare") == 0:
			text = w
		case p(2, "quote") == 0:
			text = "'" + strings.ReplaceAll(strings.ReplaceAll(w, `\`, `\\`), `'`, `\'`) + "'"
		}
		return text, func(v attribute.Value) (int, bool) { return 0, slices.Contains(v.Keywords, w) }
	case attribute.Markets:
		m := codes[p(len(codes), "market")]
		text := m.String()
		if p(2, "quote") == 0 {
			text = `"` + text + `"`
		}
		return text, func(v attribute.Value) (int, bool) { return 0, v.Markets.Has(m) }
	case attribute.Timestamp:
		at := []time.Time{time.UnixMicro(moments[p(len(moments), "time")]).UTC(), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}[p(2, "which")]
		text := at.Format(time.RFC3339Nano)
		if at.Equal(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
			text = []string{"2020", "2020-01", "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T05:30:00+05:30", `"2020-01-01"`}[p(6, "form")]
		}
		return text, func(v attribute.Value) (int, bool) { return v.Time.Compare(at), v.Time.Equal(at) }
	case attribute.Bool:
		yes := p(2, "bool") == 1
		return strconv.FormatBool(yes), func(v attribute.Value) (int, bool) { return 0, v.Bool == yes }
	}
	v := p.value([]attribute.Type{attribute.Int, attribute.Float}[p(2, "number")], 1)
	text := strconv.FormatInt(v.Int, 10)
	if v.Type == attribute.Float {
		text = strconv.FormatFloat(v.Float, []byte{'f', 'e', 'g'}[p(3, "form")], -1, 64)
	}
	return text, func(w attribute.Value) (int, bool) {
		order, _ := compare(w, v)
		return order, order == 0
	}
}

// TestParseAgainstModel: strings made of the grammar match the items that the grammar says, by Match and from columns.
func TestParseAgainstModel(t *testing.T) {
	p := fromRand(rand.New(rand.NewPCG(41, 42)))
	x, m := fill(p, 300, 50)
	rapid.Check(t, func(t *rapid.T) {
		text, means := fromRapid(t).clause(3)
		e, bad := Parse(text, modelSchema)
		if bad != nil {
			t.Fatalf("%s: %v", text, bad)
		}
		var want []uint32
		program := Compile(e)
		for slot := range uint32(300) {
			if means(m[slot]) {
				want = append(want, slot)
			}
			if got := program.Match(attribute.Append(nil, m[slot])); got != means(m[slot]) {
				t.Fatalf("%s\nread as %s\nmatches %v: %v", text, e.String(), m[slot], got)
			}
		}
		if got := evaluated(t, x, *e); !slices.Equal(got, want) {
			t.Fatalf("%s\nread as %s\nmatches %v, want %v", text, e.String(), got, want)
		}
	})
}

// TestParseDamaged: a valid string that loses, gains or changes a byte is read or refused with a position within it, and never takes more
// than some allocations a byte.
func TestParseDamaged(t *testing.T) {
	r := rand.New(rand.NewPCG(43, 44))
	p := fromRand(r)
	position := regexp.MustCompile(`^position (\d+): .`)
	const special = "()\"'=:!<>-*\\ aAND01.\x80{"
	refused := 0
	for range 4000 {
		text, _ := p.clause(2)
		b := []byte(text)
		for range 1 + r.IntN(2) {
			at := r.IntN(len(b))
			c := special[r.IntN(len(special))]
			switch r.IntN(3) {
			case 0:
				b = slices.Delete(b, at, at+1)
			case 1:
				b = slices.Insert(b, at, c)
			default:
				b[at] = c
			}
			b = append(b, ' ')
		}
		e, bad := Parse(string(b), modelSchema)
		if bad == nil {
			if e != nil {
				Compile(e).Match(nil)
			}
			continue
		}
		refused++
		match := position.FindStringSubmatch(bad.Rule)
		if match == nil {
			if bad.Kind == Malformed && strings.Contains(bad.Rule, "UTF-8") {
				continue
			}
			t.Fatalf("%q: %v", b, bad)
		}
		if at, err := strconv.Atoi(match[1]); err != nil || at < 1 || at > len(b)+1 {
			t.Fatalf("%q: %v", b, bad)
		}
	}
	if refused < 1000 {
		t.Errorf("%d are refused: the damage is too small", refused)
	}
}

// TestParseCost: the longest strings there can be, of the dearest kinds, take a bounded number of allocations, and are read or refused.
func TestParseCost(t *testing.T) {
	for _, unit := range []string{"(", "-", "NOT ", "i=1 ", "i=1 OR ", "i=(", "i=1 AND NOT (", "k='", `k="\\`, "\x80", "a", "k:* OR "} {
		text := strings.Repeat(unit, MaxExpressionBytes/len(unit))
		if n := testing.AllocsPerRun(1, func() { _, _ = Parse(text, modelSchema) }); n > 6*(MaxConditions+MaxValues) {
			t.Errorf("%q again and again: %v allocations", unit, n)
		}
	}
}

// hasString says whether e is in the domain of String.
func hasString(e *Expr) bool {
	if e.Op == InBitmap || (e.Op == All || e.Op == Any || e.Op == None) && len(e.Args) == 0 {
		return false
	}
	for i := range e.Args {
		if !hasString(&e.Args[i]) {
			return false
		}
	}
	return true
}

// FuzzParse: no string panics; one that is read is valid, and its string form is a fixed point.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`artists : "Miles Davis" AND released >= 1959-01-01 AND NOT (explicit = true OR year < 100)`, `available : (SE OR "NO") -genre:'x\'y'`,
		`released < 2012-04-21T11:30:00-04:00 gain > -1.5e3`, `x.y-z:*`, `((((`, `NOT`, `a = "`, "\x80 = \xff", `year = (1 AND (2 OR NOT 3))`,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, declared bool) {
		schema := tracks
		if !declared {
			schema = nil
		}
		e, err := Parse(s, schema)
		if err != nil || e == nil {
			return
		}
		if problem := e.Validate(schema); problem != nil {
			t.Fatalf("%q: parsed but %v", s, problem)
		}
		Compile(e).Match(nil)
		if !declared {
			return // a date or a market of an open schema becomes several conditions
		}
		again, err := Parse(e.String(), schema)
		if err != nil {
			t.Fatalf("%q is written %q: %v", s, e.String(), err)
		}
		if again.String() != e.String() {
			t.Fatalf("%q is written %q, then %q", s, e.String(), again.String())
		}
	})
}
