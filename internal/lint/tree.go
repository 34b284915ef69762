package lint

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Tree is a parsed module: every Go file that belongs to it, and every other text file below its root.
type Tree struct {
	// Module is the module path of go.mod.
	Module string
	// Files ascend by path.
	Files []*File
	fset  *token.FileSet
}

// File is one file of a tree.
type File struct {
	// Path is slash-separated and relative to the root.
	Path string
	Text []byte
	// Go is the syntax tree, or nil: not a Go file, or one the go command ignores (in testdata, in a directory
	// whose name begins with _ or a dot, or in a nested module).
	Go *ast.File
	// Generated says that the file declares itself generated code.
	Generated bool
}

// Test says whether the file is a test file.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Dir is the directory of the file, "." for the root: for a Go file the path of its package in the module.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Violation is one breach of a rule.
type Violation struct {
	Path string
	// Line counts from 1; 0 means the file or the directory as a whole.
	Line int
	// Message says what is wrong and which rule says so.
	Message string
}

func (v Violation) String() string {
	if v.Line == 0 {
		return v.Path + ": " + v.Message
	}
	return fmt.Sprintf("%s:%d: %s", v.Path, v.Line, v.Message)
}

// Load reads and parses the tree below root, which must hold a go.mod. Files that are not text are left
// out, as is what git ignores by convention here: .git, bin.
func Load(root fs.FS) (*Tree, error) {
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	t := &Tree{Module: modulePath(mod), fset: token.NewFileSet()}
	if t.Module == "" {
		return nil, fmt.Errorf("lint: go.mod names no module")
	}
	nested := map[string]bool{} // directories whose Go files are not of this module
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" || name == "bin" {
				return fs.SkipDir
			}
			if name != "." {
				base := path.Base(name)
				_, noMod := fs.Stat(root, path.Join(name, "go.mod"))
				nested[name] = nested[path.Dir(name)] || noMod == nil || base == "testdata" ||
					strings.HasPrefix(base, "_") || strings.HasPrefix(base, ".")
			}
			return nil
		}
		if !d.Type().IsRegular() || name == ".git" { // .git is a file in a worktree
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 || path.Ext(name) == ".zst" {
			return nil
		}
		f := &File{Path: name, Text: text}
		if path.Ext(name) == ".go" && !nested[path.Dir(name)] {
			if f.Go, err = parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
				return err
			}
			f.Generated = ast.IsGenerated(f.Go)
		}
		t.Files = append(t.Files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	slices.SortFunc(t.Files, func(a, b *File) int { return cmp.Compare(a.Path, b.Path) })
	return t, nil
}

func modulePath(mod []byte) string {
	for line := range strings.Lines(string(mod)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "module" {
			return fields[1]
		}
	}
	return ""
}

// Has says whether the tree holds a text file or a directory of that path.
func (t *Tree) Has(name string) bool {
	name = path.Clean(name)
	return name == "." || slices.ContainsFunc(t.Files, func(f *File) bool {
		return f.Path == name || strings.HasPrefix(f.Path, name+"/")
	})
}

// File returns the file of that path, or nil.
func (t *Tree) File(name string) *File {
	i, ok := slices.BinarySearchFunc(t.Files, name, func(f *File, name string) int { return cmp.Compare(f.Path, name) })
	if !ok {
		return nil
	}
	return t.Files[i]
}

// goFiles returns the module's hand-written Go files.
func (t *Tree) goFiles() []*File {
	var out []*File
	for _, f := range t.Files {
		if f.Go != nil && !f.Generated {
			out = append(out, f)
		}
	}
	return out
}

func (t *Tree) violation(f *File, pos token.Pos, format string, args ...any) Violation {
	return Violation{Path: f.Path, Line: t.fset.Position(pos).Line, Message: fmt.Sprintf(format, args...)}
}

// importPath returns the path an import spec names.
func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser accepted it as a string literal
	}
	return p
}
