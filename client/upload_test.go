package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// table is the server's half of an upload, reduced to what the protocol promises: a batch is written as a
// whole or not at all, later rows of a batch win, bad rows are named (only some of them at once), batches
// above a size are refused by the transport, and now and then the server is away, before or after it wrote.
type table struct {
	mu       sync.Mutex
	values   map[string]int64 // id -> revision field of the item that won
	made     map[string]made  // by request id
	revision int64
	calls    int
	underWay int

	maxNamed int // violations listed at once
	maxBytes int
	delay    func() time.Duration
	away     func() int // 0 serve, 1 UNAVAILABLE before the write, 2 after it

	mostUnderWay, mostRows, mostBytes int
}

func bad(id string) bool { return strings.HasPrefix(id, "bad") }

func (s *table) send(ctx context.Context, request string, rows []*seguev1.Item) (written, error) {
	s.mu.Lock()
	s.calls++
	s.underWay++
	size := proto.Size(&seguev1.BatchUpsertItemsRequest{Items: rows})
	s.mostUnderWay = max(s.mostUnderWay, s.underWay)
	s.mostRows = max(s.mostRows, len(rows))
	if len(rows) > 1 {
		s.mostBytes = max(s.mostBytes, size)
	}
	before, after, away := s.delay(), s.delay(), s.away()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.underWay--
		s.mu.Unlock()
	}()

	time.Sleep(before) // of the synctest bubble: reorders calls, takes no time
	if err := ctx.Err(); err != nil {
		return written{}, status.FromContextError(err).Err()
	}
	if request == "" {
		return written{}, status.Error(codes.Internal, "no request id")
	}
	if away == 1 {
		return written{}, status.Error(codes.Unavailable, "away")
	}
	if size > s.maxBytes {
		return written{}, status.Error(codes.ResourceExhausted, "grpc: received message larger than max")
	}
	if err := s.validate(rows); err != nil {
		return written{}, err
	}
	s.mu.Lock()
	if was, again := s.made[request]; again {
		s.mu.Unlock()
		if was.ids != idsOf(rows) {
			return written{}, status.Error(codes.Internal, "the id of another request")
		}
		return was.answer, nil
	}
	for _, row := range rows {
		s.values[row.GetId()] = row.GetRevision()
		s.revision++
	}
	revision := s.revision
	s.made[request] = made{idsOf(rows), written{revision: revision}}
	s.mu.Unlock()
	time.Sleep(after)
	if away == 2 {
		return written{}, status.Error(codes.Unavailable, "answer lost")
	}
	return written{revision: revision}, nil
}

type sender = func(ctx context.Context, request string, rows []*seguev1.Item) (written, error)

// made is a request that was made.
type made struct {
	ids    string
	answer written
}

func idsOf(rows []*seguev1.Item) string {
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(row.GetId() + " ")
	}
	return b.String()
}

func (s *table) validate(rows []*seguev1.Item) error {
	detail := &errdetails.BadRequest{}
	for i, row := range rows {
		if bad(row.GetId()) && len(detail.FieldViolations) < s.maxNamed {
			detail.FieldViolations = append(detail.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: fmt.Sprintf("items[%d].vector", i), Reason: "ZERO_VECTOR", Description: "must not be zero",
			})
		}
	}
	if len(detail.FieldViolations) == 0 {
		return nil
	}
	st, err := status.New(codes.InvalidArgument, "bad").WithDetails(detail)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

func (s *table) uploader() uploader[*seguev1.Item] {
	return uploader[*seguev1.Item]{field: "items", id: (*seguev1.Item).GetId, send: s.send}
}

func steady() *table {
	return &table{
		values: map[string]int64{}, made: map[string]made{}, maxNamed: 32, maxBytes: 1 << 20,
		delay: func() time.Duration { return 0 }, away: func() int { return 0 },
	}
}

