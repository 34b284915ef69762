package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type importService struct{ *backend }

// flushEvery is how long rows of an import may wait in memory while their client sends no more.
const flushEvery = time.Second

// importPath turns fields of the engine's options into those of StartImportRequest.
func importPath(field string) string {
	return renames{{"model", "embedding_model"}, {"expected_items", "expected_item_count"}, {"graph.parts", "graph.part_count"}}.path(field)
}

func (s *importService) StartImport(ctx context.Context, req *seguev1.StartImportRequest) (*seguev1.StartImportResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	expected := req.GetExpectedItemCount()
	if expected < 0 || expected > math.MaxInt32 {
		return nil, invalid(engine.ReasonOutOfRange, "expected_item_count", "must be between 0 and %d, is %d", math.MaxInt32, expected)
	}
	o := engine.ImportOptions{JobID: req.GetJobId(), Model: decodeModel(req.GetEmbeddingModel()), ExpectedItems: int(expected)}
	if g := req.GetGraph(); g != nil {
		o.Graph = &engine.GraphInfo{Build: g.GetBuild(), Index: g.GetIndex(), Parts: int(g.GetPartCount())}
	}
	info, err := c.StartImport(ctx, o)
	if err != nil {
		return nil, renamed(err, importPath)
	}
	return &seguev1.StartImportResponse{Import: encodeImport(info)}, nil
}

// received is a message of a stream, or how it ended.
type received struct {
	req *seguev1.WriteImportRequest
	err error
}

