package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segue-ann/segue/storage"
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("engine: closed")

// LowSpaceError is the store's refusal of a write that would leave too little space on the volume. Nothing was
// written; reads go on.
type LowSpaceError = storage.LowSpaceError

// CorruptionError names the stored bytes that failed a check.
type CorruptionError = storage.CorruptionError

// IsCorruption reports whether err says that stored bytes failed their check.
func IsCorruption(err error) bool { return storage.IsCorruption(err) }

// NotFoundError says that something named does not exist.
type NotFoundError struct {
	// Kind is "collection", "alias", "item", "user", "import" or "release".
	Kind string
	Name string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q not found", e.Kind, e.Name) }

// AlreadyExistsError says that a collection of that name exists.
type AlreadyExistsError struct{ Name string }

func (e *AlreadyExistsError) Error() string {
	return fmt.Sprintf("collection %q already exists", e.Name)
}

// Reason classifies a violation; the server sends it as ErrorInfo.reason.
type Reason string

// Reasons of violations.
const (
	ReasonRequired           Reason = "FIELD_REQUIRED"
	ReasonOutOfRange         Reason = "OUT_OF_RANGE"
	ReasonTooLong            Reason = "TOO_LONG"
	ReasonInvalidFormat      Reason = "INVALID_FORMAT"
	ReasonDimensionMismatch  Reason = "DIMENSION_MISMATCH"
	ReasonNotFinite          Reason = "VECTOR_NOT_FINITE"
	ReasonZeroVector         Reason = "ZERO_VECTOR"
	ReasonUnknownAttribute   Reason = "UNKNOWN_ATTRIBUTE"
	ReasonAttributeType      Reason = "ATTRIBUTE_TYPE_MISMATCH"
	ReasonDuplicateAttribute Reason = "DUPLICATE_ATTRIBUTE"
	ReasonNotFilterable      Reason = "ATTRIBUTE_NOT_FILTERABLE"
	ReasonRequestIDReused    Reason = "REQUEST_ID_REUSED"
	ReasonGraphMismatch      Reason = "GRAPH_MISMATCH"
)

// Violation is one broken rule of one field.
type Violation struct {
	Reason Reason
	// Field is the path below the call's argument: "items[3].vector", "query.item_id", "k", "config.dim".
	Field string
	// Rule says in words what was expected and what was seen.
	Rule string
}

// InvalidError reports bad input: every broken rule found, at least one, in field order. Nothing was
// written. Of the items of one batch at most MaxViolations violations are listed.
type InvalidError struct{ Violations []Violation }

func (e *InvalidError) Error() string {
	var b strings.Builder
	for i, v := range e.Violations {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", v.Field, v.Rule)
	}
	return b.String()
}

// MaxViolations caps how many violations one InvalidError lists.
const MaxViolations = 32

// RevisionMismatchError says that something is not at the revision under which a write was to be made. Nothing of that write
// was written.
type RevisionMismatchError struct {
	// Kind is "item" or "user".
	Kind, Name string
	// Want is the revision asked for, Current the one it has; 0 where it does not exist.
	Want, Current LSN
}

func (e *RevisionMismatchError) Error() string {
	switch {
	case e.Want == 0:
		return fmt.Sprintf("%s %q must not exist, it is at revision %d", e.Kind, e.Name, e.Current)
	case e.Current == 0:
		return fmt.Sprintf("%s %q must be at revision %d, it does not exist", e.Kind, e.Name, e.Want)
	}
	return fmt.Sprintf("%s %q must be at revision %d, it is at %d", e.Kind, e.Name, e.Want, e.Current)
}

// LimitError says that a resource limit was reached: the collection is full, or there are too many of them.
type LimitError struct {
	// Resource is "slots", "collections" or "aliases".
	Resource string
	Limit    int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("limit of %d %s reached", e.Limit, e.Resource)
}

// BusyError says that the operation is already running (a snapshot of the same collection).
type BusyError struct{ Operation string }

func (e *BusyError) Error() string { return e.Operation + " is already running" }
