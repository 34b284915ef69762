package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestReadVector(t *testing.T) {
	dir := t.TempDir()
	matrix, lines := filepath.Join(dir, "m.npy.gz"), filepath.Join(dir, "l.jsonl")
	array, nulls := filepath.Join(dir, "v.json"), filepath.Join(dir, "n.json")
	writeMatrix(t, matrix, 3, 2)
	writeText(t, lines, "{\"id\":\"a\",\"vector\":[1,2]}\nbad\n{\"id\":\"c\"}\n{\"id\":\"d\",\"vector\":[3,4]}\n")
	writeText(t, array, " [0.5, -1e2]\n")
	writeText(t, nulls, "[1,null]")
	other := filepath.Join(dir, "v.txt")
	writeText(t, other, "1 2")

	for _, tc := range []struct {
		name string
		row  int
		want []float32 // nil: an error
	}{
		{matrix, 0, []float32{0, 1}},
		{matrix, 2, []float32{2, 3}},
		{matrix, 3, nil},
		{matrix, -1, nil},
		{lines, 0, []float32{1, 2}},
		{lines, 1, nil},
		{lines, 2, nil},
		{lines, 3, []float32{3, 4}},
		{lines, 4, nil},
		{array, 0, []float32{0.5, -100}},
		{"-", 0, []float32{7, 8}},
		{nulls, 0, nil},
		{other, 0, nil},
		{filepath.Join(dir, "absent.npy"), 0, nil},
		{filepath.Join(dir, "absent.json"), 0, nil},
		{filepath.Join(dir, "absent.jsonl"), 0, nil},
	} {
		got, err := readVector(tc.name, tc.row, strings.NewReader("[7,8]"))
		if (err == nil) != (tc.want != nil) || !slices.Equal(got, tc.want) {
			t.Errorf("row %d of %s: %v, %v; want %v", tc.row, filepath.Base(tc.name), got, err, tc.want)
		}
		if strings.Contains(tc.name, "absent") && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for _, text := range []string{"", "{}", "[1,", "[1e99]", "[\"1\"]", strings.Repeat(" ", maxVectorText+1)} {
		if v, err := readVectorText("it", strings.NewReader(text)); err == nil {
			t.Errorf("%.20q gave %v", text, v)
		}
	}
}

func someNeighbors() []*seguev1.Neighbor {
	at := func(s string) *seguev1.AttributeValue {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(when)}}
	}
	return []*seguev1.Neighbor{
		{ItemId: "a", Score: 0.99221, Distance: 0.00779, Attributes: map[string]*seguev1.AttributeValue{
			"album": keywords("After Hours"), "artists": keywords("The Weeknd", "Ariana Grande"), "title": keywords("Save Your Tears"),
			"added": at("2020-03-22T00:00:00Z"), "explicit": {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: true}},
		}},
		{ItemId: "b", Score: -1, Distance: 2, Attributes: map[string]*seguev1.AttributeValue{
			"title": keywords("Faith"), "playlists": {Kind: &seguev1.AttributeValue_IntValue{IntValue: 3}},
			"added": at("2020-03-22T10:20:30Z"), "tempo": {Kind: &seguev1.AttributeValue_FloatValue{FloatValue: 120.5}},
		}},
	}
}

func TestNeighborTable(t *testing.T) {
	var b bytes.Buffer
	for _, names := range [][]string{nil, {"artists", "missing", "title"}} {
		if err := neighborTable(someNeighbors(), names).write(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := neighborTable(nil, nil).write(&b); err != nil {
		t.Fatal(err)
	}
	want := `RANK    SCORE  ID  TITLE            ARTISTS                    ADDED                 ALBUM        EXPLICIT  PLAYLISTS  TEMPO
   1   0.9922  a   Save Your Tears  The Weeknd, Ariana Grande  2020-03-22            After Hours  true
   2  -1.0000  b   Faith                                       2020-03-22T10:20:30Z                         3          120.5
RANK    SCORE  ID  ARTISTS                    TITLE
   1   0.9922  a   The Weeknd, Ariana Grande  Save Your Tears
   2  -1.0000  b                              Faith
RANK  SCORE  ID
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestNeighborsJSON(t *testing.T) {
	var b bytes.Buffer
	if err := writeJSON(&b, neighborsJSONOf(&seguev1.NearestNeighborsResponse{
		Neighbors: someNeighbors()[:1],
		SearchInfo: &seguev1.SearchInfo{Plan: seguev1.Plan_PLAN_EXACT, Completeness: seguev1.Completeness_COMPLETENESS_EXHAUSTED, Revision: 7,
			ExpectedRecall: proto.Float64(1)},
	})); err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	want := `{"neighbors":[{"rank":1,"item_id":"a","score":0.99221,"distance":0.00779,"attributes":{"added":"2020-03-22T00:00:00Z",` +
		`"album":["After Hours"],"artists":["The Weeknd","Ariana Grande"],"explicit":true,"title":["Save Your Tears"]}}],` +
		`"search_info":{"revision":7,"plan":"EXACT","completeness":"EXHAUSTED","ef_used":0,"expected_recall":1,"distance_count":0,"hop_count":0}}`
	if compact.String() != want {
		t.Errorf("got\n%s\nwant\n%s", compact.String(), want)
	}
	empty, err := json.Marshal(neighborsJSONOf(&seguev1.NearestNeighborsResponse{}))
	if err != nil || !strings.Contains(string(empty), `"neighbors":[]`) {
		t.Errorf("no neighbors: %s, %v", empty, err)
	}
}
