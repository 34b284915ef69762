package client

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// UpsertOptions tune an upload. The zero value is meant for bulk loading over a local network.
type UpsertOptions struct {
	// BatchRows is how many rows one call carries at most: 1 to 10,000. 0 means 256.
	BatchRows int

	// BatchBytes is how many encoded bytes one call carries at most; a row larger than that travels
	// alone. 0 means 1 MiB. Keep it below the server's message limit (16 MiB by default).
	BatchBytes int

	// InFlight is how many calls are under way at once at most: 1 to 64. 0 means 4.
	InFlight int

	// Patience is how long one batch waits for a server that is UNAVAILABLE or unreachable, and for its
	// answer, before the upload gives up. 0 means 60 seconds.
	Patience time.Duration

	// OnProgress is told the running totals after every batch. May be nil. It and OnReject are called
	// by one goroutine at a time, as is OnMissing, and should return soon.
	OnProgress func(UpsertResult)

	// OnReject is told every row that the server refuses. May be nil.
	OnReject func(Reject)

	// OnMissing is told the id of every attribute update of an item that does not exist. May be nil.
	OnMissing func(id string)
}

// Defaults and bounds of UpsertOptions.
const (
	defaultBatchRows  = 256
	maxBatchRows      = 10_000 // of the API
	defaultBatchBytes = 1 << 20
	defaultInFlight   = 4
	maxInFlight       = 64
	defaultPatience   = time.Minute
)

func (o *UpsertOptions) ensureDefaults() {
	if o.BatchRows == 0 {
		o.BatchRows = defaultBatchRows
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = defaultBatchBytes
	}
	if o.InFlight == 0 {
		o.InFlight = defaultInFlight
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
}

// Validate reports every option that is out of range, as one error that wraps [ErrOptions]. Zero values
// are in range: they mean the defaults.
func (o UpsertOptions) Validate() error {
	o.ensureDefaults()
	var bad string
	check := func(name string, v, low, high int) {
		if v < low || v > high {
			bad += fmt.Sprintf("; %s is %d, must be between %d and %d", name, v, low, high)
		}
	}
	check("BatchRows", o.BatchRows, 1, maxBatchRows)
	check("BatchBytes", o.BatchBytes, 1, 1<<30)
	check("InFlight", o.InFlight, 1, maxInFlight)
	if o.Patience < 0 {
		bad += fmt.Sprintf("; Patience is %v, must not be negative", o.Patience)
	}
	if bad == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOptions, bad[2:])
}

// Reject is a row that the server refused. It was not written; the rows around it were.
type Reject struct {
	// Row is the row's position in the uploaded sequence, from 0.
	Row int64
	// ID is the row's item or user id, which may be what is wrong with it.
	ID string
	// Violations are the broken rules, at least one. Fields are paths below the row: "vector", "id".
	Violations []Violation
}

// UpsertResult counts what an upload did.
type UpsertResult struct {
	// Written is the number of rows the server acknowledged: they are durable and visible.
	Written int64
	// Rejected is the number of rows the server refused.
	Rejected int64
	// Missing is the number of updates of items that do not exist.
	Missing int64
	// Revision is the highest revision of any batch: a search with it as min_revision sees all of them.
	Revision int64
}

// UpsertItems writes items to a collection in batches, several at once.
//
// The outcome is as if the items were written one after the other: where an id comes twice, the later
// item wins. A row that the server refuses (INVALID_ARGUMENT naming items[i], or too large to be received)
// is reported as a [Reject] and the rest of its batch is written. Batches that meet UNAVAILABLE are
// repeated under the same request_id.
//
// An error of the sequence, any other error of the server, and the end of ctx stop the upload; what was
// acknowledged until then stays written and is counted in the result. Items must not be changed before
// UpsertItems returns. It holds at most (InFlight + 1) batches in memory.
func (c *Client) UpsertItems(
	ctx context.Context, collection string, items iter.Seq2[*seguev1.Item, error], o UpsertOptions,
) (UpsertResult, error) {
	return upload(ctx, uploader[*seguev1.Item]{
		field: "items",
		id:    (*seguev1.Item).GetId,
		send: func(ctx context.Context, request string, rows []*seguev1.Item) (written, error) {
			answer, err := c.Items.BatchUpsertItems(ctx,
				&seguev1.BatchUpsertItemsRequest{Collection: collection, Items: rows, RequestId: request}, grpc.WaitForReady(true))
			return written{revision: answer.GetRevision()}, err
		},
	}, items, o)
}

// UpsertProfiles writes user profiles to a collection as [Client.UpsertItems] writes items.
func (c *Client) UpsertProfiles(
	ctx context.Context, collection string, profiles iter.Seq2[*seguev1.Profile, error], o UpsertOptions,
) (UpsertResult, error) {
	return upload(ctx, uploader[*seguev1.Profile]{
		field: "profiles",
		id:    (*seguev1.Profile).GetUserId,
		send: func(ctx context.Context, request string, rows []*seguev1.Profile) (written, error) {
			answer, err := c.Profiles.BatchUpsertProfiles(ctx,
				&seguev1.BatchUpsertProfilesRequest{Collection: collection, Profiles: rows, RequestId: request}, grpc.WaitForReady(true))
			return written{revision: answer.GetRevision()}, err
		},
	}, profiles, o)
}

// UpdateItemAttributes changes attributes of items of a collection in batches, as [Client.UpsertItems] writes items. Updates of items
// that do not exist are counted as Missing, not as Written.
func (c *Client) UpdateItemAttributes(
	ctx context.Context, collection string, updates iter.Seq2[*seguev1.AttributesUpdate, error], o UpsertOptions,
) (UpsertResult, error) {
	return upload(ctx, uploader[*seguev1.AttributesUpdate]{
		field: "updates",
		id:    (*seguev1.AttributesUpdate).GetItemId,
		send: func(ctx context.Context, request string, rows []*seguev1.AttributesUpdate) (written, error) {
			answer, err := c.Items.BatchUpdateItemAttributes(ctx,
				&seguev1.BatchUpdateItemAttributesRequest{Collection: collection, Updates: rows, RequestId: request}, grpc.WaitForReady(true))
			return written{answer.GetRevision(), answer.GetMissingIds()}, err
		},
	}, updates, o)
}
