package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

const buildHelp = `Build makes a release file out of items and profiles, graph included, on a machine of its own: with all of its
cores, and without a server. segue import --release FILE sends it to a server, which then has no graph to build. The files
that it reads are those of segue import.

With --collection the configuration is that of a collection of the server at --addr; else the flags --metric, --m and
their kin give it, and the collection that imports the file must have been created with the same (or --create makes
it so). With --job too the import is begun there at once: what is written to the collection from then on is newer
than what the file holds, and wins. Without, that holds from the moment the file is imported.

It builds in a directory beside FILE, which is removed at the end and takes about twice the room of the file.

Exit code 3, and no file, if more rows were rejected than --max-rejects allows.`

// buildFlags are the flags of `segue build`.
type buildFlags struct {
	importFlags

	file    string
	scratch string
}

// Names in the store in which a release is built.
const (
	buildCollection = "release"
	buildJob        = "build"
)

func newBuildCommand(env *environment) *cobra.Command {
	var f buildFlags
	c := &cobra.Command{
		Use:   "build --out FILE --items FILE [--vectors FILE] [--profiles FILE]",
		Short: "Build a release, graph included, into a file",
		Long:  buildHelp,
		Example: "  segue build --out release.segue --addr prod:7070 --collection tracks --job 2026-11-27 --items tracks.parquet\n" +
			"  segue import --release release.segue --addr prod:7070 --collection tracks --job 2026-11-27 --publish",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.validate(cmd); err != nil {
				return err
			}
			return f.run(cmd.Context(), env)
		},
	}
	f.addFiles(c)
	f.collection.add(c)
	f.remote.flags(c, 0)
	flags := c.Flags()
	flags.StringVar(&f.file, "out", "", "`FILE` to write")
	flags.StringVar(&f.scratch, "scratch", "", "`DIR` to build in (default: that of --out)")
	flags.StringVar(&f.name, "collection", "", "`NAME` of the collection of the server at --addr that the release is for")
	flags.StringVar(&f.job, "job", "", "begin the import `ID` (a date) at the server: writes from now on win")
	if err := c.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag was added above
	}
	return c
}

func (f *buildFlags) validate(cmd *cobra.Command) error {
	if err := f.validateFiles(); err != nil {
		return err
	}
	if f.name == "" {
		if f.job != "" {
			return usagef("--job is of a server's collection: it needs --collection")
		}
		if f.collection.metric.metric == 0 {
			return usagef("give --metric, or --collection of a server to build for")
		}
		return nil
	}
	for _, name := range describing() {
		if cmd.Flags().Changed(name) {
			return usagef("--%s describes a collection, and --collection names one that has its own", name)
		}
	}
	return nil
}

// run builds in a server of its own, over the same calls as any import, and writes what comes out.
func (f *buildFlags) run(ctx context.Context, env *environment) (err error) {
	began := time.Now()
	collection, err := f.like(ctx)
	if err != nil {
		return err
	}
	dir := f.scratch
	if dir == "" {
		dir = filepath.Dir(f.file)
	}
	if dir, err = os.MkdirTemp(dir, ".segue-build-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := startServer(ctx, serveOptions{data: filepath.Join(dir, "store"), listen: "127.0.0.1:0", shutdownTimeout: 10 * time.Second, log: newLogger(env, slog.LevelWarn)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c, err := client.Dial(s.addr(), client.Options{AllowPlaintext: true, UserAgent: "segue-build"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	im := &f.importFlags // what it said of the server was used
	im.name, im.job, im.create = buildCollection, buildJob, collection == nil
	if collection != nil {
		if _, err := c.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{Collection: collection}); err != nil {
			return err
		}
	}
	if err := im.run(ctx, env, c); err != nil {
		return err
	}
	got, err := c.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: buildCollection, JobId: buildJob})
	if err != nil {
		return err
	}
	size, err := exportTo(ctx, c, f.file, buildCollection, got.GetImport().GetRelease())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "built %s: %s items, %s bytes, %.1f s\n", f.file, thousands(got.GetImport().GetBuiltCount()), thousands(size), time.Since(began).Seconds())
	return err
}

// like returns the configuration of the server's collection, nil where none is named, and begins the job there.
func (f *buildFlags) like(ctx context.Context) (collection *seguev1.Collection, err error) {
	if f.name == "" {
		return nil, nil
	}
	return collection, f.remote.call(ctx, func(ctx context.Context, c *client.Client) error {
		got, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: f.name})
		if err != nil {
			return err
		}
		m := got.GetCollection()
		model := f.model()
		if model == nil {
			model = m.GetEmbeddingModel()
		}
		collection = &seguev1.Collection{Name: buildCollection, Dimension: m.GetDimension(), Metric: m.GetMetric(), Attributes: m.GetAttributes(),
			EmbeddingModel: model, IndexConfig: m.GetIndexConfig()}
		if f.job == "" {
			return nil
		}
		_, err = c.Imports.StartImport(ctx, &seguev1.StartImportRequest{Collection: f.name, JobId: f.job, EmbeddingModel: model})
		return unfinished(ctx, c, f.name, err)
	})
}

func newReleaseExportCommand(env *environment) *cobra.Command {
	var r remote
	var path string
	var release uint32
	c := &cobra.Command{
		Use:   "export COLLECTION --out FILE",
		Short: "Write a release, graph included, to a file that segue import --release takes",
		Long: "Export writes the published release, or another one that is ready or retired, to a release file: for another server\n" +
			"to have it without building its graph. It fails where the release is written to meanwhile.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				size, err := exportTo(ctx, c, path, args[0], release)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "exported %s to %s, %s bytes\n", args[0], path, thousands(size))
				return err
			})
		},
	}
	r.flags(c, 0)
	c.Flags().StringVar(&path, "out", "", "`FILE` to write")
	c.Flags().Uint32Var(&release, "release", 0, "`NUMBER` of the release (default the published one)")
	if err := c.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag was added above
	}
	return c
}

// exportTo writes a release to a file, which is there whole or not at all.
func exportTo(ctx context.Context, c *client.Client, path, collection string, release uint32) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if _, err := c.ExportRelease(ctx, collection, release, file); err != nil {
		return 0, errors.Join(err, file.Close())
	}
	size, err = file.Seek(0, io.SeekEnd)
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(file.Name(), path)
}

// sendRelease sends a release file as an import job, and publishes it where that is asked for.
func (f *importFlags) sendRelease(ctx context.Context, env *environment, c *client.Client) error {
	file, err := os.Open(f.release)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.create {
		head, _, err := client.CheckRelease(file)
		if err != nil {
			return fmt.Errorf("%s: %w", f.release, err)
		}
		want := proto.CloneOf(head.GetCollection())
		want.Name, want.EmbeddingModel = f.name, head.GetEmbeddingModel()
		if _, err := ensureCollection(ctx, c, want); err != nil {
			return err
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	shown := newProgress(ctx, env, "bytes", info.Size())
	_, err = c.ImportRelease(ctx, f.name, f.job, file, client.ImportReleaseOptions{OnProgress: func(_, bytes int64) { shown.set(bytes, 0) }})
	shown.finish()
	if bad := new(client.ReleaseFileError); errors.As(err, &bad) {
		return fmt.Errorf("%s: %w", f.release, err)
	}
	if err != nil {
		return unfinished(ctx, c, f.name, err)
	}
	job := &importJob{env: env, client: c}
	return job.finish(ctx, f, 0)
}
