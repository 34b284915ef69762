package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// importJob writes rows of files to one collection of a server.
type importJob struct {
	env        *environment
	client     *client.Client
	collection *seguev1.Collection
	// only names the fields that become attributes; nil means all.
	only    []string
	options client.UpsertOptions
}

// items imports rows as items. total is their number for the progress, -1 where unknown. The report is
// right also where an error ended the import early.
func (j *importJob) items(ctx context.Context, f rowFiles, total int64) (importReport, error) {
	convert := newRowConverter(j.collection.GetAttributes(), j.only).item
	return importRows(ctx, j, f, "items", total, convert, j.client.UpsertItems)
}

// profiles imports rows as user profiles.
func (j *importJob) profiles(ctx context.Context, f rowFiles, total int64) (importReport, error) {
	return importRows(ctx, j, f, "profiles", total, newRowConverter(nil, nil).profile, j.client.UpsertProfiles)
}

// importRows reads, converts and uploads; reading goes on while the server works.
func importRows[T proto.Message](
	ctx context.Context, j *importJob, f rowFiles, label string, total int64,
	convert func(dataset.Record, []float32) (T, *rowError),
	upsert func(context.Context, string, iter.Seq2[T, error], client.UpsertOptions) (client.UpsertResult, error),
) (importReport, error) {
	ledger := newLedger(newProgress(ctx, j.env, label, total))
	o := j.options
	o.OnReject, o.OnProgress = ledger.refuse, ledger.update
	_, err := upsert(ctx, j.collection.GetName(), converted(ctx, f, convert, ledger), o)
	return ledger.close(), err
}

// fits checks that a matrix of f, if there is one, has the collection's dimension dim.
func (j *importJob) fits(f rowFiles, dim int) error {
	if want := int(j.collection.GetDimension()); f.vectors != "" && dim != want {
		return &dimensionError{f.vectors, dim, j.collection.GetName(), want}
	}
	return nil
}

// dimensionError says that a matrix does not fit a collection.
type dimensionError struct {
	file       string
	got        int
	collection string
	want       int
}

func (e *dimensionError) Error() string {
	return fmt.Sprintf("%s has vectors of dimension %d, collection %q of dimension %d", e.file, e.got, e.collection, e.want)
}

// ensureCollection creates a collection, or takes the one of that name if it fits.
func ensureCollection(ctx context.Context, c *client.Client, want *seguev1.Collection) (*seguev1.Collection, error) {
	made, err := c.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{Collection: want})
	if err == nil {
		return made.GetCollection(), nil
	}
	if status.Code(err) != codes.AlreadyExists {
		return nil, err
	}
	got, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: want.GetName()})
	if err != nil {
		return nil, err
	}
	have := got.GetCollection()
	if have.GetDimension() != want.GetDimension() || have.GetMetric() != want.GetMetric() {
		return nil, errors.New("collection " + want.GetName() + " exists already, with " + fmt.Sprintf(
			"dimension %d and metric %s instead of %d and %s", have.GetDimension(), metricName(have.GetMetric()),
			want.GetDimension(), metricName(want.GetMetric())))
	}
	return have, nil
}
