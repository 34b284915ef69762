package lint_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/segue-ann/segue/internal/lint"
)

// calls are the functions the house does without, and where.
var calls = []lint.CallRule{
	{
		Names:       []string{"fmt.Print", "fmt.Printf", "fmt.Println", "print", "println", "os.Stdout"},
		NotCommands: true,
		Why:         "standard output belongs to the command, not to a library",
	},
	{
		Names: []string{"log.Print", "log.Printf", "log.Println", "log.Fatal", "log.Fatalf", "log.Fatalln", "log.Panic",
			"log.Panicf", "slog.Debug", "slog.Info", "slog.Warn", "slog.Error", "slog.SetDefault"},
		NotCommands: true,
		Why:         "log to the *slog.Logger of the Options, not to a global one",
	},
	{
		Names:       []string{"os.Exit"},
		NotIn:       []string{"storage"},
		NotCommands: true,
		Why:         "only a command ends the process (and storage, when fsync has failed)",
	},
	{
		Names: []string{"os.Create", "os.CreateTemp", "os.Open", "os.OpenFile", "os.OpenRoot", "os.OpenInRoot", "os.Rename",
			"os.WriteFile", "os.ReadFile", "os.ReadDir", "os.Mkdir", "os.MkdirAll", "os.MkdirTemp", "os.Remove", "os.RemoveAll",
			"os.Truncate", "os.Link", "os.Symlink", "os.Stat", "os.Lstat", "os.DirFS", "filepath.Walk", "filepath.WalkDir", "filepath.Glob"},
		In:  []string{"storage", "engine"},
		Why: "files go through vfs.FS, so that the crash tests see every operation",
	},
	{
		Names: []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer",
			"time.NewTicker", "time.Tick"},
		In:  []string{"hnsw", "internal/..."},
		Why: "no clock here: the same calls give the same graph",
	},
	{
		Names: []string{"sync.Pool"},
		In:    []string{"hnsw"},
		Why:   "search contexts live in a free list that the index owns; a pool drops them at every collection",
	},
	{
		Names:           []string{"time.Sleep"},
		Tests:           true,
		UnlessImporting: "testing/synctest", // whose clock is not the world's
		Why:             "wait for the event, not for a while",
	},
	{
		Names: []string{"rand.Seed", "rand.Int", "rand.Intn", "rand.IntN", "rand.Float32", "rand.Float64", "rand.Perm",
			"rand.Shuffle", "rand.NormFloat64", "rand.Uint32", "rand.Uint64", "rand.N", "rand.Int63", "rand.Int31n"},
		Tests: true,
		Why:   "draw from a generator with a seed that is written down",
	},
}

// emptyNames are package names that say nothing.
var emptyNames = []string{"base", "common", "helper", "helpers", "lib", "manager", "misc", "shared", "types", "util", "utils"}

// longFiles are the files that may exceed the limit on lines, with the reason.
var longFiles = map[string]string{}

// texts are patterns no line of text may match. They are written so as not to match themselves.
var texts = []lint.TextRule{
	{
		Pattern: regexp.MustCompile(`\b(TOD[O]|FIXM[E]|XX[X])\b`),
		Files:   []string{"*.go", "*.s", "*.proto", "*.sh", "run", "Makefile", "Dockerfile", "*.yml", "*.yaml"},
		Why:     "finish it, or say in an issue what is missing",
	},
	{
		Pattern: regexp.MustCompile(`(?:^|[^\w./-])/(?:work|farm|root|home|Users)/`),
		NotIn:   []string{"internal/lint/testdata"},
		Why:     "a path of somebody's machine",
	},
}

func TestCalls(t *testing.T) { report(t, house(t).Calls(calls)) }

func TestPackageNames(t *testing.T) { report(t, house(t).Names(emptyNames)) }

func TestPackageDocs(t *testing.T) { report(t, house(t).Docs()) }

func TestNoInits(t *testing.T) { report(t, house(t).Inits()) }

func TestLengths(t *testing.T) { report(t, house(t).Lengths(600, longFiles)) }

func TestTexts(t *testing.T) { report(t, house(t).Texts(texts)) }

func TestAssembly(t *testing.T) { report(t, house(t).Assembly("internal/distance")) }

func TestLinks(t *testing.T) {
	report(t, house(t).Links(func(name string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return err == nil
	}))
}
