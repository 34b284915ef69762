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
			BytesPerVector: 12345678.9, Ef: 100000, K: 10000, Recall: 1, QPS: 1234567.8, P50: 1e6, P99: 1e7, DistancesPerQuery: 60000},
	}
}

const table = "" +
	"segue: 60,000 vectors of 784 values, l2, M 16, efConstruction 100\n" +
	"built in 23.5 s (2,558 vectors/s), 3,431 bytes/vector\n" +
	"\n" +
	"    ef  recall@10  queries/s    p50 us    p99 us  distances    hops\n" +
	"    16     0.9537      9,430      98.8     150.0        500      33\n" +
	"100000     1.0000  1,234,568 1000000.010000000.0     60,000       -\n"

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

// TestFields holds the JSON to the fields of the contract, which other tools read.
func TestFields(t *testing.T) {
	const contract = "engine n dim metric m ef_construction build_seconds bytes_per_vector ef k recall qps p50_us p99_us " +
		"distances_per_query hops_per_query"
	want := strings.Fields(contract)
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

// TestTableOfExact: an engine without links says nothing of them.
func TestTableOfExact(t *testing.T) {
	var b strings.Builder
	hops := 0.0
	r := ANNResult{Engine: "exact", N: 999, Dim: 2, Metric: "ip", BytesPerVector: 8, Ef: 1, K: 5, Recall: 1, HopsPerQuery: &hops}
	if err := NewANNWriter(&b, false).Write(r); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "exact: 999 vectors of 2 values, ip\n") || !strings.Contains(b.String(), "recall@5") {
		t.Errorf("got %s", b.String())
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
