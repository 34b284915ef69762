package lint_test

import (
	"encoding/json"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/segue-ann/segue/internal/lint"
)

// instruction is one line of a Dockerfile, continuation lines joined.
type instruction struct {
	word  string
	args  string
	stage int
}

func dockerfile(t *testing.T, tree *lint.Tree) []instruction {
	t.Helper()
	file := tree.File("Dockerfile")
	if file == nil {
		t.Fatal("no Dockerfile")
	}
	var out []instruction
	stage := -1
	for line := range strings.Lines(strings.ReplaceAll(string(file.Text), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, args, _ := strings.Cut(line, " ")
		if word == "FROM" {
			stage++
		}
		out = append(out, instruction{word, strings.TrimSpace(args), stage})
	}
	return out
}

// one returns the arguments of the only such instruction of the last stage.
func one(t *testing.T, all []instruction, word string) string {
	t.Helper()
	var found []string
	for _, in := range all {
		if in.word == word && in.stage == all[len(all)-1].stage {
			found = append(found, in.args)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the last stage has %d %s instructions, want one", len(found), word)
	}
	return found[0]
}

func list(t *testing.T, args string) []string {
	t.Helper()
	var out []string
	if err := json.Unmarshal([]byte(args), &out); err != nil {
		t.Fatalf("%s is not in exec form: %v", args, err)
	}
	return out
}

// TestContainerImage checks what the Dockerfile says against the tree, since images cannot be built where
// the tests run: what it copies exists, what it builds is a command, it ends in a bare image that runs
// without root, and the verb and the flags it starts exist.
func TestContainerImage(t *testing.T) {
	tree := house(t)
	all := dockerfile(t, tree)

	// What is built, and how.
	var built, binary string
	for _, in := range all {
		switch {
		case in.word == "RUN" && strings.Contains(in.args, "go build"):
			command, _, _ := strings.Cut(in.args, "&&")
			for _, want := range []string{"CGO_ENABLED=0", "-trimpath"} {
				if !strings.Contains(command, want) {
					t.Errorf("RUN %s lacks %s", in.args, want)
				}
			}
			fields := strings.Fields(command)
			built, binary = path.Clean(fields[len(fields)-1]), fields[slices.Index(fields, "-o")+1]
		case in.word == "COPY" && !strings.Contains(in.args, "--from="):
			fields := strings.Fields(in.args)
			for _, source := range fields[:len(fields)-1] {
				if !tree.Has(source) {
					t.Errorf("COPY %s: %s does not exist", in.args, source)
				}
			}
		case in.word == "FROM" && in.stage == 0:
			mod := string(tree.File("go.mod").Text)
			version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(mod)[1]
			if !strings.HasPrefix(in.args, "golang:"+version) {
				t.Errorf("builds in %s, go.mod says Go %s", in.args, version)
			}
		}
	}
	main := tree.File(path.Join(built, "main.go"))
	if main == nil || main.Go.Name.Name != "main" {
		t.Fatalf("builds %q, which is no command", built)
	}

	// What is run, as whom.
	if from := one(t, all, "FROM"); from != "scratch" {
		t.Errorf("ends in %s, want scratch: the binary is static", from)
	}
	if user := one(t, all, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("USER %s is not a numeric user and group other than root: Kubernetes cannot check names", user)
	}
	entry, cmd := list(t, one(t, all, "ENTRYPOINT")), list(t, one(t, all, "CMD"))
	copied := slices.ContainsFunc(all, func(in instruction) bool {
		fields := strings.Fields(in.args)
		return in.word == "COPY" && strings.HasPrefix(in.args, "--from=") &&
			fields[len(fields)-2] == binary && fields[len(fields)-1] == entry[0]
	})
	if !copied {
		t.Errorf("runs %s, but nothing copies %s there", entry[0], binary)
	}
	verb := tree.File(path.Join(built, cmd[0]+".go"))
	if len(entry) != 1 || verb == nil {
		t.Fatalf("ENTRYPOINT %v, CMD %v: not a verb of %s", entry, cmd, built)
	}
	for _, arg := range cmd {
		name, isFlag := strings.CutPrefix(arg, "--")
		if isFlag && !regexp.MustCompile(`(?:Flags\(\)|\bf)\.\w+\(&?[\w.]+, "`+name+`"`).Match(verb.Text) {
			t.Errorf("%s defines no flag --%s", verb.Path, name)
		}
	}
	listen := cmd[slices.Index(cmd, "--listen")+1]
	if port := one(t, all, "EXPOSE"); !strings.HasSuffix(listen, ":"+port) {
		t.Errorf("listens on %s, exposes %s", listen, port)
	}
	if volume, data := one(t, all, "VOLUME"), cmd[slices.Index(cmd, "--data")+1]; volume != data {
		t.Errorf("keeps its store in %s, the volume is %s", data, volume)
	}
}

// TestContainerContext checks that .dockerignore hides nothing that the build reads.
func TestContainerContext(t *testing.T) {
	tree := house(t)
	var patterns []string
	for line := range strings.Lines(string(tree.File(".dockerignore").Text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, line)
		}
	}
	needed := []string{"go.mod", "go.sum"}
	for _, f := range tree.Files {
		if f.Go != nil && !f.Test() {
			needed = append(needed, f.Path)
		}
	}
	data, err := filepath.Glob(root + "/examples/demo/*.zst")
	if err != nil || len(data) == 0 {
		t.Fatalf("no demo data: %v", err)
	}
	for _, name := range data {
		needed = append(needed, "examples/demo/"+filepath.Base(name))
	}
	for _, name := range needed {
		for _, p := range patterns {
			if ignored(p, name) {
				t.Errorf(".dockerignore: %s hides %s", p, name)
			}
		}
	}
	for name, want := range map[string]bool{
		"testdata/x.gz": true, "hnsw/testdata/fuzz/x": true, "a/b/c_test.go": true, "c_test.go": true, "README.md": true,
		"docs/adr/0001.md": true, "cmd/segue/docs.go": false, "internal/lint/doc.go": false,
	} {
		if got := slices.ContainsFunc(patterns, func(p string) bool { return ignored(p, name) }); got != want {
			t.Errorf("%s: ignored is %v, want %v", name, got, want)
		}
	}
}

// ignored says whether a pattern of .dockerignore covers the name or a directory above it. **/ stands for any
// number of directories, none included.
func ignored(pattern, name string) bool {
	rest, anywhere := strings.CutPrefix(pattern, "**/")
	for dir := name; dir != "."; dir = path.Dir(dir) {
		for tail := dir; ; {
			if ok, err := path.Match(rest, tail); ok && err == nil {
				return true
			}
			_, after, more := strings.Cut(tail, "/")
			if !anywhere || !more {
				break
			}
			tail = after
		}
	}
	return false
}
