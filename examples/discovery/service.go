package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"regexp"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

const (
	listLength = 30
	// timeout bounds one list. Segue answers with what it has shortly before (allow_partial).
	timeout = 200 * time.Millisecond
	// temperature is how far the order strays from the scores, in units of the cosine.
	temperature = 0.02
	// diversity keeps the list from being thirty times the same.
	diversity = 0.15
	// candidates are what the list is drawn from: more than it needs, so that weeks differ.
	candidates = 600
)

// service answers GET /discovery/{listener}.
type service struct {
	segue      *client.Client
	collection string
}

func newService(c *client.Client, collection string) http.Handler {
	s := &service{segue: c, collection: collection}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /discovery/{listener}", s.serve)
	return mux
}

// track is one entry of a list, as JSON.
type track struct {
	ID      string   `json:"id"`
	Title   string   `json:"title,omitempty"`
	Artists []string `json:"artists,omitempty"`
	// Interest is the position, from 1, of the listener's interest that brought the track; absent where there is one.
	Interest int32 `json:"interest,omitempty"`
}

var weekForm = regexp.MustCompile(`^\d{4}-W\d{2}$`)

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	listener, week := r.PathValue("listener"), r.URL.Query().Get("week")
	if week == "" {
		year, n := time.Now().UTC().ISOWeek()
		week = fmt.Sprintf("%04d-W%02d", year, n)
	}
	if !weekForm.MatchString(week) {
		http.Error(w, "week must have the form 2026-W22", http.StatusBadRequest)
		return
	}
	list, err := s.list(r.Context(), listener, week)
	if err != nil {
		code := http.StatusBadGateway
		if status.Code(err) == codes.NotFound {
			code = http.StatusNotFound
		}
		http.Error(w, status.Convert(err).Message(), code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // a client that has gone away is no news
}

// list asks Segue for one week's list.
func (s *service) list(ctx context.Context, listener, week string) ([]track, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := s.segue.Retrieval.NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
		Collection:     s.collection,
		Query:          client.ByUser(listener),
		NeighborCount:  listLength,
		CandidateCount: candidates,
		Exclusions:     &seguev1.Exclusions{ExclusionSets: []string{"heard/" + listener}},
		Diversity: &seguev1.Diversity{
			CrowdingLimits:  []*seguev1.CrowdingLimit{{Attribute: "artists", MaxPerValue: 1}},
			DedupeAttribute: "title",
			Mmr:             diversity,
		},
		Exploration:  &seguev1.Exploration{Temperature: temperature, Seed: seed(listener, week)},
		AllowPartial: true,
		ReadMask:     &fieldmaskpb.FieldMask{Paths: []string{"attributes.title", "attributes.artists"}},
	})
	if err != nil {
		return nil, err
	}
	list := make([]track, 0, len(answer.GetNeighbors()))
	for _, n := range answer.GetNeighbors() {
		t := track{ID: n.GetItemId(), Artists: n.GetAttributes()["artists"].GetKeywords().GetValues()}
		if titles := n.GetAttributes()["title"].GetKeywords().GetValues(); len(titles) > 0 {
			t.Title = titles[0]
		}
		if n.MatchedExample != nil {
			t.Interest = n.GetMatchedExample() + 1
		}
		list = append(list, t)
	}
	return list, nil
}

// seed is a function of listener and week, and never 0, which would ask the server to draw one.
func seed(listener, week string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(listener + "\x00" + week))
	return h.Sum64() | 1
}
