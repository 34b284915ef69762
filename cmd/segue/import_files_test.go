package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
)

// writeMatrix writes rows of dim numbers in the format its name asks for; row i holds i, i+1, ...
func writeMatrix(t testing.TB, path string, rows, dim int) {
	t.Helper()
	all := make([][]float32, rows)
	for i := range all {
		all[i] = make([]float32, dim)
		for j := range all[i] {
			all[i][j] = float32(i + j)
		}
	}
	if err := saveMatrix(path, dim, all); err != nil {
		t.Fatal(err)
	}
}

// saveMatrix writes .npy (f4, also .gz and .zst) through package dataset, and .fvecs and .fvecs.gz itself.
func saveMatrix(path string, dim int, rows [][]float32) error {
	if !strings.Contains(path, ".fvecs") {
		w, err := dataset.CreateVectors(path, dataset.Float32, int64(len(rows)), dim)
		if err != nil {
			return err
		}
		for _, v := range rows {
			if err := w.Write(v); err != nil {
				return errors.Join(err, w.Close())
			}
		}
		return w.Close()
	}
	var b bytes.Buffer
	var w io.Writer = &b
	var z *gzip.Writer
	if strings.HasSuffix(path, ".gz") {
		z = gzip.NewWriter(&b)
		w = z
	}
	for _, v := range rows {
		row := binary.LittleEndian.AppendUint32(nil, uint32(dim))
		for _, x := range v {
			row = binary.LittleEndian.AppendUint32(row, math.Float32bits(x))
		}
		if _, err := w.Write(row); err != nil {
			return err
		}
	}
	if z != nil {
		if err := z.Close(); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func writeText(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func ids(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"id\":\"i%d\"}\n", i)
	}
	return b.String()
}

func TestCheckCountsBothSides(t *testing.T) {
	dir := t.TempDir()
	lines := filepath.Join(dir, "a.jsonl")
	writeText(t, lines, ids(5))
	for _, tc := range []struct {
		file string
		rows int
		ok   bool
	}{
		{"five.npy", 5, true}, {"four.npy", 4, false}, {"six.npy.gz", 6, false},
		{"five.fvecs", 5, true}, {"five.fvecs.gz", 5, true}, {"four.fvecs.gz", 4, false},
	} {
		f := rowFiles{lines: lines, vectors: filepath.Join(dir, tc.file)}
		writeMatrix(t, f.vectors, tc.rows, 3)
		rows, dim, err := f.check()
		var mismatch *rowCountError
		if tc.ok && (err != nil || rows != 5 || dim != 3) || !tc.ok && !errors.As(err, &mismatch) {
			t.Errorf("%s: %d rows, dim %d, %v", tc.file, rows, dim, err)
		}
		if mismatch != nil && (mismatch.lineRows != 5 || mismatch.vectorRows != int64(tc.rows)) {
			t.Errorf("%s: %v", tc.file, mismatch)
		}
		seen := 0
		err = f.each(func(r row) (bool, error) {
			if r.record.ID != fmt.Sprintf("i%d", seen) || r.vector[2] != float32(seen+2) {
				t.Errorf("%s: row %d is %+v", tc.file, seen, r)
			}
			seen++
			return true, nil
		})
		if tc.ok && (err != nil || seen != 5) || !tc.ok && !errors.As(err, &mismatch) {
			t.Errorf("%s: %d rows read, %v", tc.file, seen, err)
		}
	}
}

func TestCheckWithoutMatrixFindsTheDimension(t *testing.T) {
	dir := t.TempDir()
	f := rowFiles{lines: filepath.Join(dir, "a.jsonl")}
	writeText(t, f.lines, "{\"id\":\"a\"}\nnot json\n{\"id\":\"b\",\"vector\":[1,2,3]}\n")
	if rows, dim, err := f.check(); rows != -1 || dim != 3 || err != nil {
		t.Errorf("%d rows, dim %d, %v", rows, dim, err)
	}
	writeText(t, f.lines, ids(2))
	if rows, dim, err := f.check(); rows != -1 || dim != 0 || err != nil {
		t.Errorf("%d rows, dim %d, %v", rows, dim, err)
	}
	f.lines += ".absent.jsonl"
	if _, _, err := f.check(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

// A Parquet file says how many rows it has, with a matrix beside it and without.
func TestCheckTakesTheRowsOfAParquetFile(t *testing.T) {
	dir := t.TempDir()
	f := rowFiles{lines: filepath.Join(dir, "a.parquet")}
	if err := saveParquet(f.lines, []parquetTrack{{ID: "a"}, {ID: ""}, {ID: "c", Vector: []float32{1, 2, 3}}}); err != nil {
		t.Fatal(err)
	}
	if rows, dim, err := f.check(); rows != 3 || dim != 3 || err != nil {
		t.Errorf("%d rows, dim %d, %v", rows, dim, err)
	}
	f.vectors = filepath.Join(dir, "a.npy")
	writeMatrix(t, f.vectors, 3, 5)
	if rows, dim, err := f.check(); rows != 3 || dim != 5 || err != nil {
		t.Errorf("%d rows, dim %d, %v", rows, dim, err)
	}
	writeMatrix(t, f.vectors, 2, 5)
	if _, _, err := f.check(); !errors.As(err, new(*rowCountError)) {
		t.Errorf("a row too many: %v", err)
	}
}

// The rows of all files together are known where each says its own.
func TestTotalRows(t *testing.T) {
	some, none := rowFiles{lines: "a.jsonl"}, rowFiles{}
	for _, tc := range []struct {
		items     rowFiles
		itemRows  int64
		profiles  rowFiles
		userRows  int64
		wantTotal int64
	}{
		{some, 5, none, -1, 5},
		{some, -1, none, -1, -1},
		{none, -1, some, 7, 7},
		{some, 5, some, 7, 12},
		{some, -1, some, 7, -1},
		{some, 5, some, -1, -1},
		{some, 0, some, 0, 0},
	} {
		f := importFlags{items: tc.items, profiles: tc.profiles}
		if got := f.totalRows(tc.itemRows, tc.userRows); got != tc.wantTotal {
			t.Errorf("%+v: %d rows", tc, got)
		}
	}
}

// A bad line uses up its row of the matrix, so that the rows after it keep theirs.
func TestEachKeepsRowsTogetherAcrossBadLines(t *testing.T) {
	dir := t.TempDir()
	f := rowFiles{lines: filepath.Join(dir, "a.jsonl"), vectors: filepath.Join(dir, "a.npy")}
	writeText(t, f.lines, "{\"id\":\"i0\"}\n\n{\"id\":7}\n{\"id\":\"i3\",\"vector\":[1]}\n{\"id\":\"i4\"}\n")
	writeMatrix(t, f.vectors, 5, 2)
	var got []string
	if err := f.each(func(r row) (bool, error) {
		text := fmt.Sprintf("%d %s %v", r.number, r.record.ID, r.vector)
		if r.bad != nil {
			text = fmt.Sprintf("%d %s", r.number, r.bad.Field)
		}
		got = append(got, text)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"0 i0 [0 1]", "1 line", "2 line", "3 vector", "4 i4 [4 5]"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("rows %q, want %q", got, want)
	}
}

func TestEachStopsWhenTold(t *testing.T) {
	dir := t.TempDir()
	f := rowFiles{lines: filepath.Join(dir, "a.jsonl"), vectors: filepath.Join(dir, "a.npy")}
	writeText(t, f.lines, ids(9))
	writeMatrix(t, f.vectors, 9, 1)
	n := 0
	if err := f.each(func(row) (bool, error) { n++; return n < 3, nil }); err != nil || n != 3 {
		t.Errorf("%d rows, %v", n, err)
	}
	enough := errors.New("enough")
	if err := f.each(func(row) (bool, error) { return true, enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
}

func TestBesideProfiles(t *testing.T) {
	dir := t.TempDir()
	lines := filepath.Join(dir, "users.v2.jsonl.gz")
	if got := besideProfiles(lines); got != "" {
		t.Errorf("found %q in an empty directory", got)
	}
	// From the last choice to the first: each new file is preferred to those before it.
	for _, name := range []string{"users.v2.fvecs", "users.v2.f16.npy.zst", "users.v2.f32.npy", "users.v2.npy.zst", "users.v2.npy"} {
		path := filepath.Join(dir, name)
		writeText(t, path, "x")
		if got := besideProfiles(lines); got != path {
			t.Errorf("found %q, want %q", got, path)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "other.npy"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := besideProfiles(filepath.Join(dir, "other.jsonl")); got != "" {
		t.Errorf("took the directory %q", got)
	}
}

// silent is a progress nobody watches.
type silent struct{ done, rejected int64 }

func (s *silent) set(done, rejected int64) { s.done, s.rejected = done, rejected }
func (*silent) finish()                    {}

// Property: whichever rows were never sent, and whenever the server's refusals arrive, every refusal is
// listed with the number its row has in the file.
func TestLedgerNumbersRowsAsTheFileDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		faulty := rapid.SliceOfN(rapid.Bool(), 0, 60).Draw(t, "faulty")
		shown := &silent{}
		l := newLedger(shown)
		var sent []int64 // position -> row
		pending := map[int64]bool{}
		var refused int64
		answer := func() {
			for p := range pending {
				l.refuse(client.Reject{Row: p, ID: fmt.Sprint(sent[p]), Violations: []client.Violation{{Reason: "R"}}})
				refused++
			}
			clear(pending)
		}
		for i, bad := range faulty {
			if bad {
				l.fault(row{number: int64(i), record: dataset.Record{ID: fmt.Sprint(i)}}, fault("F", "f", "r"))
				continue
			}
			sent = append(sent, int64(i))
			if rapid.Bool().Draw(t, "refused") {
				pending[int64(len(sent)-1)] = true
			}
			if rapid.IntRange(0, 3).Draw(t, "answer") == 0 {
				answer()
			}
		}
		answer()
		l.update(client.UpsertResult{Written: int64(len(sent)) - refused, Rejected: refused, Revision: 5})
		r := l.close()
		if r.Rows != int64(len(faulty)) || r.Rejected != int64(len(r.Rejects)) || shown.done != r.Rows && r.Rows > 0 {
			t.Fatalf("report %+v of %d rows, shown %+v", r, len(faulty), shown)
		}
		last := int64(-1)
		for _, reject := range r.Rejects {
			if reject.ID != fmt.Sprint(reject.Row) || reject.Row <= last {
				t.Fatalf("reject %+v after row %d", reject, last)
			}
			last = reject.Row
		}
	})
}

func TestReportListsSomeAndCountsAll(t *testing.T) {
	l := newLedger(&silent{})
	for i := range int64(maxListedRejects + 5) {
		l.fault(row{number: i}, fault("FIELD_REQUIRED", "vector", "missing"))
	}
	r := l.close()
	if r.Rejected != maxListedRejects+5 || len(r.Rejects) != maxListedRejects {
		t.Errorf("%d rejected, %d listed", r.Rejected, len(r.Rejects))
	}
	var b strings.Builder
	if err := r.write(&b, "item"); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "missing") != maxShownRejects || !strings.Contains(got, "and 9,955 more") {
		t.Errorf("report:\n%s", got)
	}
}
