package client

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// ByItem is the query for "more like this".
func ByItem(id string) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: id}}
}

// ByUser is the query with a user's stored profile.
func ByUser(id string) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_UserId{UserId: id}}
}

// ByVector is the query with an embedding; see [Vector].
func ByVector(v []float32) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_Vector{Vector: Vector(v)}}
}

// ByInterests is the query with the interests of a user whose profile is not stored: vectors that take turns in proportion to their
// weights. Without weights each counts 1; else there is one for each vector.
func ByInterests(vectors [][]float32, weights ...float32) *seguev1.Query {
	list := make([]*seguev1.Interest, len(vectors))
	for i, v := range vectors {
		list[i] = &seguev1.Interest{Vector: Vector(v)}
		if len(weights) > 0 {
			list[i].Weight = weights[i]
		}
	}
	return &seguev1.Query{Form: &seguev1.Query_Interests{Interests: &seguev1.InterestList{Interests: list}}}
}

// MoreLike is the query for "more like these items, not like those", with the default strategy; weights and strategy can be
// set in its Examples.
func MoreLike(these, notThose []string) *seguev1.Query {
	examples := func(ids []string) []*seguev1.Example {
		out := make([]*seguev1.Example, len(ids))
		for i, id := range ids {
			out[i] = &seguev1.Example{Example: &seguev1.Example_ItemId{ItemId: id}}
		}
		return out
	}
	return &seguev1.Query{Form: &seguev1.Query_Examples{Examples: &seguev1.Examples{Positive: examples(these), Negative: examples(notThose)}}}
}

// Ef is the effort of a beam of a width: wider finds more and costs more.
func Ef(width int) *seguev1.SearchEffort {
	return &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: int32(width)}}
}

// TargetRecall is the least effort that the server knows to reach a mean recall, above 0 to 1.
func TargetRecall(recall float64) *seguev1.SearchEffort {
	return &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_TargetRecall{TargetRecall: recall}}
}

// Exact is the effort of comparing with every item.
func Exact() *seguev1.SearchEffort {
	return &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Exact{Exact: true}}
}

// Pages yields the answers to a request page by page, of page_size neighbors each, as they are asked for. It ends after the
// last page, or with an error. The request is not changed.
func (c *Client) Pages(ctx context.Context, req *seguev1.NearestNeighborsRequest) iter.Seq2[*seguev1.NearestNeighborsResponse, error] {
	return func(yield func(*seguev1.NearestNeighborsResponse, error) bool) {
		req := proto.CloneOf(req)
		for {
			page, err := c.Retrieval.NearestNeighbors(ctx, req)
			if err != nil {
				yield(nil, err)
				return
			}
			req.PageToken = page.GetNextPageToken()
			if !yield(page, nil) || req.GetPageToken() == "" {
				return
			}
		}
	}
}

// Answers sends queries, each with an id of the caller's choice, over one stream and yields their answers as they are ready, which is
// not in the order of the queries. A query that fails has its error in its answer; an error that Answers yields ends it, and the
// answers that are missing then are lost. For few queries of one collection, and for answers in order, there is
// c.Retrieval.BatchNearestNeighbors.
//
// queries is read by a goroutine that has ended when the iteration is over; it must not wait for the answers, and must end when ctx
// does. The server reads about as far ahead as it works, so a sequence of any length takes little memory.
func (c *Client) Answers(ctx context.Context, queries iter.Seq2[string, *seguev1.NearestNeighborsRequest]) iter.Seq2[*seguev1.StreamNearestNeighborsResponse, error] {
	return func(yield func(*seguev1.StreamNearestNeighborsResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		stream, err := c.Retrieval.StreamNearestNeighbors(ctx)
		if err != nil {
			cancel()
			yield(nil, err)
			return
		}
		sent := make(chan struct{})
		defer func() { <-sent }()
		defer cancel()
		go func() {
			defer close(sent)
			for id, q := range queries {
				if stream.Send(&seguev1.StreamNearestNeighborsRequest{QueryId: id, Request: q}) != nil {
					return // Recv says why
				}
			}
			_ = stream.CloseSend() // likewise
		}()
		for {
			answer, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(answer, err) || err != nil {
				return
			}
		}
	}
}
