package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
)

// domain is the ErrorInfo.domain of every error made here.
const domain = "segue.v1"

// Reasons that the server adds to those of the engine. All stand in proto/segue/v1/error.proto.
const (
	reasonUnknownPath      engine.Reason = "UNKNOWN_PATH"
	reasonInvalidPageToken engine.Reason = "INVALID_PAGE_TOKEN"

	reasonCollectionNotFound = "COLLECTION_NOT_FOUND"
	reasonItemNotFound       = "ITEM_NOT_FOUND"
	reasonUserNotFound       = "USER_NOT_FOUND"
	reasonImportNotFound     = "IMPORT_NOT_FOUND"
	reasonReleaseNotFound    = "RELEASE_NOT_FOUND"
	reasonAliasNotFound      = "ALIAS_NOT_FOUND"
	reasonModelMismatch      = "EMBEDDING_MODEL_MISMATCH"
	reasonWrongState         = "WRONG_STATE"
	reasonOutOfSequence      = "OUT_OF_SEQUENCE"
	reasonConditionNotMet    = "CONDITION_NOT_MET"
	reasonRevisionMismatch   = "REVISION_MISMATCH"
	reasonNoBackupTarget     = "NO_BACKUP_TARGET"
	reasonCollectionExists   = "COLLECTION_ALREADY_EXISTS"
	reasonCollectionFull     = "COLLECTION_FULL"
	reasonTooManyCollections = "TOO_MANY_COLLECTIONS"
	reasonTooManyAliases     = "TOO_MANY_ALIASES"
	reasonResponseTooLarge   = "RESPONSE_TOO_LARGE"
	reasonDiskFull           = "DISK_FULL"
	reasonMemoryLimit        = "MEMORY_LIMIT"
	reasonAlreadyRunning     = "ALREADY_RUNNING"
	reasonNotServing         = "NOT_SERVING"
	reasonDeadlineExceeded   = "DEADLINE_EXCEEDED"
	reasonCancelled          = "CANCELLED"
	reasonRateLimited        = "RATE_LIMITED"
	reasonOverloaded         = "OVERLOADED"
	reasonUnauthenticated    = "UNAUTHENTICATED"
	reasonPermissionDenied   = "PERMISSION_DENIED"
	reasonDataCorrupted      = "DATA_CORRUPTED"
	reasonInternal           = "INTERNAL"
)

// Types of ResourceInfo: the messages that the resources are.
const (
	typeCollection = "segue.v1.Collection"
	typeItem       = "segue.v1.Item"
	typeProfile    = "segue.v1.Profile"
	typeImport     = "segue.v1.Import"
	typeRelease    = "segue.v1.Release"
	typeAlias      = "segue.v1.CollectionAlias"
)

// Bounds of one status, in bytes. A status travels twice, as its message and in base64 as a whole, and clients refuse
// more than 8 KiB of metadata (grpc-java and C-core by default).
const (
	maxMessageBytes   = 512
	maxViolationBytes = 2 << 10 // of all violations
	maxNameBytes      = 64      // of a name that a caller sent and an error repeats
)

// retryDelay is what UNAVAILABLE asks callers to wait: about how long a restart takes.
const retryDelay = time.Second

// invalid is an error of one broken rule of one field.
func invalid(reason engine.Reason, field, format string, args ...any) error {
	return &engine.InvalidError{Violations: []engine.Violation{{Reason: reason, Field: field, Rule: fmt.Sprintf(format, args...)}}}
}

// responseTooLargeError says that an answer does not fit in a message.
type responseTooLargeError struct {
	bytes int64
	limit int
}

func (e *responseTooLargeError) Error() string {
	return fmt.Sprintf("the answer would have at least %d bytes, more than the limit of %d: ask for fewer results or for less of each", e.bytes, e.limit)
}

// errNoBackupTarget is the answer of a server that was told of no place for backups.
var errNoBackupTarget = errors.New("this server has no place for backups: start it with --backup-to")

// panicError carries a recovered panic to the log.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// rename says that what the engine calls from is called to in a request.
type rename struct{ from, to string }

// renames are tried in order; the first that matches is taken.
type renames []rename

// path renames a field whose whole path, or its beginning up to a "." or "[", is from.
func (rs renames) path(field string) string {
	for _, r := range rs {
		rest, ok := strings.CutPrefix(field, r.from)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return r.to + rest
		}
	}
	return field
}

