package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server"
)

const (
	tracks  = 2000
	artists = 100
	dim     = 16
)

// start runs a Segue server with tracks of a hundred artists and one listener of two interests, and the service on top of it.
func start() (address string, segue *client.Client, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "segue-discovery")
	if err != nil {
		return "", nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(context.Background(), dir, engine.Options{Logger: log, ReserveBytes: 64 << 20, SnapshotTail: -1})
	if err != nil {
		return "", nil, nil, err
	}
	s, err := server.New(e, server.Options{Logger: log})
	if err != nil {
		return "", nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	segue, err = client.Dial(l.Addr().String(), client.Options{})
	if err != nil {
		return "", nil, nil, err
	}
	web := httptest.NewServer(newService(segue, "tracks"))
	stop = func() error {
		web.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(segue.Close(), s.Shutdown(ctx), <-served, e.Close(), os.RemoveAll(dir))
	}
	return web.URL, segue, stop, load(segue)
}

func load(segue *client.Client) error {
	ctx := context.Background()
	if _, err := segue.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "tracks", Dimension: dim, Metric: seguev1.Metric_METRIC_COSINE},
	}); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 1))
	vector := func(around int) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(rng.NormFloat64() / math.Sqrt(dim))
		}
		v[around]++
		return v
	}
	keyword := func(s string) *seguev1.AttributeValue {
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: []string{s}}}}
	}
	all := func(yield func(*seguev1.Item, error) bool) {
		for i := range tracks {
			it := &seguev1.Item{Id: fmt.Sprintf("track%04d", i), Vector: client.Vector(vector(i % 4)), Attributes: map[string]*seguev1.AttributeValue{
				"title": keyword(fmt.Sprint("Title ", i)), "artists": keyword(fmt.Sprint("Artist ", i%artists)),
			}}
			if !yield(it, nil) {
				return
			}
		}
	}
	if _, err := segue.UpsertItems(ctx, "tracks", all, client.UpsertOptions{}); err != nil {
		return err
	}
	_, err := segue.Profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: &seguev1.Profile{
		UserId: "ada", Interests: []*seguev1.Interest{{Vector: client.Vector(vector(0)), Weight: 2}, {Vector: client.Vector(vector(1))}},
	}})
	return err
}

func get(url string, into any) (int, error) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.Unmarshal(body, into)
}

// TestDiscovery: thirty tracks of thirty artists, in proportion to the interests, none that was heard; the same all week, others
// the next.
func TestDiscovery(t *testing.T) {
	url, segue, stop, err := start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	week := func(w string) (list []track) {
		t.Helper()
		if code, err := get(url+"/discovery/ada?week="+w, &list); err != nil || code != http.StatusOK {
			t.Fatalf("%d, %v", code, err)
		}
		return list
	}
	ids := func(list []track) (out []string) {
		for _, x := range list {
			out = append(out, x.ID)
		}
		return out
	}
	first := week("2026-W22")
	seen, interests := map[string]bool{}, map[int32]int{}
	for _, x := range first {
		if len(x.Artists) != 1 || seen[x.Artists[0]] {
			t.Errorf("%+v: the artist comes twice", x)
		}
		seen[x.Artists[0]] = true
		interests[x.Interest]++
	}
	if len(first) != listLength || interests[1] != 20 || interests[2] != 10 {
		t.Errorf("%d tracks, by interest %v", len(first), interests)
	}
	if again := week("2026-W22"); !slices.Equal(ids(again), ids(first)) {
		t.Error("the list changed within the week")
	}
	if next := week("2026-W23"); slices.Equal(ids(next), ids(first)) {
		t.Error("the next week has the same list")
	}

	heard := ids(first)[:10]
	if _, err := segue.Exclusions.AddExclusions(t.Context(), &seguev1.AddExclusionsRequest{
		Collection: "tracks", ExclusionSet: "heard/ada", ItemIds: heard,
	}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids(week("2026-W22")) {
		if slices.Contains(heard, id) {
			t.Errorf("%s was heard", id)
		}
	}
	for path, want := range map[string]int{"/discovery/nobody": 404, "/discovery/ada?week=soon": 400, "/discovery/": 404} {
		if code, err := get(url+path, nil); err != nil || code != want {
			t.Errorf("%s: %d, %v; want %d", path, code, err, want)
		}
	}
}

// The list of one week, from the service's own endpoint.
func Example() {
	url, _, stop, err := start()
	if err != nil {
		fmt.Println(err)
		return
	}
	var list []track
	code, err := get(url+"/discovery/ada?week=2026-W22", &list)
	fmt.Println(code, err, len(list), "tracks")
	fmt.Println(stop())
	// Output:
	// 200 <nil> 30 tracks
	// <nil>
}
