package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
)

func TestToStatus(t *testing.T) {
	bad := &engine.InvalidError{Violations: []engine.Violation{{Reason: engine.ReasonZeroVector, Field: "query.vector", Rule: "must not be zero"}}}
	for _, c := range []struct {
		name string
		err  error
		want refusal
	}{
		{"bad input", bad, refusal{codes.InvalidArgument, "ZERO_VECTOR", "query.vector"}},
		{"bad input, wrapped", fmt.Errorf("search: %w", bad), refusal{codes.InvalidArgument, "ZERO_VECTOR", "query.vector"}},
		{"no collection", &engine.NotFoundError{Kind: "collection", Name: "x"}, refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}},
		{"no item", &engine.NotFoundError{Kind: "item", Name: "x"}, refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}},
		{"no user", &engine.NotFoundError{Kind: "user", Name: "x"}, refusal{codes.NotFound, "USER_NOT_FOUND", ""}},
		{"name taken", &engine.AlreadyExistsError{Name: "x"}, refusal{codes.AlreadyExists, "COLLECTION_ALREADY_EXISTS", ""}},
		{"full", &engine.LimitError{Resource: "slots", Limit: 9}, refusal{codes.ResourceExhausted, "COLLECTION_FULL", ""}},
		{"too many", &engine.LimitError{Resource: "collections", Limit: 9}, refusal{codes.ResourceExhausted, "TOO_MANY_COLLECTIONS", ""}},
		{"large answer", &responseTooLargeError{bytes: 9, limit: 8}, refusal{codes.ResourceExhausted, "RESPONSE_TOO_LARGE", ""}},
		{"busy", &engine.BusyError{Operation: "snapshot"}, refusal{codes.Aborted, "ALREADY_RUNNING", ""}},
		{"memory limit", fmt.Errorf("commit: %w", &engine.MemoryLimitError{NeedBytes: 1, UsedBytes: 2, LimitBytes: 2}), refusal{codes.ResourceExhausted, "MEMORY_LIMIT", ""}},
		{"disk full", fmt.Errorf("commit: %w", &engine.LowSpaceError{Dir: "secret"}), refusal{codes.ResourceExhausted, "DISK_FULL", ""}},
		{"corruption", fmt.Errorf("read: %w", &engine.CorruptionError{File: "secret"}), refusal{codes.DataLoss, "DATA_CORRUPTED", ""}},
		{"closed", fmt.Errorf("get: %w", engine.ErrClosed), refusal{codes.Unavailable, "NOT_SERVING", ""}},
		{"deadline", fmt.Errorf("scan: %w", context.DeadlineExceeded), refusal{codes.DeadlineExceeded, "DEADLINE_EXCEEDED", ""}},
		{"cancelled", context.Canceled, refusal{codes.Canceled, "CANCELLED", ""}},
		{"nobody", &auth.UnauthenticatedError{Why: "no credential was sent"}, refusal{codes.Unauthenticated, "UNAUTHENTICATED", ""}},
		{"denied", &auth.DeniedError{Subject: "x", Role: seguev1.Role_ROLE_READ}, refusal{codes.PermissionDenied, "PERMISSION_DENIED", ""}},
		{"too often", &admission.RateLimitedError{Subject: "x", Rate: 1}, refusal{codes.ResourceExhausted, "RATE_LIMITED", ""}},
		{"overloaded", &admission.OverloadedError{Why: "queue"}, refusal{codes.Unavailable, "OVERLOADED", ""}},
		{"no import", &engine.NotFoundError{Kind: "import", Name: "x"}, refusal{codes.NotFound, "IMPORT_NOT_FOUND", ""}},
		{"no release", &engine.NotFoundError{Kind: "release", Name: "7"}, refusal{codes.NotFound, "RELEASE_NOT_FOUND", ""}},
		{"other model", &engine.ModelMismatchError{}, refusal{codes.FailedPrecondition, "EMBEDDING_MODEL_MISMATCH", ""}},
		{"wrong state", &engine.StateError{State: engine.ReleaseReady}, refusal{codes.FailedPrecondition, "WRONG_STATE", ""}},
		{"gap", &engine.SequenceError{Want: 1, Got: 3}, refusal{codes.FailedPrecondition, "OUT_OF_SEQUENCE", ""}},
		{"conditions", &engine.ConditionError{Violations: []string{"too few"}}, refusal{codes.FailedPrecondition, "CONDITION_NOT_MET", ""}},
		{"unknown", errors.New("pebble: secret path"), refusal{codes.Internal, "INTERNAL", ""}},
		{"no violations", &engine.InvalidError{}, refusal{codes.Internal, "INTERNAL", ""}},
		{"panic", &panicError{value: "secret"}, refusal{codes.Internal, "INTERNAL", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := toStatus(c.err)
			c.want.check(t, &seguev1.NearestNeighborsRequest{}, st.Err())
			if strings.Contains(st.Message(), "secret") {
				t.Errorf("the message leaks the cause: %s", st.Message())
			}
		})
	}
}

