package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestLoadtest loads a small collection in every scenario: all calls are answered, recall is measured, the page is written.
func TestLoadtest(t *testing.T) {
	s, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c, err := client.Dial(s.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2},
	}); err != nil {
		t.Fatal(err)
	}
	vector := func(x, y float32) *seguev1.Vector {
		return &seguev1.Vector{Encoding: &seguev1.Vector_Floats{Floats: &seguev1.Floats{Values: []float32{x, y}}}}
	}
	var items []*seguev1.Item
	for i := range 200 {
		items = append(items, &seguev1.Item{Id: fmt.Sprint(i), Vector: vector(float32(i), float32(i%7)), Attributes: map[string]*seguev1.AttributeValue{
			"odd": {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: i%2 == 1}},
		}})
	}
	if _, err := c.Items.BatchUpsertItems(t.Context(), &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: items}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Profiles.UpsertProfile(t.Context(), &seguev1.UpsertProfileRequest{
		Collection: "tracks", Profile: &seguev1.Profile{UserId: "u", Interests: []*seguev1.Interest{{Vector: vector(1, 2)}}},
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	writeText(t, users, "u\n\n")
	for _, scenario := range []string{"similar", "user", "filtered", "mixed", "import"} {
		report := filepath.Join(dir, "reports", scenario+".html")
		r := runSegue(t.Context(), "loadtest", "--addr", s.addr, "--collection", "tracks", "--scenario", scenario, "--users", users, "--filter", "odd = true",
			"--rates", "100,200", "--duration", "250ms", "--deadline", "10s", "--check-every", "2", "--report", report)
		lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
		if r.code != exitOK || len(lines) != 3 || !strings.Contains(lines[2], "map[OK:") || strings.Contains(lines[2], " 0.0000 ") {
			t.Errorf("%s: code %d\n%s%s", scenario, r.code, r.stdout, r.stderr)
		}
		if page, err := os.ReadFile(report); err != nil || !strings.Contains(string(page), "</html>") {
			t.Errorf("%s: the page: %v", scenario, err)
		}
	}
	// Of the imports beside the load nothing is left but their names.
	releases, err := c.Releases.ListReleases(t.Context(), &seguev1.ListReleasesRequest{Collection: "tracks"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range releases.GetReleases() {
		if s := r.GetState(); r.GetJobId() != "" && s != seguev1.ReleaseState_RELEASE_STATE_DROPPING && s != seguev1.ReleaseState_RELEASE_STATE_DROPPED {
			t.Errorf("left behind: %v", r)
		}
	}
	for name, args := range map[string][]string{
		"is required":     {},
		"is no rate":      {"--collection", "tracks", "--rates", "x"},
		"no scenario":     {"--collection", "tracks", "--scenario", "x"},
		"needs a Filter":  {"--collection", "tracks", "--scenario", "filtered"},
		"needs Users":     {"--collection", "tracks", "--scenario", "user"},
		"Workers":         {"--collection", "tracks", "--workers", "0", "--rates", "1"},
		"not found":       {"--collection", "nothing"},
		"another machine": {"--collection", "tracks", "--addr", "192.0.2.1:1"},
	} {
		if r := runSegue(t.Context(), append([]string{"loadtest", "--addr", s.addr}, args...)...); r.code == exitOK || !strings.Contains(r.stderr, name) {
			t.Errorf("%v: code %d\n%s", args, r.code, r.stderr)
		}
	}
}
