package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// CallRule forbids the use of functions.
type CallRule struct {
	// Names are functions as they are written with the last element of their import path
	// ("os.Create", "rand.Int"), or the names of built-in functions ("println").
	Names []string
	// In are patterns of packages the rule is for; none means all. NotIn are patterns of packages or files it is not for.
	In, NotIn []string
	// NotCommands exempts package main.
	NotCommands bool
	// Tests says whether the rule is for test files too.
	Tests bool
	// UnlessImporting exempts files that import this package.
	UnlessImporting string
	Why             string
}

// Calls judges uses of forbidden functions, whether called or passed on.
func (t *Tree) Calls(rules []CallRule) []Violation {
	var out []Violation
	for _, f := range t.goFiles() {
		imported := map[string]string{} // name in the file -> name the rules use
		for _, spec := range f.Go.Imports {
			base := path.Base(importPath(spec))
			name := base
			if spec.Name != nil {
				name = spec.Name.Name
			}
			imported[name] = base
		}
		ast.Inspect(f.Go, func(n ast.Node) bool {
			name, pos := "", token.NoPos
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] != "" {
					name, pos = imported[x.Name]+"."+n.Sel.Name, n.Pos()
				}
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.Ident); ok {
					name, pos = fun.Name, n.Pos()
				}
			}
			for _, r := range rules {
				if name != "" && slices.Contains(r.Names, name) && r.covers(f) {
					out = append(out, t.violation(f, pos, "%s: %s", name, r.Why))
				}
			}
			return true
		})
	}
	return out
}

func (r CallRule) covers(f *File) bool {
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return matchesFile(p, f) })
	}
	exempt := r.UnlessImporting != "" && slices.ContainsFunc(f.Go.Imports, func(spec *ast.ImportSpec) bool {
		return importPath(spec) == r.UnlessImporting
	})
	exempt = exempt || r.NotCommands && f.Go.Name.Name == "main"
	return !exempt && (r.Tests || !f.Test()) && (len(r.In) == 0 || in(r.In)) && !in(r.NotIn)
}

// Names judges the names of packages against a list of words that say nothing.
func (t *Tree) Names(empty []string) []Violation {
	var out []Violation
	seen := map[string]bool{}
	for _, f := range t.goFiles() {
		name := strings.TrimSuffix(f.Go.Name.Name, "_test")
		for _, n := range []string{name, path.Base(f.Dir())} {
			if slices.Contains(empty, n) && !seen[f.Dir()] {
				seen[f.Dir()] = true
				out = append(out, t.violation(f, f.Go.Name.Pos(), "package name %q says nothing", n))
			}
		}
	}
	return out
}

// Docs judges that every package with hand-written code has a doc.go that holds its package comment, and
// that no other file has one.
func (t *Tree) Docs() []Violation {
	var out []Violation
	dirs := map[string]bool{}
	for _, f := range t.goFiles() {
		if f.Test() {
			continue
		}
		if base := path.Base(f.Path); base != "doc.go" && f.Go.Doc != nil {
			out = append(out, t.violation(f, f.Go.Doc.Pos(), "package comment outside of doc.go"))
		}
		if dirs[f.Dir()] {
			continue
		}
		dirs[f.Dir()] = true
		doc := t.File(path.Join(f.Dir(), "doc.go"))
		if doc == nil || doc.Go == nil {
			out = append(out, Violation{Path: f.Dir(), Message: "no doc.go"})
			continue
		}
		want := "Package " + doc.Go.Name.Name + " "
		if doc.Go.Name.Name == "main" {
			want = "Command " + path.Base(f.Dir()) + " "
		}
		if doc.Go.Doc == nil || !strings.HasPrefix(doc.Go.Doc.Text(), want) {
			out = append(out, t.violation(doc, doc.Go.Name.Pos(), "the package comment does not begin with %q", want))
		}
	}
	return out
}

// Inits judges that no package has an init function: nothing happens on import.
func (t *Tree) Inits() []Violation {
	var out []Violation
	for _, f := range t.goFiles() {
		for _, d := range f.Go.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, t.violation(f, fn.Pos(), "init function"))
			}
		}
	}
	return out
}

// Lengths judges that no hand-written Go file is longer than limit lines. Exceptions map a path to the reason;
// one that is not needed any more is a violation too.
func (t *Tree) Lengths(limit int, exceptions map[string]string) []Violation {
	var out []Violation
	for _, f := range t.goFiles() {
		n := bytes.Count(f.Text, []byte("\n"))
		why, excepted := exceptions[f.Path]
		switch {
		case n > limit && !excepted:
			out = append(out, Violation{Path: f.Path, Message: fmt.Sprintf("%d lines, more than %d: split it by verb", n, limit)})
		case n <= limit && excepted:
			out = append(out, Violation{Path: f.Path, Message: "needs no exception from the limit on lines any more"})
		case excepted && strings.TrimSpace(why) == "":
			out = append(out, Violation{Path: f.Path, Message: "exception without a reason"})
		}
	}
	for name := range exceptions {
		if t.File(name) == nil {
			out = append(out, Violation{Path: name, Message: "has an exception from the limit on lines but does not exist"})
		}
	}
	return out
}

// TextRule forbids a pattern in lines of text.
type TextRule struct {
	Pattern *regexp.Regexp
	// Files are patterns of path.Match on the base name; none means all. NotIn are patterns of directories.
	Files, NotIn []string
	Why          string
}

// Texts judges the lines of all text files that are not generated, Go or not.
func (t *Tree) Texts(rules []TextRule) []Violation {
	var out []Violation
	for _, f := range t.Files {
		for _, r := range rules {
			if f.Generated || !r.covers(f) {
				continue
			}
			for i, line := range strings.Split(string(f.Text), "\n") {
				if found := r.Pattern.FindString(line); found != "" {
					out = append(out, Violation{f.Path, i + 1, fmt.Sprintf("%q: %s", strings.TrimSpace(found), r.Why)})
				}
			}
		}
	}
	return out
}

func (r TextRule) covers(f *File) bool {
	if slices.ContainsFunc(r.NotIn, func(p string) bool { return matches(p, f.Dir()) }) {
		return false
	}
	return len(r.Files) == 0 || slices.ContainsFunc(r.Files, func(p string) bool {
		ok, err := path.Match(p, path.Base(f.Path))
		return ok && err == nil
	})
}

// Assembly judges that assembly stands below the one directory that may hold it.
func (t *Tree) Assembly(dir string) []Violation {
	var out []Violation
	for _, f := range t.Files {
		if path.Ext(f.Path) == ".s" && !matches(dir+"/...", f.Dir()) {
			out = append(out, Violation{Path: f.Path, Message: "assembly outside of " + dir})
		}
	}
	return out
}

// link is an inline link of Markdown: [text](target).
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links judges that the relative links of Markdown files lead to something in the tree, or in root for
// files that are not text.
func (t *Tree) Links(exists func(string) bool) []Violation {
	var out []Violation
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".md" {
			continue
		}
		for i, line := range strings.Split(string(f.Text), "\n") {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, _, _ := strings.Cut(m[1], "#")
				if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				if name := path.Join(f.Dir(), target); !t.Has(name) && !exists(name) {
					out = append(out, Violation{f.Path, i + 1, "broken link to " + m[1]})
				}
			}
		}
	}
	return out
}