func (s *importService) WriteImport(stream seguev1.ImportService_WriteImportServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	messages := make(chan received)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			req, err := stream.Recv()
			select {
			case messages <- received{req, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	err := s.writeImport(ctx, stream, messages)
	cancel()
	if err == nil {
		<-done
	}
	return err
}

// writeImport takes messages until the client ends its side, and acknowledges what is durable as that grows.
func (s *importService) writeImport(ctx context.Context, stream seguev1.ImportService_WriteImportServer, messages <-chan received) error {
	var (
		last  *seguev1.WriteImportRequest // names collection and job
		acked = int64(-1)
	)
	ack := func(durable uint64) error {
		if int64(durable) == acked {
			return nil
		}
		acked = int64(durable)
		return stream.Send(&seguev1.WriteImportResponse{Sequence: acked})
	}
	flush := func() error {
		if last == nil {
			return nil
		}
		c, err := s.collection("collection", last.GetCollection())
		if err != nil {
			return err
		}
		durable, err := c.FlushImport(ctx, last.GetJobId())
		if err != nil {
			return err
		}
		return ack(durable)
	}
	idle := time.NewTimer(flushEvery)
	defer idle.Stop()
	for {
		select {
		case m := <-messages:
			if errors.Is(m.err, io.EOF) {
				return flush()
			}
			if m.err != nil {
				return m.err
			}
			last = m.req
			durable, err := s.writeBatch(ctx, m.req)
			if err != nil {
				return err
			}
			if err := ack(durable); err != nil {
				return err
			}
			idle.Reset(flushEvery)
		case <-idle.C:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeBatch hands a message's rows to the engine when its turn has come, which under pressure is behind every query and write. Rows that
// cannot be decoded are refused like those that break a rule.
func (s *importService) writeBatch(ctx context.Context, req *seguev1.WriteImportRequest) (durable uint64, err error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return 0, err
	}
	if req.GetSequence() < 1 {
		return 0, invalid(engine.ReasonOutOfRange, "sequence", "must be at least 1, is %d", req.GetSequence())
	}
	n := len(req.GetItems()) + len(req.GetProfiles())
	if n > s.limits.MaxBatch {
		return 0, invalid(engine.ReasonOutOfRange, "items", "must be at most %d with profiles, are %d", s.limits.MaxBatch, n)
	}
	batch := engine.ImportRows{Sequence: uint64(req.GetSequence()), Items: make([]engine.Item, len(req.GetItems())),
		Profiles: make([]engine.Profile, len(req.GetProfiles())), Refused: map[int]engine.Violation{}}
	permit, err := s.bulkTurn(ctx, seguev1.Priority_PRIORITY_IMPORT)
	if err != nil {
		return 0, err
	}
	defer func() { permit.Done(err) }()
	d := s.decoder(c)
	refused := func(index int) {
		if len(d.violations) > 0 {
			batch.Refused[index] = d.violations[0]
			d.violations = d.violations[:0]
		}
	}
	for i, m := range req.GetItems() {
		batch.Items[i] = d.item("item", m)
		refused(i)
	}
	for i, m := range req.GetProfiles() {
		batch.Profiles[i] = d.profile("profile", m)
		refused(len(batch.Items) + i)
	}
	for _, p := range req.GetGraphParts() {
		batch.Parts = append(batch.Parts, engine.GraphPart{Section: p.GetSection(), Slab: int(p.GetSlab()), Data: p.GetData()})
	}
	return c.WriteImport(ctx, req.GetJobId(), batch, false)
}

func (s *importService) GetImport(ctx context.Context, req *seguev1.GetImportRequest) (*seguev1.GetImportResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	info, err := c.Import(ctx, req.GetJobId())
	if err != nil {
		return nil, err
	}
	return &seguev1.GetImportResponse{Import: encodeImport(info)}, nil
}

func (s *importService) ListImportRejects(ctx context.Context, req *seguev1.ListImportRejectsRequest) (*seguev1.ListImportRejectsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	scope := "rejects/" + c.Config().Name + "/" + req.GetJobId()
	cursor := d.pageToken(scope, req.GetPageToken(), 8)
	limit := d.pageSize(req.GetPageSize())
	if err := d.err(); err != nil {
		return nil, err
	}
	after := 0
	if cursor != "" {
		if after, err = strconv.Atoi(cursor); err != nil {
			return nil, invalid(reasonInvalidPageToken, "page_token", "must be a next_page_token of the same method and import")
		}
	}
	rejects, more, err := c.ImportRejects(ctx, req.GetJobId(), after, limit)
	if err != nil {
		return nil, err
	}
	m := &seguev1.ListImportRejectsResponse{}
	for _, r := range rejects {
		m.Rejects = append(m.Rejects, &seguev1.ImportReject{Sequence: int64(r.Sequence), Index: int32(r.Index), Id: r.ID,
			Reason: string(r.Reason), Field: r.Field, Description: r.Rule})
	}
	if more {
		m.NextPageToken = encodePageToken(scope, fmt.Sprint(after+len(rejects)))
	}
	return m, nil
}

func (s *importService) CommitImport(ctx context.Context, req *seguev1.CommitImportRequest) (*seguev1.CommitImportResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	info, err := c.CommitImport(ctx, req.GetJobId())
	if err != nil {
		return nil, err
	}
	return &seguev1.CommitImportResponse{Import: encodeImport(info)}, nil
}

func (s *importService) CancelImport(ctx context.Context, req *seguev1.CancelImportRequest) (*seguev1.CancelImportResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if err := c.CancelImport(ctx, req.GetJobId()); err != nil {
		return nil, err
	}
	return &seguev1.CancelImportResponse{}, nil
}

func encodeImport(i engine.ImportInfo) *seguev1.Import {
	m := &seguev1.Import{
		JobId: i.JobID, Release: i.Release, State: encodeReleaseState(i.State), Cancelled: i.Cancelled, EmbeddingModel: encodeModel(i.Model),
		GraphTaken: i.GraphTaken, GraphRefused: i.GraphRefused,
		Sequence: int64(i.Sequence), AcceptedCount: int64(i.Accepted), RejectedCount: int64(i.Rejected), DuplicateCount: int64(i.Duplicates),
		BuiltCount: int64(i.Built), TotalCount: int64(i.Total), CreateTime: timestamppb.New(i.CreateTime), ReadyTime: encodeTime(i.ReadyTime),
	}
	if i.TimeLeft > 0 {
		m.TimeLeft = durationpb.New(i.TimeLeft)
	}
	if i.Err != nil {
		m.Error = "the build stopped: see the server's log"
	}
	return m
}

// encodeTime leaves a zero time out.
func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func decodeModel(m *seguev1.EmbeddingModel) engine.EmbeddingModel {
	return engine.EmbeddingModel{Name: m.GetName(), Version: m.GetVersion()}
}

// encodeModel leaves a model out that was not declared.
func encodeModel(m engine.EmbeddingModel) *seguev1.EmbeddingModel {
	if m == (engine.EmbeddingModel{}) {
		return nil
	}
	return &seguev1.EmbeddingModel{Name: m.Name, Version: m.Version}
}

func encodeReleaseState(s engine.ReleaseState) seguev1.ReleaseState {
	return seguev1.ReleaseState(seguev1.ReleaseState_value["RELEASE_STATE_"+string(s)])
}