func sequence(items []*seguev1.Item) iter.Seq2[*seguev1.Item, error] {
	return func(yield func(*seguev1.Item, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
	}
}

// Property: whatever the batch limits, the answers' order, the server's absences and the rows' sizes, an
// upload leaves what writing row after row would leave, reports exactly the bad rows, and keeps its bounds.
func TestUploadEqualsWritingOneByOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 120).Draw(rt, "rows")
		names := rapid.IntRange(1, 150).Draw(rt, "names")
		badPercent := rapid.SampledFrom([]int{0, 5, 60}).Draw(rt, "badPercent")
		awayPercent := rapid.SampledFrom([]int{0, 20}).Draw(rt, "awayPercent")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)) // used under table.mu
		s := steady()
		s.maxNamed = rapid.IntRange(1, 4).Draw(rt, "maxNamed")
		s.maxBytes = rapid.SampledFrom([]int{60, 300, 1 << 20}).Draw(rt, "maxBytes")
		s.delay = func() time.Duration { return time.Duration(random.IntN(1000)) }
		s.away = func() int {
			if random.IntN(100) >= awayPercent {
				return 0
			}
			return 1 + random.IntN(2)
		}

		var items []*seguev1.Item
		want := map[string]int64{}
		wantRejects := map[int64]string{}
		for i := range n {
			id := fmt.Sprintf("id%d", rapid.IntRange(0, names-1).Draw(rt, "name"))
			if rapid.IntRange(0, 99).Draw(rt, "bad") < badPercent {
				id = "bad" + id
			}
			it := &seguev1.Item{
				Id: id, Revision: int64(i + 1),
				Vector: Vector(make([]float32, rapid.SampledFrom([]int{1, 2, 30}).Draw(rt, "dim"))),
			}
			items = append(items, it)
			alone := proto.Size(&seguev1.BatchUpsertItemsRequest{Items: []*seguev1.Item{it}})
			if bad(id) || alone > s.maxBytes {
				wantRejects[int64(i)] = id
			} else {
				want[id] = it.Revision
			}
		}

		rejects := map[int64]string{}
		var last UpsertResult
		var complaints []string
		o := UpsertOptions{
			BatchRows:  rapid.IntRange(1, 40).Draw(rt, "batchRows"),
			BatchBytes: rapid.IntRange(1, 2000).Draw(rt, "batchBytes"),
			InFlight:   rapid.IntRange(1, 6).Draw(rt, "inFlight"),
			Patience:   time.Hour,
			OnReject: func(r Reject) {
				if _, twice := rejects[r.Row]; twice || len(r.Violations) == 0 {
					complaints = append(complaints, fmt.Sprintf("reject %+v, twice %v", r, twice))
				}
				rejects[r.Row] = r.ID
			},
			OnProgress: func(r UpsertResult) {
				if r.Written < last.Written || r.Rejected < last.Rejected || r.Revision < last.Revision {
					complaints = append(complaints, fmt.Sprintf("totals went back: %+v after %+v", r, last))
				}
				last = r
			},
		}
		var result UpsertResult
		var err error
		synctest.Test(t, func(t *testing.T) {
			result, err = upload(context.Background(), s.uploader(), sequence(items), o)
		})
		switch {
		case err != nil:
			rt.Fatal(err)
		case len(complaints) > 0:
			rt.Fatal(complaints)
		case !maps.Equal(s.values, want):
			rt.Fatalf("values %v, want %v", s.values, want)
		case !maps.Equal(rejects, wantRejects):
			rt.Fatalf("rejects %v, want %v", rejects, wantRejects)
		case result.Written+result.Rejected != int64(n), result.Rejected != int64(len(rejects)), result != last:
			rt.Fatalf("result %+v of %d rows, %d rejects, last progress %+v", result, n, len(rejects), last)
		case result.Revision > s.revision, (result.Written > 0) != (result.Revision > 0):
			rt.Fatalf("revision %d, server has %d", result.Revision, s.revision)
		case s.mostUnderWay > o.InFlight, s.mostRows > o.BatchRows, s.mostBytes > o.BatchBytes:
			rt.Fatalf("%d calls, %d rows, %d bytes at once, beyond %+v", s.mostUnderWay, s.mostRows, s.mostBytes, o)
		}
	})
}

// The calls needed are the fewest the limits allow when nothing goes wrong.
func TestUploadFillsBatches(t *testing.T) {
	s := steady()
	var items []*seguev1.Item
	for i := range 1000 {
		items = append(items, &seguev1.Item{Id: fmt.Sprint(i)})
	}
	if _, err := upload(t.Context(), s.uploader(), sequence(items), UpsertOptions{BatchRows: 100}); err != nil {
		t.Fatal(err)
	}
	if s.calls != 10 {
		t.Errorf("%d calls for 1000 rows in batches of 100, want 10", s.calls)
	}
}

