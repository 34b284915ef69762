package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// ExportRelease writes a release (0 means the published one) to w as a release file, its graph included, and returns what it
// is. Until it returns nil what w has is no whole file.
func (c *Client) ExportRelease(ctx context.Context, collection string, release uint32, w io.Writer) (*seguev1.ReleaseHead, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also of a stream that is not read to its end
	stream, err := c.Releases.ExportRelease(ctx, &seguev1.ExportReleaseRequest{Collection: collection, Release: release})
	if err != nil {
		return nil, err
	}
	var (
		head *seguev1.ReleaseHead
		file *releaseWriter
	)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) && file != nil {
			return head, file.end()
		}
		if err != nil {
			return nil, err
		}
		switch {
		case m.GetHead() != nil && file == nil:
			head = m.GetHead()
			file, err = newReleaseWriter(w, head)
		case m.GetBatch() != nil && file != nil:
			err = file.batch(m.GetBatch())
		default:
			err = errors.New("the export does not begin with a head, or has two")
		}
		if err != nil {
			return nil, fmt.Errorf("write release file: %w", err)
		}
	}
}

// CheckRelease reads a release file through. Errors: *ReleaseFileError.
func CheckRelease(r io.Reader) (*seguev1.ReleaseHead, ReleaseSummary, error) {
	x, err := NewReleaseReader(r)
	if err != nil {
		return nil, ReleaseSummary{}, err
	}
	for {
		if _, err := x.Next(); errors.Is(err, io.EOF) {
			return x.Head(), x.Summary(), nil
		} else if err != nil {
			return nil, ReleaseSummary{}, err
		}
	}
}

// ImportReleaseOptions configure ImportRelease. The zero value is usable.
type ImportReleaseOptions struct {
	// Retries is that of WriteImportOptions.
	Retries int
	// OnProgress, where it is set, is called after each batch with the rows and the bytes of the file read so far.
	OnProgress func(rows, bytes int64)
}

// ImportRelease sends a release file as the import job, which it starts or goes on with, and returns once all of it is durable;
// CommitImport is next. The file is read through first, so that a damaged one is refused before anything is sent
// (*ReleaseFileError). A job whose rows all came is left as it is.
func (c *Client) ImportRelease(ctx context.Context, collection, job string, r io.ReadSeeker, o ImportReleaseOptions) (*seguev1.Import, error) {
	head, summary, err := CheckRelease(r)
	if err != nil {
		return nil, err
	}
	started, err := c.Imports.StartImport(ctx, &seguev1.StartImportRequest{Collection: collection, JobId: job,
		EmbeddingModel: head.GetEmbeddingModel(), ExpectedItemCount: summary.Items, Graph: head.GetGraph()})
	if err != nil {
		return nil, err
	}
	im := started.GetImport()
	if im.GetState() != seguev1.ReleaseState_RELEASE_STATE_IMPORTING {
		return im, nil
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	counted := &countingReader{r: r}
	x, err := NewReleaseReader(counted)
	if err != nil {
		return nil, err
	}
	batches := func(yield func(*seguev1.WriteImportRequest, error) bool) {
		for {
			b, err := x.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				b.Collection, b.JobId = collection, job
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
	return im, c.writeBatches(ctx, collection, job, o.Retries, batches, func() {
		if o.OnProgress != nil {
			o.OnProgress(x.Summary().Items+x.Summary().Profiles, counted.n)
		}
	})
}

// countingReader counts what was read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
