package loadtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// importedRows is how many rows each import of the scenario During has: enough that a server builds for seconds.
const importedRows = 50_000

// importer runs one import after the other beside a load, each into a release that is built and then deleted. Nothing is published, so the
// collection stays as it is.
type importer struct {
	client     *client.Client
	collection string
	items      []*seguev1.Item // with vectors

	stop context.CancelFunc
	done chan struct{}
	err  error // when done is closed
	rows int   // built, when done is closed
}

func startImporter(c *client.Client, collection string, items []*seguev1.Item) *importer {
	ctx, stop := context.WithCancel(context.Background())
	i := &importer{client: c, collection: collection, items: items, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(i.done)
		for ctx.Err() == nil && i.err == nil {
			if err := patiently(ctx, func() error { return i.once(ctx) }); err != nil && ctx.Err() == nil {
				i.err = fmt.Errorf("the import beside the load: %w", err)
			}
		}
	}()
	return i
}

// close ends the import under way, and returns why imports ended before.
func (i *importer) close() error {
	i.stop()
	<-i.done
	return i.err
}

// patiently repeats what the server has no time for, until ctx ends: imports give way to queries.
func patiently(ctx context.Context, call func() error) error {
	for {
		err := call()
		if status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-time.After(buildWait):
		case <-ctx.Done():
			return err
		}
	}
}

// once imports, builds and deletes one release.
func (i *importer) once(ctx context.Context) error {
	job := fmt.Sprintf("loadtest-%d", time.Now().UnixNano())
	started, err := i.client.Imports.StartImport(ctx, &seguev1.StartImportRequest{Collection: i.collection, JobId: job, ExpectedItemCount: importedRows})
	if err != nil {
		return err
	}
	err = i.build(ctx, job)
	// Whatever happened, nothing is left behind.
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err == nil {
		return patiently(clean, func() error {
			_, err := i.client.Releases.DeleteRelease(clean, &seguev1.DeleteReleaseRequest{Collection: i.collection, Release: started.GetImport().GetRelease()})
			return err
		})
	}
	failed := patiently(clean, func() error {
		_, err := i.client.Imports.CancelImport(clean, &seguev1.CancelImportRequest{Collection: i.collection, JobId: job})
		return err
	})
	if failed != nil && status.Code(failed) != codes.NotFound {
		return errors.Join(failed, err)
	}
	return err
}

// buildWait is how often a build is asked whether it has ended.
const buildWait = 100 * time.Millisecond

func (i *importer) build(ctx context.Context, job string) error {
	if err := i.client.WriteImport(ctx, i.collection, job, i.importRows(), client.WriteImportOptions{}); err != nil {
		return err
	}
	commit := func() error {
		_, err := i.client.Imports.CommitImport(ctx, &seguev1.CommitImportRequest{Collection: i.collection, JobId: job})
		return err
	}
	if err := patiently(ctx, commit); err != nil {
		return err
	}
	tick := time.NewTicker(buildWait)
	defer tick.Stop()
	for {
		var got *seguev1.GetImportResponse
		err := patiently(ctx, func() (err error) {
			got, err = i.client.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: i.collection, JobId: job})
			return err
		})
		if err != nil {
			return err
		}
		switch im := got.GetImport(); {
		case im.GetError() != "":
			return errors.New(im.GetError())
		case im.GetState() != seguev1.ReleaseState_RELEASE_STATE_BUILDING:
			i.rows += int(im.GetAcceptedCount())
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// importRows repeats the items under new ids.
func (i *importer) importRows() iter.Seq2[client.ImportRow, error] {
	return func(yield func(client.ImportRow, error) bool) {
		for n := range importedRows {
			it := proto.CloneOf(i.items[n%len(i.items)])
			it.Id = fmt.Sprintf("loadtest-%d", n)
			if !yield(client.ImportRow{Item: it}, nil) {
				return
			}
		}
	}
}
