package filter

import (
	"strings"
	"testing"

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
