package client_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// circle writes n items around a circle, "i0", "i1", ...
func circle(t *testing.T, c *client.Client, n int) {
	t.Helper()
	tracks := make([]track, n)
	for i := range tracks {
		tracks[i] = track{fmt.Sprint("i", i), []float32{float32(i), float32(n - i)}}
	}
	if _, err := c.UpsertItems(t.Context(), "c", items(tracks), client.UpsertOptions{}); err != nil {
		t.Fatal(err)
	}
}

// like yields queries for "more like i0", "i1", ..., each with the item's number as its id; every tenth is of an item that is not there.
func like(n int, sent func(i int) bool) func(func(string, *seguev1.NearestNeighborsRequest) bool) {
	return func(yield func(string, *seguev1.NearestNeighborsRequest) bool) {
		for i := range n {
			id := fmt.Sprint("i", i)
			if i%10 == 9 {
				id = "nobody"
			}
			q := &seguev1.NearestNeighborsRequest{Collection: "c", Query: client.ByItem(id), NeighborCount: 3}
			if !sent(i) || !yield(fmt.Sprint(i), q) {
				return
			}
		}
	}
}

// TestAnswers: every query of a stream is answered once and as by a call of its own; those that fail are told with their reason.
func TestAnswers(t *testing.T) {
	c := connect(t)
	circle(t, c, 200)
	const queries = 200
	seen := map[string]bool{}
	for answer, err := range c.Answers(t.Context(), like(queries, func(int) bool { return true })) {
		if err != nil {
			t.Fatal(err)
		}
		id := answer.GetQueryId()
		if seen[id] {
			t.Fatalf("query %s was answered twice", id)
		}
		seen[id] = true
		if e := answer.GetResult().GetError(); (e != nil) != (id[len(id)-1] == '9') || e != nil && e.GetReason() != "ITEM_NOT_FOUND" {
			t.Fatalf("query %s: %v", id, e)
		} else if e != nil {
			continue
		}
		own, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{
			Collection: "c", Query: client.ByItem("i" + id), NeighborCount: 3,
		})
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(own, answer.GetResult().GetResponse()) {
			t.Fatalf("query %s: %v, alone %v", id, answer, own)
		}
	}
	if len(seen) != queries {
		t.Errorf("%d answers to %d queries", len(seen), queries)
	}
}

// TestAnswersEnd: the iteration may be left, its context may end, and the server may refuse; then nothing reads the queries any more.
func TestAnswersEnd(t *testing.T) {
	c := connect(t)
	circle(t, c, 20)
	read := 0
	endless := like(1<<40, func(int) bool { read++; return true })
	for answer, err := range c.Answers(t.Context(), endless) {
		if err != nil || answer.GetQueryId() == "" {
			t.Fatal(answer, err)
		}
		break
	}
	after := read // the goroutine that reads has ended: the race detector sees to it

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range c.Answers(ctx, endless) {
		if last = err; n == 5 {
			cancel()
		}
		n++
	}
	if status.Code(last) != codes.Canceled || n < 6 {
		t.Errorf("after %d answers: %v", n, last)
	}
	if after < 1 || read <= after {
		t.Errorf("read %d queries, then %d", after, read)
	}

	tooLong := func(yield func(string, *seguev1.NearestNeighborsRequest) bool) {
		yield(string(make([]byte, 257)), &seguev1.NearestNeighborsRequest{})
	}
	for _, err := range c.Answers(t.Context(), tooLong) {
		last = err
	}
	if client.Reason(last) != "TOO_LONG" {
		t.Errorf("an id that is too long: %v", last)
	}
}

// TestByInterests: the form is that of a stored profile.
func TestByInterests(t *testing.T) {
	c := connect(t)
	circle(t, c, 50)
	vectors := [][]float32{{1, 0}, {0, 1}}
	profile := &seguev1.Profile{UserId: "u"}
	for i, v := range vectors {
		profile.Interests = append(profile.Interests, &seguev1.Interest{Vector: client.Vector(v), Weight: float32(2 - i)})
	}
	if _, err := c.Profiles.UpsertProfile(t.Context(), &seguev1.UpsertProfileRequest{Collection: "c", Profile: profile}); err != nil {
		t.Fatal(err)
	}
	ask := func(q *seguev1.Query) *seguev1.NearestNeighborsResponse {
		answer, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{Collection: "c", Query: q, NeighborCount: 9})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	stored, given := ask(client.ByUser("u")), ask(client.ByInterests(vectors, 2, 1))
	stored.GetSearchInfo().Revision = given.GetSearchInfo().GetRevision()
	if !proto.Equal(stored, given) {
		t.Errorf("stored %v, given %v", stored, given)
	}
	shares := map[int32]int{}
	for _, n := range ask(client.ByInterests(vectors)).GetNeighbors() {
		shares[n.GetMatchedExample()]++
	}
	if shares[0]-shares[1] > 1 || shares[1]-shares[0] > 1 || shares[0]+shares[1] != 9 {
		t.Errorf("shares without weights: %v", shares)
	}
}
