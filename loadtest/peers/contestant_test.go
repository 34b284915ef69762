package peers

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSummary: the rate of a point is the median of its rounds, whichever order they came in, and the mean of the middle two where
// there is no middle.
func TestSummary(t *testing.T) {
	r := run{points: make([]Point, 5), rates: [][]float64{{7}, {9, 1}, {5, 100, 1}, {8, 2, 1000, 4}, {3, 3, 3, 3, 90}}}
	for i, want := range []float64{7, 5, 5, 6, 3} {
		if got := r.summary()[i].QPS; got != want {
			t.Errorf("point %d: %v, want %v", i, got, want)
		}
	}
}

// TestDriverResults: what a driver says of its search, and the file it leaves, are believed only where they fit what was asked.
func TestDriverResults(t *testing.T) {
	s, err := Sets()[3].prepare(t.Context(), root, t.TempDir(), Limits{Rows: 100, Queries: 2}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(of ...uint32) []byte {
		var b []byte
		for _, row := range of {
			b = binary.LittleEndian.AppendUint32(b, row)
		}
		return b
	}
	fine := make([]uint32, 2*k)
	for i := range fine {
		fine[i] = uint32(i)
	}
	beyond, cut := slices.Clone(fine), slices.Clone(fine)
	beyond[k+3] = 100
	for i := k + 4; i < 2*k; i++ {
		cut[i] = missing
	}
	for _, tt := range []struct {
		name, reply string
		file        []byte
		want        string // of the error
		second      []uint32
	}{
		{"fine", `{"queries":6,"cpu_seconds":2,"distances_per_query":9}`, rows(fine...), "", fine[k:]},
		{"few found", `{"queries":6,"cpu_seconds":2}`, rows(cut...), "", fine[k : k+4]},
		{"fewer queries", `{"queries":5,"cpu_seconds":2}`, rows(fine...), "5 queries in 2 s, asked for 6", nil},
		{"no time", `{"queries":6}`, rows(fine...), "6 queries in 0 s", nil},
		{"short file", `{"queries":6,"cpu_seconds":2}`, rows(fine[1:]...), "results of 76 bytes for 2 queries", nil},
		{"a row beyond", `{"queries":6,"cpu_seconds":2}`, rows(beyond...), "query 1: row 100 of 100", nil},
		{"an error", `{"error":"no memory"}`, rows(fine...), "no memory", nil},
	} {
		c := &foreign{program: "sh", args: []string{"-c", fmt.Sprintf(
			`echo '{"engine":"e"}'; read -r line; echo '{"wall_seconds":3,"bytes":5000}'; read -r line; echo '%s'; read -r line; exit 0`, tt.reply)}}
		b, err := c.build(t.Context(), s)
		if err != nil || b != (built{3, 50}) {
			t.Fatalf("%s: built %+v, %v", tt.name, b, err)
		}
		out := filepath.Join(s.dir, "results.e")
		if err := os.WriteFile(out, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		results := [][]uint32{{7, 7}, {7, 7, 7}} // of a search before
		shot, err := c.search(t.Context(), 10, 3, results)
		if tt.want == "" {
			if err != nil || shot.Queries != 6 || shot.Seconds != 2 || !slices.Equal(results[0], fine[:k]) || !slices.Equal(results[1], tt.second) {
				t.Errorf("%s: %+v, %v, %v", tt.name, shot, results, err)
			}
			distances, told, err := c.work(t.Context(), 10)
			if err != nil || told != (distances > 0) || told != strings.Contains(tt.reply, "distances") {
				t.Errorf("%s: %v distances, told %v, %v", tt.name, distances, told, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err := c.close(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := os.Stat(out); !os.IsNotExist(err) {
			t.Errorf("%s: the results stay behind: %v", tt.name, err)
		}
	}
}

// TestNewer: a program counts only where it is younger than each of its sources.
func TestNewer(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, second int64) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(second, 0), time.Unix(second, 0)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program, older, same, younger := file("program", 100), file("older", 99), file("same", 100), file("younger", 101)
	none := filepath.Join(dir, "none")
	for _, tt := range []struct {
		program string
		sources []string
		want    bool
	}{
		{program, nil, true}, {program, []string{older}, true}, {program, []string{older, same}, false}, {program, []string{younger, older}, false},
		{program, []string{older, none}, false}, {none, []string{older}, false},
	} {
		if got := newer(tt.program, tt.sources...); got != tt.want {
			t.Errorf("%s, %s: %v", tt.program, tt.sources, got)
		}
	}
}
