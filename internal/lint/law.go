package lint

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Law is a parsed import law.
//
// Its text is a list of statements that end in a semicolon; # begins a comment. A package of the module is
// named by its path below the module's root; any other package by its import path, or by a prefix and
// /... for the prefix and everything below it.
//
//	a, b < c;     c, and every package above c, may import a and b. Chains are allowed: a < b < c.
//	a, b !< c;    c must not import a or b, although the order, or the default, would let it. Not inherited.
//	a only b, c;  of all packages only b and c may import a. b may be a file pattern such as hnsw/arena*.go.
//	a tests;      only test files may import a.
//
// A package of the module must occur in the order, NONE standing for nothing. A package of another module must
// occur in an only or a tests statement: a dependency is a decision. Packages of the standard library are
// free unless a statement restricts them. Test files are free of the order and of restrictions on who may
// import what, but what they import must be known to the law.
type Law struct {
	below map[string]map[string]bool // package -> every package it may import, transitively
	never []never
	only  []only
}

type never struct{ imported, importer string }

type only struct {
	imported  string
	importers []string // empty: tests only
}

// none is the bottom of the order.
const none = "NONE"

// ParseLaw reads the text of a law. The order must not have a cycle.
func ParseLaw(text string) (*Law, error) {
	l := &Law{below: map[string]map[string]bool{}}
	var bare strings.Builder
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "#")
		bare.WriteString(code + " ")
	}
	statements := strings.Split(strings.Join(strings.Fields(bare.String()), " "), ";")
	if last := statements[len(statements)-1]; last != "" {
		return nil, fmt.Errorf("lint: statement %q does not end in a semicolon", last)
	}
	for _, s := range statements[:len(statements)-1] {
		if err := l.add(strings.TrimSpace(s)); err != nil {
			return nil, fmt.Errorf("lint: statement %q: %w", s, err)
		}
	}
	return l, l.close()
}

func (l *Law) add(statement string) error {
	for _, op := range []string{"!<", "<", " only ", " tests"} {
		if !strings.Contains(statement, op) {
			continue
		}
		var sides [][]string
		for _, side := range strings.Split(statement, op) {
			var names []string
			for _, name := range strings.Split(side, ",") {
				if name = strings.TrimSpace(name); name != "" {
					names = append(names, name)
				}
			}
			sides = append(sides, names)
		}
		return l.addSides(strings.TrimSpace(op), sides)
	}
	return errors.New("no operator")
}

func (l *Law) addSides(op string, sides [][]string) error {
	last := len(sides) - 1
	for i, side := range sides {
		if len(side) == 0 && !(op == "tests" && i == last) {
			return errors.New("an empty side")
		}
	}
	if op != "<" && len(sides) != 2 {
		return fmt.Errorf("%s takes two sides", op)
	}
	switch op {
	case "<":
		for i := 1; i < len(sides); i++ {
			for _, upper := range sides[i] {
				if l.below[upper] == nil {
					l.below[upper] = map[string]bool{}
				}
				for _, lower := range sides[i-1] {
					l.below[upper][lower] = true
				}
			}
		}
	case "!<":
		for _, imported := range sides[0] {
			for _, importer := range sides[1] {
				l.never = append(l.never, never{imported, importer})
			}
		}
	default:
		for _, imported := range sides[0] {
			l.only = append(l.only, only{imported, sides[1]})
		}
	}
	return nil
}

// close makes the order transitive and refuses cycles and names that stand above nothing.
func (l *Law) close() error {
	for changed := true; changed; {
		changed = false
		for upper, lowers := range l.below {
			for lower := range maps.Clone(lowers) {
				if lower != none && l.below[lower] == nil {
					return fmt.Errorf("lint: %s is below %s but above nothing, not even %s", lower, upper, none)
				}
				for bottom := range l.below[lower] {
					if !lowers[bottom] {
						lowers[bottom], changed = true, true
					}
				}
			}
		}
	}
	for upper, lowers := range l.below {
		if lowers[upper] {
			return fmt.Errorf("lint: %s is below itself", upper)
		}
	}
	return nil
}

// Packages returns the packages of the module that the law knows, ascending.
func (l *Law) Packages() []string { return slices.Sorted(maps.Keys(l.below)) }

// Imports judges every import of the tree's hand-written Go files.
func (t *Tree) Imports(l *Law) []Violation {
	var out []Violation
	for _, f := range t.goFiles() {
		for _, spec := range f.Go.Imports {
			if spec.Name != nil && spec.Name.Name == "." {
				out = append(out, t.violation(f, spec.Pos(), "dot import of %s", importPath(spec)))
			}
			if why := l.judge(t.Module, f, importPath(spec)); why != "" {
				out = append(out, t.violation(f, spec.Pos(), "%s", why))
			}
		}
	}
	return out
}

// judge returns why f must not import p, or nothing.
func (l *Law) judge(module string, f *File, p string) string {
	ours, inModule := strings.CutPrefix(p, module+"/")
	if p == module {
		ours, inModule = ".", true
	}
	importer, test := f.Dir(), f.Test()
	if inModule {
		p = ours
	}
	if !test {
		for _, n := range l.never {
			if n.importer == importer && matches(n.imported, p) {
				return fmt.Sprintf("%s must not import %s", importer, p)
			}
		}
	}
	if inModule {
		if test {
			return ""
		}
		if l.below[importer] == nil {
			return fmt.Sprintf("package %s is not in the import law", importer)
		}
		if !l.below[importer][p] {
			return fmt.Sprintf("%s may not import %s: the import law does not place it below", importer, p)
		}
		return ""
	}
	known := false
	for _, o := range l.only {
		if !matches(o.imported, p) {
			continue
		}
		known = true
		if test || slices.ContainsFunc(o.importers, func(pattern string) bool { return matchesFile(pattern, f) }) {
			return ""
		}
	}
	first, _, _ := strings.Cut(p, "/")
	switch {
	case known:
		return fmt.Sprintf("%s may not import %s: the import law confines it", importer, p)
	case strings.Contains(first, "."):
		return fmt.Sprintf("dependency %s is not in the import law", p)
	}
	return ""
}

// matches says whether the pattern, a path or a prefix with /..., covers the path.
func matches(pattern, p string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return p == prefix || strings.HasPrefix(p, prefix+"/")
	}
	return pattern == p
}

// matchesFile says whether the pattern, one of packages or one of files, covers the file.
func matchesFile(pattern string, f *File) bool {
	if strings.HasSuffix(pattern, ".go") {
		ok, err := path.Match(pattern, f.Path)
		return ok && err == nil
	}
	return matches(pattern, f.Dir())
}