// TestLibraryStatusStays: health and reflection make statuses of their own.
func TestLibraryStatusStays(t *testing.T) {
	if st := toStatus(status.Error(codes.NotFound, "unknown service")); st.Code() != codes.NotFound || len(st.Details()) != 0 {
		t.Error(st)
	}
}

// TestStatusIsBounded: whatever a caller sends, a status fits the 8 KiB of metadata that common clients accept, where
// it stands twice: in base64, and percent-encoded as the message.
func TestStatusIsBounded(t *testing.T) {
	long := strings.Repeat("ü", 1<<20)
	many := &engine.InvalidError{}
	for i := range engine.MaxViolations {
		many.Violations = append(many.Violations, engine.Violation{
			Reason: engine.ReasonUnknownAttribute,
			Field:  fmt.Sprintf("items[%d].attributes[%s]", i, strings.Repeat("x", 64)),
			Rule:   "is not declared in the collection's schema",
		})
	}
	for _, err := range []error{
		many,
		&engine.NotFoundError{Kind: "item", Name: long},
		&engine.NotFoundError{Kind: "user", Name: "\xff\xfe" + long},
		&engine.AlreadyExistsError{Name: long},
		invalid(engine.ReasonTooLong, "query.item_id", "must be short"),
	} {
		st := toStatus(err)
		if n := proto.Size(st.Proto())*4/3 + 3*len(st.Message()); n > 7<<10 {
			t.Errorf("%.60s: %d bytes of metadata", st.Message(), n)
		}
		if len(st.Details()) < 2 {
			t.Errorf("%.60s: details %v", st.Message(), st.Details())
		}
	}
	st := toStatus(many)
	info, ok := st.Details()[0].(*errdetails.ErrorInfo)
	if !ok || info.GetMetadata()["violation_count"] != "32" || info.GetMetadata()["field"] != many.Violations[0].Field {
		t.Errorf("metadata %v", info.GetMetadata())
	}
	if n := violationsIn(st); n < 8 || n >= 32 {
		t.Errorf("%d violations listed", n)
	}
}

// violationsIn counts the violations that a status lists.
func violationsIn(st *status.Status) int {
	for _, d := range st.Details() {
		if br, ok := d.(*errdetails.BadRequest); ok {
			return len(br.GetFieldViolations())
		}
	}
	return 0
}

// TestOneHugeViolationIsStillListed: at least one is, however long.
func TestOneHugeViolationIsStillListed(t *testing.T) {
	st := toStatus(invalid(engine.ReasonInvalidFormat, "query", "%s", strings.Repeat("x", maxViolationBytes)))
	if n := violationsIn(st); n != 1 {
		t.Errorf("%d violations", n)
	}
}