// renamed renames the fields of an *engine.InvalidError by path; other errors come back as they are.
func renamed(err error, path func(field string) string) error {
	var bad *engine.InvalidError
	if !errors.As(err, &bad) {
		return err
	}
	out := &engine.InvalidError{Violations: make([]engine.Violation, len(bad.Violations))}
	for i, v := range bad.Violations {
		v.Field = path(v.Field)
		out.Violations[i] = v
	}
	return out
}

// toStatus makes the status of a failed call: a code, one ErrorInfo, and the details that belong to the code. What is
// not the caller's business (INTERNAL, DATA_LOSS) is left out; the access log has it.
func toStatus(err error) *status.Status {
	var (
		bad      *engine.InvalidError
		missing  *engine.NotFoundError
		exists   *engine.AlreadyExistsError
		limit    *engine.LimitError
		busy     *engine.BusyError
		revision *engine.RevisionMismatchError
		tooLarge *responseTooLargeError
		lowSpace *engine.LowSpaceError
		memory   *engine.MemoryLimitError
		nobody   *auth.UnauthenticatedError
		denied   *auth.DeniedError
		limited  *admission.RateLimitedError
		overload *admission.OverloadedError
	)
	switch {
	case errors.As(err, &bad) && len(bad.Violations) > 0:
		return invalidStatus(bad)
	case errors.As(err, &missing):
		return notFoundStatus(missing)
	case errors.As(err, &exists):
		return build(codes.AlreadyExists, exists.Error(), reasonCollectionExists, map[string]string{"collection": clip(exists.Name)},
			&errdetails.ResourceInfo{ResourceType: typeCollection, ResourceName: clip(exists.Name)})
	case errors.As(err, &limit):
		reason := reasonCollectionFull
		switch limit.Resource {
		case "collections":
			reason = reasonTooManyCollections
		case "aliases":
			reason = reasonTooManyAliases
		}
		return build(codes.ResourceExhausted, limit.Error(), reason, map[string]string{"limit": strconv.Itoa(limit.Limit)})
	case errors.As(err, &tooLarge):
		return build(codes.ResourceExhausted, tooLarge.Error(), reasonResponseTooLarge, map[string]string{"limit": strconv.Itoa(tooLarge.limit)})
	case errors.As(err, &lowSpace): // the path of the data directory is not the caller's business
		return build(codes.ResourceExhausted, "the volume of the data directory is nearly full: writes are refused, reads go on", reasonDiskFull,
			map[string]string{"available_bytes": strconv.FormatUint(lowSpace.AvailBytes, 10), "low_water_bytes": strconv.FormatUint(lowSpace.LowWaterBytes, 10)})
	case errors.As(err, &memory):
		return build(codes.ResourceExhausted, memory.Error(), reasonMemoryLimit, map[string]string{"need_bytes": strconv.FormatUint(memory.NeedBytes, 10),
			"used_bytes": strconv.FormatUint(memory.UsedBytes, 10), "limit_bytes": strconv.FormatUint(memory.LimitBytes, 10)})
	case errors.As(err, &busy):
		return build(codes.Aborted, busy.Error(), reasonAlreadyRunning, map[string]string{"operation": busy.Operation})
	case errors.As(err, &revision):
		key := "item_id"
		if revision.Kind == "user" {
			key = "user_id"
		}
		return build(codes.Aborted, revision.Error(), reasonRevisionMismatch, map[string]string{key: clip(revision.Name),
			"if_revision": strconv.FormatUint(uint64(revision.Want), 10), "current_revision": strconv.FormatUint(uint64(revision.Current), 10)})
	case errors.As(err, &nobody):
		return build(codes.Unauthenticated, nobody.Error(), reasonUnauthenticated, nil)
	case errors.As(err, &denied):
		return build(codes.PermissionDenied, denied.Error(), reasonPermissionDenied, map[string]string{"role": denied.Role.String(), "collection": clip(denied.Collection)})
	case errors.As(err, &limited):
		return build(codes.ResourceExhausted, limited.Error(), reasonRateLimited, map[string]string{"limit": fmt.Sprint(limited.Rate)},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(limited.Wait)})
	case errors.As(err, &overload):
		return build(codes.Unavailable, overload.Error(), reasonOverloaded, map[string]string{"why": overload.Why},
			&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})
	case errors.Is(err, engine.ErrClosed):
		return build(codes.Unavailable, "the server is stopping", reasonNotServing, nil,
			&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)})
	case errors.Is(err, context.DeadlineExceeded):
		return build(codes.DeadlineExceeded, "the deadline passed before the answer was ready", reasonDeadlineExceeded, nil)
	case errors.Is(err, context.Canceled):
		return build(codes.Canceled, "the call was cancelled", reasonCancelled, nil)
	case engine.IsCorruption(err):
		return build(codes.DataLoss, "stored data does not match its checksum: run `segue check` on the data directory", reasonDataCorrupted, nil)
	}
	if st := preconditionStatus(err); st != nil {
		return st
	}
	if st, ok := status.FromError(err); ok {
		return st // made by the gRPC library's own services
	}
	return build(codes.Internal, "internal error: see the server's log", reasonInternal, nil)
}

