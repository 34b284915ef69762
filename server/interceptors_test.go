package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
	"github.com/segue-ann/segue/server/ops"
)

// through sends one call of an administrator through the interceptors in the server's order and returns what was logged
// about it.
func through(t *testing.T, method string, level slog.Level, handler grpc.UnaryHandler) (resp any, record map[string]any, err error) {
	t.Helper()
	control, err := admission.New(admission.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	table, err := auth.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	in := &interceptors{
		log:       slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: level})),
		metrics:   ops.NewMetrics(),
		admission: control,
		table:     table, authenticator: auth.Anyone{},
		exists:       func(string) bool { return false },
		slowCall:     -1,
		readOnly:     readOnlyMethods(),
		maxSendBytes: 1 << 10,
	}
	info := &grpc.UnaryServerInfo{FullMethod: method}
	ctx, err := in.tap(t.Context(), &tap.Info{FullMethodName: method})
	if err != nil {
		t.Fatal(err)
	}
	var req proto.Message = &seguev1.NearestNeighborsRequest{Collection: "tracks"}
	if method == writeMethod {
		req = &seguev1.UpsertItemRequest{Collection: "tracks"}
	}
	resp, err = in.unary(ctx, req, info, handler)
	if b.Len() > 0 {
		if err := json.Unmarshal(b.Bytes(), &record); err != nil {
			t.Fatal(err)
		}
	}
	return resp, record, err
}

const (
	readMethod  = seguev1.RetrievalService_NearestNeighbors_FullMethodName
	writeMethod = seguev1.ItemService_UpsertItem_FullMethodName
)

func TestPanicOfAReadFailsTheCall(t *testing.T) {
	_, record, err := through(t, readMethod, slog.LevelInfo, func(context.Context, any) (any, error) { panic("broken invariant 17") })
	refusal{codes.Internal, "INTERNAL", ""}.check(t, &seguev1.NearestNeighborsRequest{}, err)
	if strings.Contains(status.Convert(err).Message(), "17") {
		t.Error("the panic reaches the caller")
	}
	text, _ := record["err"].(string)
	if record["level"] != "ERROR" || !strings.Contains(text, "broken invariant 17") || !strings.Contains(text, "interceptors_test.go") {
		t.Errorf("logged %v: want an error with the panic and its stack", record)
	}
}

// TestPanicOfAWriteIsNotRecovered: gRPC lets it end the process.
func TestPanicOfAWriteIsNotRecovered(t *testing.T) {
	defer func() {
		if p := recover(); p != "half a write" {
			t.Errorf("recovered %v", p)
		}
	}()
	_, _, err := through(t, writeMethod, slog.LevelInfo, func(context.Context, any) (any, error) { panic("half a write") })
	t.Errorf("the call returned: %v", err)
}

func TestReadOnlyMethods(t *testing.T) {
	got := readOnlyMethods()
	for _, m := range []string{
		readMethod, seguev1.ItemService_ListItems_FullMethodName, seguev1.AdminService_GetIndexStatistics_FullMethodName,
	} {
		if !got[m] {
			t.Errorf("%s is not read-only", m)
		}
	}
	for _, m := range []string{
		writeMethod, seguev1.ItemService_DeleteItem_FullMethodName, seguev1.AdminService_CreateSnapshot_FullMethodName,
		seguev1.CollectionService_CreateCollection_FullMethodName,
	} {
		if got[m] {
			t.Errorf("%s is read-only", m)
		}
	}
}

func TestAccessLog(t *testing.T) {
	for _, c := range []struct {
		name        string
		err         error
		at          slog.Level
		level, code string // empty: nothing is logged
	}{
		{"success", nil, slog.LevelInfo, "", ""},
		{"success at debug level", nil, slog.LevelDebug, "DEBUG", "OK"},
		{"refusal", invalid(engine.ReasonOutOfRange, "neighbor_count", "must be 1"), slog.LevelInfo, "INFO", "InvalidArgument"},
		{"refusal below the level", invalid(engine.ReasonOutOfRange, "neighbor_count", "must be 1"), slog.LevelWarn, "", ""},
		{"full", &engine.LimitError{Resource: "slots"}, slog.LevelInfo, "WARN", "ResourceExhausted"},
		{"failure", errors.New("sstable 17 is gone"), slog.LevelInfo, "ERROR", "Internal"},
	} {
		_, record, err := through(t, readMethod, c.at, func(context.Context, any) (any, error) {
			return &seguev1.NearestNeighborsResponse{}, c.err
		})
		if (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.level == "" {
			if record != nil {
				t.Errorf("%s: logged %v", c.name, record)
			}
			continue
		}
		if record["level"] != c.level || record["code"] != c.code || record["method"] != strings.TrimPrefix(readMethod, "/") || record["duration"] == nil {
			t.Errorf("%s: logged %v", c.name, record)
		}
		if text, _ := record["err"].(string); c.err != nil && text != c.err.Error() {
			t.Errorf("%s: logged err %q, want the cause %q", c.name, text, c.err)
		}
	}
}

// TestLogOfARefusalIsBounded: callers cannot fill the log with one request.
func TestLogOfARefusalIsBounded(t *testing.T) {
	_, record, _ := through(t, readMethod, slog.LevelInfo, func(context.Context, any) (any, error) {
		return nil, invalid(engine.ReasonInvalidFormat, "query", "%s", strings.Repeat("x", 1<<20))
	})
	if text, _ := record["err"].(string); len(text) > 2*maxMessageBytes {
		t.Errorf("%d bytes logged", len(text))
	}
}

func TestLargeAnswerIsRefused(t *testing.T) {
	resp, _, err := through(t, readMethod, slog.LevelInfo, func(context.Context, any) (any, error) {
		return &seguev1.NearestNeighborsResponse{Neighbors: []*seguev1.Neighbor{{ItemId: strings.Repeat("x", 2<<10)}}}, nil
	})
	if resp != nil {
		t.Error("the answer is sent")
	}
	refusal{codes.ResourceExhausted, "RESPONSE_TOO_LARGE", ""}.check(t, &seguev1.NearestNeighborsRequest{}, err)
}