func TestUploadEndsWithFirstError(t *testing.T) {
	broken := errors.New("broken source")
	for name, tc := range map[string]struct {
		send   func(*table) sender
		source func() iter.Seq2[*seguev1.Item, error]
		want   func(error) bool
	}{
		"source fails": {
			source: func() iter.Seq2[*seguev1.Item, error] {
				return func(yield func(*seguev1.Item, error) bool) {
					for i := range 25 {
						if !yield(&seguev1.Item{Id: fmt.Sprint(i)}, nil) {
							return
						}
					}
					yield(nil, broken)
				}
			},
			want: func(err error) bool { return errors.Is(err, broken) },
		},
		"server fails": {
			send: func(s *table) sender {
				return func(ctx context.Context, request string, rows []*seguev1.Item) (written, error) {
					if rows[0].Id == "30" {
						return written{}, status.Error(codes.NotFound, "no such collection")
					}
					return s.send(ctx, request, rows)
				}
			},
			want: func(err error) bool {
				return status.Code(err) == codes.NotFound && strings.Contains(err.Error(), "rows 30 to 39")
			},
		},
		"server refuses without naming a row": {
			send: func(*table) sender {
				return func(context.Context, string, []*seguev1.Item) (written, error) {
					return written{}, status.Error(codes.InvalidArgument, "collection: must not be empty")
				}
			},
			want: func(err error) bool { return status.Code(err) == codes.InvalidArgument },
		},
		"server is away for good": {
			send: func(*table) sender {
				return func(context.Context, string, []*seguev1.Item) (written, error) {
					return written{}, status.Error(codes.Unavailable, "away")
				}
			},
			want: func(err error) bool { return status.Code(err) == codes.Unavailable },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := steady()
				u := s.uploader()
				if tc.send != nil {
					u.send = tc.send(s)
				}
				var items []*seguev1.Item
				for i := range 100 {
					items = append(items, &seguev1.Item{Id: fmt.Sprint(i)})
				}
				source := sequence(items)
				if tc.source != nil {
					source = tc.source()
				}
				result, err := upload(t.Context(), u, source, UpsertOptions{BatchRows: 10})
				if !tc.want(err) {
					t.Errorf("error %v", err)
				}
				if int64(len(s.values)) != result.Written {
					t.Errorf("%d rows acknowledged, %d written", result.Written, len(s.values))
				}
			})
		})
	}
}

func TestUploadStopsWhenCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := steady()
		s.delay = func() time.Duration { return time.Second }
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		endless := func(yield func(*seguev1.Item, error) bool) {
			for i := 0; yield(&seguev1.Item{Id: fmt.Sprint(i)}, nil); i++ {
			}
		}
		o := UpsertOptions{BatchRows: 10, OnProgress: func(r UpsertResult) {
			if r.Written >= 100 {
				cancel(cause)
			}
		}}
		result, err := upload(ctx, s.uploader(), endless, o)
		if !errors.Is(err, cause) || result.Written < 100 || result.Written > 200 {
			t.Errorf("result %+v, error %v", result, err)
		}
	})
}

// Text that is not UTF-8 fails in the client's own encoder; only its row may suffer.
func TestUploadBlamesRowsThatCannotBeEncoded(t *testing.T) {
	s := steady()
	u := s.uploader()
	u.send = func(ctx context.Context, request string, rows []*seguev1.Item) (written, error) {
		if _, err := proto.Marshal(&seguev1.BatchUpsertItemsRequest{Items: rows}); err != nil {
			return written{}, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
		}
		return s.send(ctx, request, rows)
	}
	items := []*seguev1.Item{{Id: "a"}, {Id: "b\xff"}, {Id: "c"}}
	var rejects []Reject
	o := UpsertOptions{OnReject: func(r Reject) { rejects = append(rejects, r) }}
	if _, err := upload(t.Context(), u, sequence(items), o); err != nil {
		t.Fatal(err)
	}
	if len(rejects) != 1 || rejects[0].Row != 1 || rejects[0].Violations[0].Reason != "INVALID_FORMAT" {
		t.Errorf("rejects %+v", rejects)
	}
	if got := slices.Sorted(maps.Keys(s.values)); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("written %v", got)
	}
}

func TestUpsertOptionsValidateNamesEveryBadField(t *testing.T) {
	o := UpsertOptions{BatchRows: 10_001, BatchBytes: -1, InFlight: 65, Patience: -1}
	_, err := upload(t.Context(), steady().uploader(), sequence(nil), o)
	if !errors.Is(err, ErrOptions) {
		t.Fatalf("error %v", err)
	}
	for _, field := range []string{"BatchRows is 10001", "BatchBytes is -1", "InFlight is 65", "Patience"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q does not name %s", err, field)
		}
	}
	if err := (UpsertOptions{}).Validate(); err != nil {
		t.Errorf("zero value: %v", err)
	}
}

func FuzzCutIndex(f *testing.F) {
	for _, s := range []string{"items[3].vector", "items[3]", "items[-1].x", "items[", "items[9999999999999999999]", "items[1].attributes[a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		i, rest, ok := cutIndex(path, "items")
		if !ok {
			return
		}
		if i < 0 || !strings.HasPrefix(path, "items[") || !strings.HasSuffix(path, rest) {
			t.Errorf("cutIndex(%q) = %d, %q", path, i, rest)
		}
	})
}
