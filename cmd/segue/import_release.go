package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// buildPoll is how often an import that builds is asked how far it is.
const buildPoll = time.Second

// release imports rows into a release of their own, known by a job id, and publishes it where that is asked for. A job that
// is finished is left as it is; one that is half done goes on.
func (j *importJob) release(ctx context.Context, f *importFlags, itemRows, profileRows int64) error {
	started, err := j.client.Imports.StartImport(ctx, &seguev1.StartImportRequest{Collection: f.name, JobId: f.job,
		ExpectedItemCount: max(itemRows, 0), EmbeddingModel: f.model()})
	if err != nil {
		return unfinished(ctx, j.client, f.name, err)
	}
	im := started.GetImport()
	var faults int64
	if im.GetState() == seguev1.ReleaseState_RELEASE_STATE_IMPORTING {
		if faults, err = j.stream(ctx, f, f.totalRows(itemRows, profileRows)); err != nil {
			return err
		}
		if faults > f.maxRejects {
			return &badDataError{fmt.Sprintf("%s rows of the files are bad; the import %q is not committed", thousands(faults), f.job)}
		}
	}
	return j.finish(ctx, f, faults)
}

// unfinished adds to the refusal of an import beside one that is unfinished which that is, and the two ways on.
func unfinished(ctx context.Context, c *client.Client, collection string, err error) error {
	if client.Reason(err) != "ALREADY_RUNNING" {
		return err
	}
	answer, failed := c.Releases.ListReleases(ctx, &seguev1.ListReleasesRequest{Collection: collection})
	if failed != nil {
		return err // it names the job
	}
	for _, r := range answer.GetReleases() {
		switch r.GetState() {
		case seguev1.ReleaseState_RELEASE_STATE_IMPORTING, seguev1.ReleaseState_RELEASE_STATE_BUILDING:
			return fmt.Errorf("%w\n       finish it: run its import again with --job %q; or give it up: segue release delete %s %d",
				err, r.GetJobId(), collection, r.GetId())
		}
	}
	return err
}

// totalRows is how many rows all files have together, -1 where one does not say.
func (f *importFlags) totalRows(items, profiles int64) (total int64) {
	for _, part := range []struct {
		files rowFiles
		rows  int64
	}{{f.items, items}, {f.profiles, profiles}} {
		switch {
		case part.files.lines == "":
		case part.rows < 0:
			return -1
		default:
			total += part.rows
		}
	}
	return total
}

// finish commits a job whose rows all came, and goes on with it.
func (j *importJob) finish(ctx context.Context, f *importFlags, faults int64) error {
	// One that was committed before is left as it is.
	if _, err := j.client.Imports.CommitImport(ctx, &seguev1.CommitImportRequest{Collection: f.name, JobId: f.job}); err != nil {
		return err
	}
	im, err := j.built(ctx, f)
	if err != nil {
		return err
	}
	if im.GetGraphRefused() != "" {
		fmt.Fprintf(j.env.stderr, "segue: the graph of the file was not taken, one was built: %s\n", im.GetGraphRefused())
	}
	fmt.Fprintf(j.env.stdout, "import %s: release %d of %s is %s, %s rows, %s rejected, %s duplicates\n", f.job, im.GetRelease(), f.name,
		releaseStateName(im.GetState()), thousands(im.GetAcceptedCount()), thousands(im.GetRejectedCount()+faults), thousands(im.GetDuplicateCount()))
	if im.GetRejectedCount()+faults > f.maxRejects {
		return &badDataError{fmt.Sprintf("%s rows were rejected; release %d is not published", thousands(im.GetRejectedCount()+faults), im.GetRelease())}
	}
	if !f.publish || im.GetState() != seguev1.ReleaseState_RELEASE_STATE_READY {
		return nil
	}
	return f.conditions.publish(ctx, j.env, j.client, f.name, im.GetRelease())
}

// model is what --embedding-model and --embedding-version say.
func (f *importFlags) model() *seguev1.EmbeddingModel {
	if f.modelName == "" && f.modelVersion == "" {
		return nil
	}
	return &seguev1.EmbeddingModel{Name: f.modelName, Version: f.modelVersion}
}

// stream sends the rows of the files. It returns how many of them could not even be converted.
func (j *importJob) stream(ctx context.Context, f *importFlags, total int64) (faults int64, err error) {
	ledger := newLedger(newProgress(ctx, j.env, "rows", total))
	rows := func(yield func(client.ImportRow, error) bool) {
		items := converted(ctx, f.items, newRowConverter(j.collection.GetAttributes(), j.only).item, ledger)
		for m, err := range items {
			if !yield(client.ImportRow{Item: m}, err) || err != nil {
				return
			}
		}
		for m, err := range converted(ctx, f.profiles, newRowConverter(nil, nil).profile, ledger) {
			if !yield(client.ImportRow{Profile: m}, err) || err != nil {
				return
			}
		}
	}
	o := client.WriteImportOptions{OnProgress: func(n int64) { ledger.update(client.UpsertResult{Written: n}) }}
	err = j.client.WriteImport(ctx, f.name, f.job, rows, o)
	return ledger.close().Rejected, err
}

// converted yields the rows of files as messages; those that cannot be converted go to the ledger.
func converted[T proto.Message](ctx context.Context, f rowFiles, convert func(dataset.Record, []float32) (T, *rowError), l *ledger) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if f.lines == "" {
			return
		}
		err := f.each(func(r row) (bool, error) {
			if r.bad == nil {
				message, bad := convert(r.record, r.vector)
				if bad == nil {
					return yield(message, nil), nil
				}
				r.bad = bad
			}
			l.fault(r, r.bad)
			return true, ctx.Err()
		})
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// built waits until the release of a job is built, and shows how far it is.
func (j *importJob) built(ctx context.Context, f *importFlags) (*seguev1.Import, error) {
	tick := time.NewTicker(buildPoll)
	defer tick.Stop()
	var shown progress
	for {
		got, err := j.client.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: f.name, JobId: f.job})
		im := got.GetImport()
		if err == nil && im.GetError() != "" {
			err = fmt.Errorf("import %q: %s", f.job, im.GetError())
		}
		building := err == nil && im.GetState() == seguev1.ReleaseState_RELEASE_STATE_BUILDING
		if building && shown == nil {
			total := im.GetTotalCount()
			if total == 0 {
				total = -1
			}
			shown = newProgress(ctx, j.env, "built", total)
		}
		if shown != nil && err == nil {
			shown.set(im.GetBuiltCount(), 0)
		}
		if !building {
			if shown != nil {
				shown.finish()
			}
			return im, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
