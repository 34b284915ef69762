package filter

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
)

// Parse reads a filter string of AIP-160 (https://google.aip.dev/160):
//
//	artists : "Miles Davis" AND released >= 1959-01-01 AND NOT (explicit = true OR plays < 100)
//
// Comparators are = != < <= > >= and ":" (has), which is the same as = here since an attribute with several values has
// each of them; name:* says that the attribute exists. A value is quoted ("..." or '...', with \ before a quote or a backslash) or a
// bare word. In name = (a OR b) each value is compared. As AIP-160 demands, **OR binds tighter than AND**, conditions
// side by side are joined by AND, and a minus is a NOT.
//
// The schema says how values are read: a TIMESTAMP is RFC 3339, YYYY-MM-DD, YYYY-MM or YYYY (the beginning of it, UTC), a MARKETS is
// compared with codes of two letters. In an open schema a bare word is a BOOL, a number or a date where it looks like one,
// else a KEYWORD, and a quoted string a KEYWORD; what looks like a date or a market is also compared as such.
//
// Departures: no functions, no wildcards in strings, no bare values without an attribute, no fields of fields. The empty string is
// nil, which every item fulfils. Errors name the position in bytes, from 1.
func Parse(s string, schema Schema) (*Expr, *Problem) {
	if len(s) > MaxExpressionBytes {
		return nil, problem(TooLong, "", "must be at most %d bytes, has %d", MaxExpressionBytes, len(s))
	}
	p := parser{lexer: lexer{src: s}, check: checker{schema: schema}}
	p.next()
	if p.tok.kind == end {
		return nil, nil
	}
	e := p.expression(p.restriction, 1)
	if p.err == nil && p.tok.kind != end {
		p.fail(p.tok, "expected AND, OR or the end, found %s", p.tok)
	}
	if p.err != nil {
		return nil, p.err
	}
	if err := e.Validate(schema); err != nil {
		err.Path = "" // a tree's path says nothing about a string
		return nil, err
	}
	return &e, nil
}

// tokenKind says what a token is.
type tokenKind uint8

const (
	end tokenKind = iota
	word
	quoted
	comparator
	opening
	closing
	unreadable
)

type token struct {
	kind tokenKind
	text string // of a quoted string what it stands for; of the unreadable the reason
	at   int    // offset in bytes
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end"
	case quoted:
		return strconv.Quote(clip(t.text))
	}
	return "'" + clip(t.text) + "'"
}

func (t token) is(keyword string) bool { return t.kind == word && t.text == keyword }

// lexer cuts a string into tokens.
type lexer struct {
	src string
	at  int
}

func (l *lexer) token() token {
	for l.at < len(l.src) && strings.ContainsRune(" \t\r\n", rune(l.src[l.at])) {
		l.at++
	}
	from := l.at
	if from == len(l.src) {
		return token{kind: end, at: from}
	}
	switch c := l.src[from]; c {
	case '(':
		l.at++
		return token{kind: opening, text: "(", at: from}
	case ')':
		l.at++
		return token{kind: closing, text: ")", at: from}
	case '"', '\'':
		return l.quoted(c)
	case '=', ':':
		l.at++
		return token{kind: comparator, text: string(c), at: from}
	case '<', '>', '!':
		l.at++
		if l.at < len(l.src) && l.src[l.at] == '=' {
			l.at++
		}
		if text := l.src[from:l.at]; text != "!" {
			return token{kind: comparator, text: text, at: from}
		}
		return token{kind: unreadable, text: "'!' must be followed by '='", at: from}
	}
	for l.at < len(l.src) && isWord(l.src[l.at]) {
		l.at++
		// A moment of RFC 3339 is the one word with colons in it.
		if l.at-from == len("2006-01-02T15") && isMomentStart(l.src[from:l.at]) {
			for l.at < len(l.src) && (isWord(l.src[l.at]) || l.src[l.at] == ':') {
				l.at++
			}
		}
	}
	if l.at == from {
		return token{kind: unreadable, text: "'" + string(rune(l.src[from])) + "' means nothing here; quote values", at: from}
	}
	return token{kind: word, text: l.src[from:l.at], at: from}
}

// isWord says which bytes a bare word is of: letters, digits, all of Unicode beyond ASCII, and a few others.
func isWord(c byte) bool {
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-+*&/#@%$;?^~", c) >= 0
}

func isMomentStart(s string) bool {
	_, err := time.Parse("2006-01-02T15", s)
	return err == nil
}

func (l *lexer) quoted(quote byte) token {
	from := l.at
	var b strings.Builder
	for l.at++; l.at < len(l.src); l.at++ {
		switch c := l.src[l.at]; {
		case c == quote:
			l.at++
			return token{kind: quoted, text: b.String(), at: from}
		case c == '\\' && l.at+1 < len(l.src):
			l.at++
			b.WriteByte(l.src[l.at])
		default:
			b.WriteByte(c)
		}
	}
	return token{kind: unreadable, text: "the string that begins here does not end", at: from}
}

