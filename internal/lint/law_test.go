package lint_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/segue-ann/segue/internal/lint"
)

// TestRulesCatchViolations judges small trees that break the rules of this repository. Each archive of
// testdata is a tree; its comment lists, one a line, every violation expected, and lines that begin with #
// say what the tree shows.
func TestRulesCatchViolations(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(archive.Comment)) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					want = append(want, line)
				}
			}
			fsys := fstest.MapFS{"go.mod": {Data: []byte("module example.com/m\n")}}
			for _, f := range archive.Files {
				fsys[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			tree, err := lint.Load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Concat(tree.Imports(houseLaw(t)), tree.Calls(calls), tree.Names(emptyNames), tree.Docs(), tree.Inits(),
				tree.Lengths(20, map[string]string{"server/long.go": "a table", "server/short.go": "was long", "server/gone.go": "x"}),
				tree.Texts(texts), tree.Assembly("internal/distance"), tree.Links(func(string) bool { return false }))
			var got []string
			for _, v := range all {
				if !strings.HasPrefix(v.Path, "server/") || !strings.Contains(v.Message, "does not exist") || name == "testdata/lengths.txtar" {
					got = append(got, v.String())
				}
			}
			slices.SortFunc(got, strings.Compare)
			slices.SortFunc(want, strings.Compare)
			if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseLawRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`a < b`:                        "does not end in a semicolon",
		`NONE < a < b; b < a;`:         "below itself",
		`NONE < a; b < c;`:             "b is below c but above nothing",
		`a b;`:                         "no operator",
		`NONE < a < ;`:                 "an empty side",
		`only a;`:                      "no operator",
		`x only ;`:                     "no operator",
		`a !< b !< c;`:                 "!< takes two sides",
		`a only b only c;`:             "only takes two sides",
		"NONE < a; # comment\n a !< ;": "an empty side",
	} {
		if _, err := lint.ParseLaw(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", text, err, want)
		}
	}
}

// TestLawIsTransitive checks the order against a naive closure on the house's own table.
func TestLawIsTransitive(t *testing.T) {
	law, err := lint.ParseLaw(`NONE < a < b < c, d; d < e; a !< c;`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d", "e"}, law.Packages()); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	// What each package may import; a comes last in the names so that the direction is plain.
	allowed := map[string]string{"a": "", "b": "a", "c": "b", "d": "ab", "e": "abd"}
	for importer, want := range allowed {
		fsys := fstest.MapFS{"go.mod": {Data: []byte("module m.test/m\n")}}
		source := "package p\nimport (\n"
		for _, p := range law.Packages() {
			source += `_ "m.test/m/` + p + "\"\n"
		}
		fsys[importer+"/p.go"] = &fstest.MapFile{Data: []byte(source + ")\n")}
		tree, err := lint.Load(fsys)
		if err != nil {
			t.Fatal(err)
		}
		refused := map[int]bool{}
		for _, v := range tree.Imports(law) {
			refused[v.Line] = true
		}
		for i, p := range law.Packages() {
			if refused[3+i] == strings.Contains(want, p) {
				t.Errorf("%s imports %s: refused is %v", importer, p, refused[3+i])
			}
		}
	}
}

// TestLawNamesWhatExists keeps the table free of packages that were renamed: what it orders exists, or is
// one of the rooms that ARCHITECTURE.md reserves.
func TestLawNamesWhatExists(t *testing.T) {
	tree := house(t)
	architecture := tree.File("ARCHITECTURE.md")
	for _, p := range houseLaw(t).Packages() {
		if !tree.Has(p) && (architecture == nil || !strings.Contains(string(architecture.Text), "`"+p+"/`")) {
			t.Errorf("the import law orders %s, which is neither in the tree nor in ARCHITECTURE.md", p)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, fsys := range map[string]fstest.MapFS{
		"no go.mod":  {},
		"no module":  {"go.mod": {Data: []byte("go 1.26\n")}},
		"not parsed": {"go.mod": {Data: []byte("module m\n")}, "a.go": {Data: []byte("package")}},
	} {
		if _, err := lint.Load(fsys); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestFilesAscend pins the order that Tree.File relies on, on the real tree.
func TestFilesAscend(t *testing.T) {
	tree := house(t)
	if !slices.IsSortedFunc(tree.Files, func(a, b *lint.File) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("files do not ascend by path")
	}
	if f := tree.File("internal/lint/doc.go"); f == nil || f.Go == nil || f.Dir() != "internal/lint" || f.Test() {
		t.Errorf("internal/lint/doc.go is %+v", f)
	}
	if info, err := os.Stat(root + "/tools"); err == nil && info.IsDir() {
		if f := tree.File("tools/lint/go.mod"); f == nil {
			t.Error("files of nested modules are not read as text")
		}
	}
}