// TestReasonsAreDocumented: error.proto lists every reason, and no other.
func TestReasonsAreDocumented(t *testing.T) {
	sent := map[string]bool{
		"UNSPECIFIED": true,
	}
	for _, r := range []engine.Reason{
		engine.ReasonRequired, engine.ReasonOutOfRange, engine.ReasonTooLong, engine.ReasonInvalidFormat, engine.ReasonDimensionMismatch,
		engine.ReasonNotFinite, engine.ReasonZeroVector, engine.ReasonUnknownAttribute, engine.ReasonAttributeType, engine.ReasonDuplicateAttribute, engine.ReasonNotFilterable, engine.ReasonGraphMismatch,
		reasonUnknownPath, reasonInvalidPageToken,
		reasonCollectionNotFound, reasonItemNotFound, reasonUserNotFound, reasonCollectionExists, reasonCollectionFull,
		reasonTooManyCollections, reasonResponseTooLarge, reasonAlreadyRunning, reasonNotServing, reasonDeadlineExceeded,
		reasonCancelled, reasonInternal, reasonDiskFull, reasonMemoryLimit, reasonDataCorrupted, reasonUnauthenticated, reasonPermissionDenied,
		reasonRateLimited, reasonOverloaded,
		reasonImportNotFound, reasonReleaseNotFound, reasonModelMismatch, reasonWrongState, reasonOutOfSequence, reasonConditionNotMet,
		reasonNoBackupTarget, reasonAliasNotFound, reasonTooManyAliases, reasonRevisionMismatch, engine.ReasonRequestIDReused,
	} {
		sent[string(r)] = true
	}
	for name := range seguev1.ErrorReason_value {
		if short := strings.TrimPrefix(name, "ERROR_REASON_"); !sent[short] {
			t.Errorf("%s is documented and never sent", short)
		}
		delete(sent, strings.TrimPrefix(name, "ERROR_REASON_"))
	}
	for r := range sent {
		t.Errorf("%s is sent and not documented", r)
	}
}

func TestRenames(t *testing.T) {
	for _, c := range []struct {
		path       func(string) string
		from, want string
	}{
		{searchPath, "k", "neighbor_count"},
		{searchPath, "ef", "search_effort.ef"},
		{searchPath, "query.vector[3]", "query.vector[3]"},
		{searchPath, "kind", "kind"},
		{itemPath, "items[0].vector[2]", "item.vector[2]"},
		{itemPath, "items[0]", "item"},
		{itemPath, "ids[0]", "item_id"},
		{itemBatchPath, "ids[12]", "item_ids[12]"},
		{itemBatchPath, "ids", "item_ids"},
		{profilePath, "profiles[0].interests[0].vector[2]", "profile.interests[0].vector[2]"},
		{profilePath, "profiles[0].user_id", "profile.user_id"},
		{searchPath, "query.interests[1].weight", "query.interests.interests[1].weight"},
		{scorePath, "ids[3]", "item_ids[3]"},
		{explainPath, "k", "request.neighbor_count"},
		{explainPath, "item_id", "item_id"},
		{configPath, "dim", "collection.dimension"},
		{configPath, "m", "collection.index_config.m"},
		{configPath, "metric", "collection.metric"},
		{configPath, "attributes[2].name", "collection.attributes[2].name"},
	} {
		if got := c.path(c.from); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.from, got, c.want)
		}
	}
}

// TestRenamedLeavesOthersAlone: only bad input has fields, and the engine's own error is not changed.
func TestRenamedLeavesOthersAlone(t *testing.T) {
	if err := renamed(engine.ErrClosed, searchPath); !errors.Is(err, engine.ErrClosed) {
		t.Error(err)
	}
	original := invalid(engine.ReasonOutOfRange, "k", "must be 1")
	if got := renamed(original, searchPath).Error(); got != "neighbor_count: must be 1" || original.Error() != "k: must be 1" {
		t.Errorf("%s from %s", got, original)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"short", "short"},
		{"1234567890", "12345678..."},
		{"1234567ü", "1234567\uFFFD..."},
		{"a\xffb", "a\uFFFDb"},
	} {
		if got := cut(c.in, 8); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.in, got, c.want)
		}
	}
}