// parser is a recursive descent over the grammar of AIP-160. After the first error tok is the end, so that everything returns.
type parser struct {
	lexer
	tok   token
	check checker
	err   *Problem
	nodes int
}

func (p *parser) next() {
	if p.err != nil {
		return
	}
	p.tok = p.token()
	if p.tok.kind == unreadable {
		p.fail(p.tok, "%s", p.tok.text)
	}
}

func (p *parser) fail(at token, format string, args ...any) {
	p.failAs(Malformed, at, format, args...)
}

func (p *parser) failAs(kind Kind, at token, format string, args ...any) {
	if p.err == nil {
		p.err = problem(kind, "", "position "+strconv.Itoa(at.at+1)+": "+format, args...)
	}
	p.tok = token{kind: end, at: len(p.src)}
}

// expression = sequence { "AND" sequence }, sequence = factor { factor }. leaf reads a restriction, or a value of one.
func (p *parser) expression(leaf func() Expr, depth int) Expr {
	if depth > MaxDepth {
		p.failAs(OutOfRange, p.tok, "conditions must be nested at most %d deep", MaxDepth)
		return Expr{}
	}
	all := []Expr{p.factor(leaf, depth)}
	for p.tok.kind != end && p.tok.kind != closing {
		if p.tok.is("AND") {
			p.next()
		}
		all = append(all, p.factor(leaf, depth))
	}
	return one(All, all)
}

// factor = term { "OR" term }
func (p *parser) factor(leaf func() Expr, depth int) Expr {
	terms := []Expr{p.term(leaf, depth)}
	for p.tok.is("OR") {
		p.next()
		terms = append(terms, p.term(leaf, depth))
	}
	return one(Any, terms)
}

// one returns what op makes of args; values of one attribute joined by OR become one condition.
func one(op Op, args []Expr) Expr {
	if len(args) == 1 {
		return args[0]
	}
	first := args[0]
	if op == Any && (first.Op == In || first.Op == InMarkets) &&
		!slices.ContainsFunc(args, func(a Expr) bool { return a.Op != first.Op || a.Attribute != first.Attribute }) {
		for _, a := range args[1:] {
			first.Values = append(first.Values, a.Values...)
			first.Markets = append(first.Markets, a.Markets...)
		}
		return first
	}
	return Expr{Op: op, Args: args}
}

// term = [ "NOT" | "-" ] ( leaf | "(" expression ")" )
func (p *parser) term(leaf func() Expr, depth int) Expr {
	if p.nodes++; p.nodes > MaxConditions+MaxValues {
		p.failAs(OutOfRange, p.tok, "too many conditions and values")
		return Expr{}
	}
	switch {
	case p.tok.is("NOT") || p.tok.is("-"):
		p.next()
		return p.negated(leaf, depth)
	case p.tok.kind == word && len(p.tok.text) > 1 && p.tok.text[0] == '-' && !isNumber(p.tok.text):
		p.tok.text, p.tok.at = p.tok.text[1:], p.tok.at+1
		return p.negated(leaf, depth)
	case p.tok.kind == opening:
		p.next()
		e := p.expression(leaf, depth+1)
		if p.tok.kind != closing {
			p.fail(p.tok, "expected ')', found %s", p.tok)
			return Expr{}
		}
		p.next()
		return e
	}
	return leaf()
}

func (p *parser) negated(leaf func() Expr, depth int) Expr {
	if depth > MaxDepth {
		p.failAs(OutOfRange, p.tok, "conditions must be nested at most %d deep", MaxDepth)
		return Expr{}
	}
	if p.tok.is("NOT") {
		p.fail(p.tok, "NOT NOT says nothing")
		return Expr{}
	}
	return Expr{Op: None, Args: []Expr{p.term(leaf, depth+1)}}
}

// restriction = name comparator ( value | "(" values ")" )
func (p *parser) restriction() Expr {
	name := p.tok
	if name.kind != word || name.text == "AND" || name.text == "OR" {
		p.fail(name, "expected the name of an attribute, found %s", name)
		return Expr{}
	}
	p.next()
	op := p.tok
	if op.kind != comparator {
		p.fail(op, "expected a comparator (= != < <= > >= :) after %s, found %s", name, op)
		return Expr{}
	}
	t, bad := p.check.field(name.text, "")
	if bad != nil {
		p.failAs(bad.Kind, name, "%s", bad.Rule)
		return Expr{}
	}
	p.next()
	value := func() Expr { return p.comparison(name, op, t) }
	if p.tok.kind != opening {
		return value()
	}
	return p.term(value, 2)
}

