// Package lint keeps the house rules as tests: the import law of ARCHITECTURE.md, and the rules of
// CONTRIBUTING.md that a machine can judge.
//
// The rules are data, in the test files: the import law is the table in deps_test.go, in the form of Go's
// own go/build/deps_test.go; the other rules are the lists in house_test.go. This package's code reads a tree
// (Load) and judges it (Tree.Imports, Tree.Calls and so on). It works on an fs.FS, so that the tests can
// also show that every rule catches what it forbids (testdata/*.txtar).
//
// The tree is parsed, not built: files of every operating system, architecture and build tag are judged
// together, and nothing needs the go command or the network.
//
// # Non-goals
//
// No type checking. A call is recognised by the name of an imported package and a selector, which a
// dot import would defeat; dot imports are themselves refused. What needs types is left to go vet and to
// the linters of .golangci.yml.
package lint