// preconditionStatus makes FAILED_PRECONDITION of the errors of imports and releases, or returns nil.
func preconditionStatus(err error) *status.Status {
	var (
		model     *engine.ModelMismatchError
		state     *engine.StateError
		sequence  *engine.SequenceError
		condition *engine.ConditionError
	)
	switch {
	case errors.Is(err, errNoBackupTarget):
		return build(codes.FailedPrecondition, errNoBackupTarget.Error(), reasonNoBackupTarget, nil)
	case errors.As(err, &model):
		return build(codes.FailedPrecondition, model.Error(), reasonModelMismatch, map[string]string{
			"published": clip(model.Want.String()), "declared": clip(model.Got.String())})
	case errors.As(err, &state):
		return build(codes.FailedPrecondition, state.Error(), reasonWrongState, map[string]string{"state": string(state.State)})
	case errors.As(err, &sequence):
		return build(codes.FailedPrecondition, sequence.Error(), reasonOutOfSequence, map[string]string{
			"expected": strconv.FormatUint(sequence.Want, 10)})
	case errors.As(err, &condition):
		pf := &errdetails.PreconditionFailure{}
		for _, v := range condition.Violations {
			pf.Violations = append(pf.Violations, &errdetails.PreconditionFailure_Violation{
				Type: reasonConditionNotMet, Subject: fmt.Sprintf("releases/%d", condition.Release), Description: cut(v, maxMessageBytes)})
		}
		return build(codes.FailedPrecondition, condition.Error(), reasonConditionNotMet, nil, pf)
	}
	return nil
}

func notFoundStatus(e *engine.NotFoundError) *status.Status {
	reason, kind, key := reasonCollectionNotFound, typeCollection, "collection"
	switch e.Kind {
	case "item":
		reason, kind, key = reasonItemNotFound, typeItem, "item_id"
	case "user":
		reason, kind, key = reasonUserNotFound, typeProfile, "user_id"
	case "import":
		reason, kind, key = reasonImportNotFound, typeImport, "job_id"
	case "release":
		reason, kind, key = reasonReleaseNotFound, typeRelease, "release"
	case "alias":
		reason, kind, key = reasonAliasNotFound, typeAlias, "alias"
	}
	name := clip(e.Name)
	return build(codes.NotFound, fmt.Sprintf("%s %q not found", e.Kind, name), reason, map[string]string{key: name},
		&errdetails.ResourceInfo{ResourceType: kind, ResourceName: name})
}

// invalidStatus lists the violations, as many as fit maxViolationBytes.
func invalidStatus(e *engine.InvalidError) *status.Status {
	br := &errdetails.BadRequest{}
	size := 0
	for _, v := range e.Violations {
		fv := &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Rule, Reason: string(v.Reason)}
		size += proto.Size(fv) + 4
		if size > maxViolationBytes && len(br.FieldViolations) > 0 {
			break
		}
		br.FieldViolations = append(br.FieldViolations, fv)
	}
	return build(codes.InvalidArgument, e.Error(), string(e.Violations[0].Reason), map[string]string{
		"field":           e.Violations[0].Field,
		"violation_count": strconv.Itoa(len(e.Violations)),
	}, br)
}

func build(code codes.Code, message, reason string, metadata map[string]string, details ...protoadapt.MessageV1) *status.Status {
	st := status.New(code, cut(message, maxMessageBytes))
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: metadata}
	with, err := st.WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		return st // only where a string is not UTF-8; a status without details beats none
	}
	return with
}

// clip shortens a name that an error repeats.
func clip(s string) string { return cut(s, maxNameBytes) }

// cut shortens s to about n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
