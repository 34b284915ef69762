package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Two nightly jobs of files, the second refused and then published; listed, measured, rolled back, deleted.
func TestReleasesByCommand(t *testing.T) {
	s, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first.jsonl"), filepath.Join(dir, "second.jsonl")
	writeText(t, first, `{"id": "a", "vector": [1, 2]}
{"id": "b", "vector": [2, 1]}
{"id": "b", "vector": [3, 1]}
`)
	writeText(t, second, `{"id": "a", "vector": [5, 2]}
{"id": "bad", "vector": [0, 0]}
`)
	for _, step := range []struct {
		args string
		code int
		want []string // parts of the output, errors included
	}{
		{"import --collection c --create --metric cosine --dim 2 --job monday --publish --items " + first, exitOK,
			[]string{"import monday: release 2 of c is ready, 3 rows, 0 rejected, 1 duplicates", "published release 2 of c: 2 items"}},
		{"import --collection c --job monday --publish --items " + first, exitOK, []string{"release 2 of c is published"}},
		{"import --collection c --job tuesday --publish --items " + second, exitBadData, []string{"1 rows were rejected; release 3 is not published"}},
		{"import --collection c --job tuesday --publish --max-rejects 1 --min-items 2 --items " + second, exitFailure, []string{"1 items, must be at least 2"}},
		{"import --collection c --job tuesday --publish --max-rejects 1 --items " + second, exitOK, []string{"published release 3 of c: 1 items"}},
		{"import --collection c --publish --items " + second, exitUsage, []string{"--publish is about a release: it needs --job"}},
		{"release list c", exitOK, []string{"RELEASE", "published", "tuesday", "retired", "monday"}},
		{"release report c --release 2 --sample 2", exitOK, []string{"release 2, retired: 2 items", "RECALL@10", "1.0000", "overlap@10"}},
		{"release report c --release 3 --sample 2 -o json", exitOK, []string{`"release":`, `"RELEASE_STATE_PUBLISHED"`, `"recall":`, `"norms":`}},
		{"release report c --release 9", exitFailure, []string{"RELEASE_NOT_FOUND"}},
		{"release list c -o json", exitOK, []string{`"RELEASE_STATE_PUBLISHED"`}},
		{"release rollback c", exitOK, []string{"published release 2 of c: 2 items"}},
		{"release delete c 3", exitOK, []string{"deleted release 3 of c"}},
		{"release delete c 2", exitFailure, []string{"must be neither published nor"}},
		{"release publish c 3", exitFailure, []string{"is DROPPED"}},
		{"release delete c 9", exitFailure, []string{"RELEASE_NOT_FOUND"}},
		{"release delete c 3", exitOK, []string{"deleted release 3 of c"}}, // again
		{"release rollback c", exitFailure, []string{"("}},
		{"release export c --release 3 --out " + dir + "/gone.segue", exitFailure, []string{"release 3"}},
		{"release export c --out " + dir + "/none/c.segue", exitFailure, []string{"no such file"}},
		{"release publish c x", exitUsage, []string{"must be a number"}},
	} {
		args := append(strings.Fields(step.args), "--addr", s.addr)
		r := runSegue(t.Context(), args...)
		if r.code != step.code {
			t.Errorf("%s: code %d, want %d\n%s%s", step.args, r.code, step.code, r.stdout, r.stderr)
		}
		for _, want := range step.want {
			if !strings.Contains(r.stdout+r.stderr, want) {
				t.Errorf("%s: no %q in\n%s%s", step.args, want, r.stdout, r.stderr)
			}
		}
	}
	// An export that fails leaves nothing behind.
	if left, err := filepath.Glob(filepath.Join(dir, "*.segue*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
