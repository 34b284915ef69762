package server

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func profile(user string, v ...float32) *seguev1.Profile {
	return &seguev1.Profile{UserId: user, Interests: []*seguev1.Interest{{Vector: floats(v...)}}}
}

// TestProfileLife: written, read, asked with, replaced, read after a restart, deleted. Items and users do not meet.
func TestProfileLife(t *testing.T) {
	ctx := t.Context()
	f := open(t, t.TempDir(), Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	f.upsert(t, "tracks", item("north", 0, 1), item("east", 1, 0))
	nearest := func() string {
		t.Helper()
		resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byUser("north"), NeighborCount: 5})
		if len(resp.GetNeighbors()) != 2 {
			t.Fatalf("profiles are among the items: %v", resp)
		}
		return resp.GetNeighbors()[0].GetItemId()
	}
	get := func(user string) *seguev1.Profile {
		t.Helper()
		resp, err := f.profiles.GetProfile(ctx, &seguev1.GetProfileRequest{Collection: "tracks", UserId: user})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetProfile()
	}

	want := profile("north", 0.1, 7) // a user with the id of an item
	up, err := f.profiles.UpsertProfile(ctx, &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: want})
	if err != nil {
		t.Fatal(err)
	}
	want.Revision = up.GetRevision()
	if diff := cmp.Diff(want, get("north"), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if got := nearest(); got != "north" {
		t.Errorf("nearest is %s", got)
	}

	batch, err := f.profiles.BatchUpsertProfiles(ctx, &seguev1.BatchUpsertProfilesRequest{
		Collection: "tracks", Profiles: []*seguev1.Profile{profile("north", 1, 1), profile("other", 1, 0), profile("north", 7, 0.1)},
	})
	if err != nil || batch.GetRevision() != up.GetRevision()+3 {
		t.Fatalf("%v, %v", batch, err)
	}
	want = profile("north", 7, 0.1)
	want.Revision = batch.GetRevision()
	if got := nearest(); got != "east" {
		t.Errorf("nearest is %s", got)
	}

	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	if diff := cmp.Diff(want, get("north"), protocmp.Transform()); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
	if got := nearest(); got != "east" {
		t.Errorf("nearest is %s", got)
	}
	if _, err := f.profiles.DeleteProfile(ctx, &seguev1.DeleteProfileRequest{Collection: "tracks", UserId: "north"}); err != nil {
		t.Fatal(err)
	}
	gone := &seguev1.GetProfileRequest{Collection: "tracks", UserId: "north"}
	_, err = f.profiles.GetProfile(ctx, gone)
	refusal{codes.NotFound, "USER_NOT_FOUND", ""}.check(t, gone, err)
	again := &seguev1.DeleteProfileRequest{Collection: "tracks", UserId: "north"}
	_, err = f.profiles.DeleteProfile(ctx, again)
	refusal{codes.NotFound, "USER_NOT_FOUND", ""}.check(t, again, err)
	if got := get("other").GetInterests()[0].GetVector().GetFloats().GetValues(); !slices.Equal(got, []float32{1, 0}) {
		t.Errorf("the other profile is %v", got)
	}
}

// TestProfileBatchIsAllOrNothing: one bad row and none is written; its path is the request's.
func TestProfileBatchIsAllOrNothing(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE})
	req := &seguev1.BatchUpsertProfilesRequest{Collection: "tracks", Profiles: []*seguev1.Profile{profile("a", 1, 0), profile("b", 1)}}
	_, err := f.profiles.BatchUpsertProfiles(t.Context(), req)
	refusal{codes.InvalidArgument, "DIMENSION_MISMATCH", "profiles[1].interests[0].vector"}.check(t, req, err)
	get := &seguev1.GetProfileRequest{Collection: "tracks", UserId: "a"}
	_, err = f.profiles.GetProfile(t.Context(), get)
	refusal{codes.NotFound, "USER_NOT_FOUND", ""}.check(t, get, err)
}
