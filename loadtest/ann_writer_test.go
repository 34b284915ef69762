package loadtest

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func lines() []ANNResult {
	hops := 33.25
	return []ANNResult{
		{Engine: "segue", N: 60000, Dim: 784, Metric: "l2", M: 16, EfConstruction: 100, BuildSeconds: 23.456, BytesPerVector: 3431.21,
			Ef: 16, K: 10, Recall: 0.9537, QPS: 9430.4, P50: 98.76, P99: 150, DistancesPerQuery: 500.5, HopsPerQuery: &hops},
		{Engine: "coder", N: 60000, Dim: 784, Metric: "cosine", M: 16, EfConstruction: 100, BuildSeconds: 123456.789,
			BytesPerVector: 12345678.9, Ef: 100000, K: 10000, Recall: 1, QPS: 1234567.8, P50: 1e7, P99: 1e8, DistancesPerQuery: 60000},
	}
}

const table = "" +
	"engine         n   dim  metric    m  ef_construction  build_seconds  bytes_per_vector     ef     k  recall        qps     p50_us     p99_us  distances_per_query  hops_per_query\n" +
	"segue      60000   784      l2   16              100          23.46            3431.2     16    10  0.9537     9430.4       98.8      150.0                500.5            33.2\n" +
	"coder      60000   784  cosine   16              100      123456.79        12345678.9  100000  10000  1.0000  1234567.8  10000000.0  100000000.0              60000.0               -\n"

func TestTable(t *testing.T) {
	var b strings.Builder
	w := NewANNWriter(&b, false)
	for _, r := range lines() {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != table {
		t.Errorf("got\n%s\nwant\n%s", b.String(), table)
	}
}

// TestColumns holds table and JSON to the columns of the contract, which other tools read.
func TestColumns(t *testing.T) {
	const contract = "engine n dim metric m ef_construction build_seconds bytes_per_vector ef k recall qps p50_us p99_us " +
		"distances_per_query hops_per_query"
	want := strings.Fields(contract)
	if got := strings.Fields(table[:strings.Index(table, "\n")]); !reflect.DeepEqual(got, want) {
		t.Errorf("table has %v", got)
	}
	var b strings.Builder
	w := NewANNWriter(&b, true)
	for _, r := range lines() {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	out := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(out) != 2 {
		t.Fatalf("%d lines", len(out))
	}
	for i, line := range out {
		var got []string
		d := json.NewDecoder(strings.NewReader(line))
		for depth := 0; ; {
			token, err := d.Token()
			if err != nil {
				break
			}
			if delim, ok := token.(json.Delim); ok {
				depth += map[json.Delim]int{'{': 1, '}': -1}[delim]
				continue
			}
			got = append(got, token.(string))
			if _, err := d.Token(); err != nil { // the value
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("line %d has %v", i, got)
		}
		var back ANNResult
		if err := json.Unmarshal([]byte(line), &back); err != nil || !reflect.DeepEqual(back, lines()[i]) {
			t.Errorf("line %d came back as %+v, %v", i, back, err)
		}
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriterErrors(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		if err := NewANNWriter(fullDisk{}, asJSON).Write(lines()[0]); !errors.Is(err, errFull) {
			t.Errorf("json %v: %v", asJSON, err)
		}
	}
}
