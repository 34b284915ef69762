package lint_test

import (
	"bytes"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// TestScriptsExist keeps the repository's own commands honest: the scripts that the Makefile, the
// workflows and the README run exist.
func TestScriptsExist(t *testing.T) {
	tree := house(t)
	script := regexp.MustCompile(`(?:bash |\./)(\.ci/[\w./-]+)|-modfile=([\w./-]+)`)
	for _, f := range tree.Files {
		if base := path.Base(f.Path); base != "Makefile" && base != "run" && path.Ext(base) != ".yml" && path.Ext(base) != ".md" {
			continue
		}
		for _, m := range script.FindAllStringSubmatch(string(f.Text), -1) {
			if name := m[1] + m[2]; !tree.Has(name) {
				t.Errorf("%s runs %s, which does not exist", f.Path, name)
			}
		}
	}
	if info, err := os.Stat(root + "/.ci/run"); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run is not executable: %v", err)
	}
}

// TestDependenciesAreExplained holds go.mod and the decision on dependencies together: a module that is
// required directly has its line there.
func TestDependenciesAreExplained(t *testing.T) {
	tree := house(t)
	adr := string(tree.File("docs/adr/0005-dependencies.md").Text)
	direct := regexp.MustCompile(`(?m)^(?:require )?\t?([\w.-]+\.[\w./-]+) v\S+$`)
	found := direct.FindAllStringSubmatch(string(tree.File("go.mod").Text), -1)
	if len(found) < 10 {
		t.Fatalf("only %d direct dependencies found in go.mod", len(found))
	}
	for _, m := range found {
		name := strings.TrimPrefix(m[1], "github.com/")
		name = strings.TrimSuffix(name, "/googleapis/rpc") // the line says what of genproto is used
		if !strings.Contains(adr, "| "+name+" ") && !strings.Contains(adr, "| "+name+",") && !strings.Contains(adr, ", "+path.Base(name)+" (") {
			t.Errorf("docs/adr/0005-dependencies.md has no line for %s", m[1])
		}
	}
}

// TestLintersHaveReasons keeps the promise of .golangci.yml's first lines.
func TestLintersHaveReasons(t *testing.T) {
	text := string(house(t).File(".golangci.yml").Text)
	_, enabled, found := strings.Cut(text, "  enable:\n")
	enabled, _, ends := strings.Cut(enabled, "\n\n")
	if !found || !ends {
		t.Fatal("no list of linters")
	}
	for line := range strings.Lines(enabled) {
		if !regexp.MustCompile(`^    - \w+ # \S`).MatchString(line) {
			t.Errorf(".golangci.yml: %q gives no reason", strings.TrimSpace(line))
		}
	}
}

// TestTargetsHaveHelp checks that make's help lists every target.
func TestTargetsHaveHelp(t *testing.T) {
	text := string(house(t).File("Makefile").Text)
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## \S`).MatchString(text) {
			t.Errorf("Makefile: %s has no help, or is no target", m[1])
		}
	}
}

// TestReadmeCommands checks that the two commands a newcomer types stand in the README once each, where
// .ci/run takes them from.
func TestReadmeCommands(t *testing.T) {
	tree := house(t)
	readme := string(tree.File("README.md").Text)
	for _, command := range []string{"go run ./cmd/segue demo --once", "go test ./..."} {
		if n := len(regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(command)+`(?: +#.*)?$`).FindAllString(readme, -1)); n != 1 {
			t.Errorf("README.md has the line %q %d times, want once", command, n)
		}
	}
	if n := bytes.Count(tree.File("ARCHITECTURE.md").Text, []byte("\n")); n > 200 {
		t.Errorf("ARCHITECTURE.md has %d lines, more than fit in one sitting", n)
	}
}

// TestNamedTestsExist: a test that a document says holds something exists.
func TestNamedTestsExist(t *testing.T) {
	tree := house(t)
	exist := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	for _, f := range tree.Files {
		if strings.HasSuffix(f.Path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(string(f.Text), -1) {
				exist[m[1]] = true
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`")
	for _, f := range tree.Files {
		if path.Ext(f.Path) != ".md" || !strings.HasPrefix(f.Path, "docs/") {
			continue
		}
		for _, m := range named.FindAllStringSubmatch(string(f.Text), -1) {
			if !exist[m[1]] {
				t.Errorf("%s names %s, which does not exist", f.Path, m[1])
			}
		}
	}
}
