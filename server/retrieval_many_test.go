package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestBatchIsTheBytesOfItsAnswers: a batch is, to the byte, what single answers make: of few neighbors after many, of plain ones after those
// with attributes, vectors, explanations and matched examples, of unresolved ids, after errors. Nothing of one answer is in another.
func TestBatchIsTheBytesOfItsAnswers(t *testing.T) {
	f, items := listening(t)
	rng := rand.New(rand.NewPCG(7, 7))
	some := func() *seguev1.Item { return items[rng.IntN(len(items))] }
	forms := []func() *seguev1.NearestNeighborsRequest{
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: byItem(some().GetId())}
		},
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: byVector(values(some())...), SearchEffort: exact(), IncludeVectors: true}
		},
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: byItem(some().GetId()), ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"attributes"}}}
		},
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: byInterests(interest(3, values(some())...), interest(1, values(some())...))}
		},
		func() *seguev1.NearestNeighborsRequest {
			r := ranking()
			r.Exploration.Seed = 1 + rng.Uint64N(9)
			r.Boosts[1].ReferenceTime = timestamppb.New(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
			return r
		},
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: &seguev1.Query{Form: &seguev1.Query_Examples{Examples: &seguev1.Examples{
				Positive: []*seguev1.Example{{Example: &seguev1.Example_ItemId{ItemId: some().GetId()}}, {Example: &seguev1.Example_ItemId{ItemId: "nobody"}}},
			}}}}
		},
		func() *seguev1.NearestNeighborsRequest {
			return &seguev1.NearestNeighborsRequest{Query: byItem("nobody")}
		},
		func() *seguev1.NearestNeighborsRequest { return &seguev1.NearestNeighborsRequest{} },
	}
	for range 10 {
		batch := &seguev1.BatchNearestNeighborsRequest{Collection: "tracks"}
		want := &seguev1.BatchNearestNeighborsResponse{}
		for range 60 {
			q := forms[rng.IntN(len(forms))]()
			q.Collection, q.NeighborCount = "tracks", 1+rng.Int32N(60)
			batch.Requests = append(batch.Requests, q)
			one, err := f.retrieval.NearestNeighbors(t.Context(), q)
			if err == nil {
				want.Results = append(want.Results, &seguev1.QueryResult{Result: &seguev1.QueryResult_Response{Response: one}})
				continue
			}
			want.Results = append(want.Results, &seguev1.QueryResult{Result: &seguev1.QueryResult_Error{Error: queryErrorOf(err)}})
		}
		var got []byte
		if err := f.conn.Invoke(t.Context(), seguev1.RetrievalService_BatchNearestNeighbors_FullMethodName, batch, &got, grpc.ForceCodecV2(rawCodec{})); err != nil {
			t.Fatal(err)
		}
		wanted, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, wanted) {
			m := &seguev1.BatchNearestNeighborsResponse{}
			if err := proto.Unmarshal(got, m); err != nil {
				t.Fatal(err)
			}
			for i, r := range m.GetResults() {
				if !proto.Equal(r, want.GetResults()[i]) {
					t.Errorf("query %v:\n%v\nalone\n%v", batch.GetRequests()[i], r, want.GetResults()[i])
				}
			}
			t.Fatalf("%d bytes, those of single answers are %d", len(got), len(wanted))
		}
	}
}

// queryErrorOf is what a batch says of a query that fails with err alone.
func queryErrorOf(err error) *seguev1.QueryError {
	st := status.Convert(err)
	e := &seguev1.QueryError{Code: int32(st.Code()), Message: st.Message()}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			e.Reason, e.Field = info.GetReason(), info.GetMetadata()["field"]
		}
	}
	return e
}

// TestResultWriter: what was written stays as it is while more is, whatever the size, and all of it is the encoding of the batch.
func TestResultWriter(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for range 50 {
		var (
			w       resultWriter
			whole   = &seguev1.BatchNearestNeighborsResponse{}
			written [][]byte
			r       = &seguev1.QueryResult{}
		)
		for range rng.IntN(100) {
			text := strings.Repeat("x", rng.IntN([]int{10, 500, 3 * resultBufferBytes}[rng.IntN(3)]))
			r.Result = &seguev1.QueryResult_Error{Error: &seguev1.QueryError{Code: rng.Int32N(17), Message: text}} // the same message every time
			whole.Results = append(whole.Results, proto.CloneOf(r))
			b, err := w.write(r)
			if err != nil {
				t.Fatal(err)
			}
			written = append(written, b)
		}
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Concat(written...); !bytes.Equal(got, want) {
			t.Fatalf("%d results: %d bytes, want %d", len(written), len(got), len(want))
		}
		data, err := codec{}.Marshal((&batch{results: written}).response())
		if err != nil || !bytes.Equal(data.Materialize(), want) {
			t.Fatalf("the message of %d results is not their batch: %v", len(written), err)
		}
	}
	var w resultWriter
	bad := &seguev1.QueryResult{Result: &seguev1.QueryResult_Error{Error: &seguev1.QueryError{Message: "\xff"}}}
	if _, err := w.write(bad); err == nil {
		t.Error("text that is not UTF-8 was written")
	}
	good := &seguev1.QueryResult{Result: &seguev1.QueryResult_Error{Error: &seguev1.QueryError{Message: "fine"}}}
	if b, err := w.write(good); err != nil || len(b) == 0 {
		t.Errorf("after an error: %d bytes, %v", len(b), err)
	}
}

// TestAnswerUsedAgain: an answer that is used again says of a result what a new one says.
func TestAnswerUsedAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	var again answer
	for i := range 300 {
		r := someResult(rng)
		if got, want := again.encode(r), new(answer).encode(r); !proto.Equal(got, want) {
			t.Fatalf("result %d:\n%v\nwant\n%v", i, got, want)
		}
		again.response.NextPageToken, again.info.EffortReduced = fmt.Sprint(i), true // as nearestNeighbors does
	}
}

// someResult is a result in which anything that an answer can have is there or not.
func someResult(rng *rand.Rand) *engine.SearchResult {
	is := func() bool { return rng.IntN(2) == 0 }
	r := &engine.SearchResult{Info: engine.SearchInfo{
		Revision: engine.LSN(rng.IntN(9)), EfUsed: rng.IntN(99), Distances: rng.IntN(999), Hops: rng.IntN(99), Matching: rng.IntN(99), Filtered: is(),
		Plan: engine.Plan(rng.IntN(4)), Completeness: engine.Completeness(rng.IntN(5)), Seed: rng.Uint64N(3), Candidates: rng.IntN(99),
	}}
	if is() {
		r.Info.ExpectedRecall = rng.Float64()
	}
	if is() {
		r.Unresolved = []string{"nobody"}
	}
	for i := range rng.IntN(30) {
		n := engine.Neighbor{ItemID: fmt.Sprint("item", i), Score: rng.Float32(), Distance: rng.Float32(), Match: rng.IntN(3)}
		if is() {
			n.Vector = []float32{rng.Float32(), 2}
		}
		if is() {
			n.Attributes = engine.Attributes{{Name: "explicit", Value: engine.Value{Type: engine.Bool, Bool: is()}}}
		}
		if is() {
			n.Explanation = &engine.Explanation{RankValue: rng.Float64(), CandidateRank: i}
		}
		r.Neighbors = append(r.Neighbors, n)
	}
	return r
}