// comparison reads one value and compares an attribute with it.
func (p *parser) comparison(name, op token, t attribute.Type) Expr {
	value := p.tok
	if value.kind != word && value.kind != quoted || value.is("AND") || value.is("OR") {
		p.fail(value, "expected a value after %s, found %s", op, value)
		return Expr{}
	}
	p.next()
	if value.kind == word && value.text == "*" {
		if op.text == ":" {
			return Expr{Op: Exists, Attribute: name.text}
		}
		p.fail(value, "'*' stands for any value after ':' only; quote it to compare with it")
		return Expr{}
	}
	switch op.text {
	case "=", ":":
		return p.equals(name, value, t)
	case "!=":
		return Expr{Op: None, Args: []Expr{p.equals(name, value, t)}}
	}
	v, ok := p.ordered(value, t)
	if !ok {
		return Expr{}
	}
	e := Expr{Op: Range, Attribute: name.text}
	b := Bound{Set: true, Open: op.text == "<" || op.text == ">", Value: v}
	if op.text[0] == '<' {
		e.High = b
	} else {
		e.Low = b
	}
	return e
}

// equals makes the condition that an attribute has a value.
func (p *parser) equals(name, value token, t attribute.Type) Expr {
	in := Expr{Op: In, Attribute: name.text}
	keyword := attribute.Value{Type: attribute.Keyword, Keywords: []string{value.text}}
	switch t {
	case attribute.Keyword:
		in.Values = []attribute.Value{keyword}
		return in
	case attribute.Markets:
		m, ok := attribute.ParseMarket(value.text)
		if !ok {
			p.failAs(Incomparable, value, "%s must be compared with a market (two capital letters), not %s", name, value)
		}
		return Expr{Op: InMarkets, Attribute: name.text, Markets: []attribute.Market{m}}
	case 0:
		return open(in, value, keyword)
	}
	v, ok := literal(value, t)
	if !ok {
		p.failAs(Incomparable, value, "%s must be compared with %s, not %s", name, wanted[t], value)
		return Expr{}
	}
	in.Values = []attribute.Value{v}
	return in
}

// open makes the condition of equality in an open schema: with the value as each type that it may be of.
func open(in Expr, value token, keyword attribute.Value) Expr {
	if value.kind == word {
		for _, t := range []attribute.Type{attribute.Bool, attribute.Int, attribute.Float} {
			if v, ok := literal(value, t); ok {
				in.Values = []attribute.Value{v}
				return in
			}
		}
	}
	in.Values = []attribute.Value{keyword}
	if v, ok := literal(value, attribute.Timestamp); ok {
		in.Values = append(in.Values, v)
	}
	if m, ok := attribute.ParseMarket(value.text); ok {
		return Expr{Op: Any, Args: []Expr{in, {Op: InMarkets, Attribute: in.Attribute, Markets: []attribute.Market{m}}}}
	}
	return in
}

// ordered reads the bound of a range.
func (p *parser) ordered(value token, t attribute.Type) (attribute.Value, bool) {
	types := []attribute.Type{attribute.Int, attribute.Float, attribute.Timestamp}
	switch t {
	case 0:
	case attribute.Int, attribute.Float:
		types = types[:2]
	case attribute.Timestamp:
		types = types[2:]
	default:
		p.failAs(Incomparable, value, "an attribute of type %v has no order: use = or != or ':'", t)
		return attribute.Value{}, false
	}
	for _, t := range types {
		if v, ok := literal(value, t); ok {
			return v, true
		}
	}
	what := "a number or a time"
	if t != 0 {
		what = wanted[t]
	}
	p.failAs(Incomparable, value, "a range ends at %s, not at %s", what, value)
	return attribute.Value{}, false
}

// wanted names what an attribute of a type is compared with.
var wanted = map[attribute.Type]string{
	attribute.Bool:      "true or false",
	attribute.Int:       "a number",
	attribute.Float:     "a number",
	attribute.Timestamp: "a time (RFC 3339, YYYY-MM-DD, YYYY-MM or YYYY)",
}

// literal reads a value as one of type t, which is none of Keyword and Markets. Only times may be quoted.
func literal(value token, t attribute.Type) (attribute.Value, bool) {
	s := value.text
	if t == attribute.Timestamp {
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly, "2006-01", "2006"} {
			if at, err := time.Parse(layout, s); err == nil {
				return attribute.Value{Type: t, Time: at.UTC()}, inYears(at.UTC())
			}
		}
		return attribute.Value{}, false
	}
	if value.kind != word {
		return attribute.Value{}, false
	}
	if t == attribute.Bool {
		return attribute.Value{Type: t, Bool: s == "true"}, s == "true" || s == "false"
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return attribute.Value{Type: attribute.Int, Int: n}, true
	}
	if !isNumber(s) {
		return attribute.Value{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	return attribute.Value{Type: attribute.Float, Float: f}, err == nil
}

// inYears says whether at is in the years that an attribute can hold.
func inYears(at time.Time) bool { return at.Year() >= 1 && at.Year() <= 9999 }

// isNumber leaves out what ParseFloat takes beyond decimal numbers: inf, nan, hexadecimal, underscores.
func isNumber(s string) bool {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" || strings.IndexByte("0123456789+-.", s[0]) < 0 {
		return false
	}
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
