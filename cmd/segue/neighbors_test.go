package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
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

// Every reason for which neighbors are missing is said, but that there are no more items.
func TestEveryShortfallIsSaid(t *testing.T) {
	said := map[string]string{}
	for number, name := range seguev1.ShortfallReason_name {
		r := seguev1.ShortfallReason(number)
		text := shortfallText(r)
		silent := r == seguev1.ShortfallReason_SHORTFALL_REASON_UNSPECIFIED || r == seguev1.ShortfallReason_SHORTFALL_REASON_TOO_FEW_ITEMS
		if (text == "") != silent {
			t.Errorf("%s is said as %q", name, text)
		}
		if other, twice := said[text]; twice && !silent {
			t.Errorf("%s and %s are both said as %q", name, other, text)
		}
		said[text] = name
	}
}

func TestParseBoost(t *testing.T) {
	day := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]*seguev1.ScoreBoost{
		"plays=linear:0.5":             {Attribute: "plays", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_LINEAR, Weight: 0.5},
		"plays=log:-2":                 {Attribute: "plays", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_LOG, Weight: -2},
		"at=decay:1:720h":              {Attribute: "at", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY, Weight: 1, HalfLife: durationpb.New(720 * time.Hour)},
		"at=decay:1:90m:2026-06-01":    {Attribute: "at", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY, Weight: 1, HalfLife: durationpb.New(90 * time.Minute), ReferenceTime: timestamppb.New(day)},
		"":                             nil,
		"plays":                        nil,
		"plays=":                       nil,
		"plays=linear":                 nil,
		"plays=linear:":                nil,
		"plays=linear:x":               nil,
		"plays=linear:1:1h":            nil,
		"plays=log:1:1h":               nil,
		"plays=square:1":               nil,
		"at=decay:1":                   nil,
		"at=decay:1:soon":              nil,
		"at=decay:x:1h":                nil,
		"at=decay:1:1h:yesterday":      nil,
		"at=decay:1:1h:2026-13-01":     nil,
		"at=decay:1:1h:2026-06-01:utc": nil,
	} {
		got, err := parseBoost(text)
		var usage *usageError
		if want == nil && (!errors.As(err, &usage) || !strings.Contains(err.Error(), strconv.Quote(text))) || want != nil && (err != nil || !proto.Equal(got, want)) {
			t.Errorf("--boost %s: %v, %v; want %v", text, got, err, want)
		}
	}
	if boosts, err := parseBoosts([]string{"a=log:1", "b=linear:2"}); err != nil || len(boosts) != 2 || boosts[1].GetAttribute() != "b" {
		t.Errorf("%v, %v", boosts, err)
	}
}

// A file of many vectors has one row to most; one bad row spoils it, and is named.
func TestReadVectors(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	writeMatrix(t, path("m.npy"), 3, 2)
	writeText(t, path("l.jsonl"), "{\"id\":\"a\",\"vector\":[1,2]}\n{\"id\":\"b\",\"vector\":[3,4]}\n")
	writeText(t, path("hole.jsonl"), "{\"id\":\"a\",\"vector\":[1,2]}\n{\"id\":\"b\"}\n")
	writeText(t, path("bad.jsonl"), "{\"id\":\"a\",\"vector\":[1,2]}\n{\n")
	writeText(t, path("empty.jsonl"), "")
	writeText(t, path("text.parquet"), "no Parquet")
	for name, want := range map[string]string{
		"m.npy": "", "l.jsonl": "", "hole.jsonl": `row 1: it has no field "vector"`, "bad.jsonl": "row 1", "empty.jsonl": "has no rows",
		"absent.npy": "no such file", "text.parquet": "too few for a Parquet file",
	} {
		got, err := readVectors(path(name), 3)
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name)):
			t.Errorf("%s: %v, %v; want an error with %q", name, got, err, want)
		case want == "" && (err != nil || len(got) < 2 || len(got[0]) != 2 || &got[0][0] == &got[1][0]):
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := readVectors(path("m.npy"), 2); err == nil || !strings.Contains(err.Error(), "more than 2 rows") {
		t.Errorf("3 rows of 2: %v", err)
	}
}

func TestReadBitmap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "heard")
	for _, tc := range []struct{ text, want string }{
		{"", ""}, {" 1\n2\t4294967295 ", ""}, {":1", ""}, {"1 4294967296", `number 2 is "4294967296"`}, {"1 -2", `number 2 is "-2"`},
		{"1,2", `number 1 is "1,2"`}, {strings.Repeat("9", 50), `number 1 is "99999999999999999999"`},
	} {
		writeText(t, file, tc.text)
		got, err := readBitmap("n=" + file)
		if tc.want == "" && (err != nil || got.GetAttribute() != "n") || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q: %v, %v; want %q", tc.text, got, err, tc.want)
		}
		if strings.HasPrefix(tc.text, ":") && string(got.GetRoaring()) != tc.text {
			t.Errorf("a bitmap was changed to %q", got.GetRoaring())
		}
	}
	if err := os.Truncate(file, maxBitmapFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readBitmap("n=" + file); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a file of more than %d bytes: %v", maxBitmapFile, err)
	}
	if _, err := readBitmap("n=" + file + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
