package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

const importHelp = `Import writes items and user profiles from files to a collection.

Items are JSON lines (.jsonl, .ndjson), one object a line, with a string field "id". Their embeddings
come from --vectors, a matrix whose row i belongs to line i (.npy of f2, f4, u1 or i4; .fvecs, .bvecs,
.ivecs), or else from a field "vector" of each line. Every file may be compressed (.gz, .zst). All other
fields become attributes:

  string, list of strings     keyword
  whole number                int
  other number                float
  true, false                 bool
  null, []                    no attribute
  RFC 3339 or YYYY-MM-DD      timestamp, where the collection's schema asks for one

Items and profiles may also be Parquet files (.parquet), a row each, with the same names for columns: "id",
a string; "vector", a list of FLOAT, DOUBLE or FLOAT16, or bytes (float32, little endian); others of string, list of
strings, BOOLEAN, INT32, INT64, FLOAT, DOUBLE, DATE or TIMESTAMP (a timestamp also without a schema; times
without a zone are UTC). Columns of other types end the import before it begins, and so
do pages compressed with LZ4.

--id-field and --vector-field say what "id" and "vector" are called in the file of items, --profile-id-field and
--profile-vector-field in that of profiles.

Items may also be a graph that github.com/coder/hnsw v0.6.1 exported (.hnsw): keys of type string or int and their vectors; its
links are not read.

Where the collection has a schema, a field that it does not declare is an error of that row;
--fields chooses the fields to import.

Profiles are JSON lines with "id", the user. Their vectors come from a field "vector" or from
--profile-vectors; without that flag a matrix beside the file is taken by its name: for users.jsonl.gz
the first that exists of users.npy, users.f32.npy, users.f16.npy, users.fvecs (each also .gz, .zst).

Matrices and lines must have equally many rows, which is checked before anything is written. A row
that is refused is listed with its number (from 0) and the reason; the others are written. Importing
again replaces items by id, so an interrupted import can simply be repeated.

With --release the rows come from a release file, which segue build made, together with the graph over them: the server
takes that where it was built with the collection's configuration over just these rows, and has none to build.

With --job the rows fill a new release while the published one serves undisturbed; --publish makes it serve once it is
built and meets the conditions (--min-recall and its kin). The job is known by its id: running it again goes on where
it was interrupted, and does nothing once it is finished. While it is unfinished no other job of the collection begins;
segue release delete gives it up. See segue release.

Exit code 3 if more rows were rejected than --max-rejects allows.`

// importFlags are the flags of `segue import`.
type importFlags struct {
	remote         remote
	create         bool
	collection     collectionFlags
	name           string
	items          rowFiles
	profiles       rowFiles
	only           []string
	batch          int
	inFlight       int
	maxRejects     int64
	out            format
	profileVectors string

	release      string // a release file
	job          string
	publish      bool
	conditions   conditionFlags
	modelName    string
	modelVersion string
}

func newImportCommand(env *environment) *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import --collection NAME --items FILE [--vectors FILE] [--profiles FILE]",
		Short: "Write items and profiles from files",
		Long:  importHelp,
		Example: "  segue import --collection tracks --create --metric cosine --items tracks.jsonl.zst --vectors tracks.f16.npy.zst\n" +
			"  segue import --collection tracks --profiles playlists.jsonl.zst --profile-vectors playlists.f32.npy.zst",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.validate(cmd); err != nil {
				return err
			}
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return f.run(ctx, env, c)
			})
		},
	}
	f.addFiles(c)
	flags := c.Flags()
	flags.StringVar(&f.name, "collection", "", "`NAME` of the collection to write to")
	flags.BoolVar(&f.create, "create", false, "create the collection if it does not exist; needs --metric, or --release, which has it")
	flags.StringVar(&f.release, "release", "", "release `FILE` of segue build, in place of --items and --profiles; needs --job")
	flags.StringVar(&f.job, "job", "", "fill a new release beside the one that serves, known by this `ID` (a date)")
	flags.BoolVar(&f.publish, "publish", false, "publish the release of --job once it is built, if it meets the conditions")
	f.conditions.add(c)
	f.collection.add(c)
	f.remote.flags(c, 0)
	f.out.flag(c)
	if err := c.MarkFlagRequired("collection"); err != nil {
		panic(err) // the flag was added above
	}
	return c
}

// addFiles adds the flags that say what is read, and how.
func (f *importFlags) addFiles(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.items.lines, "items", "", "JSON lines or Parquet file of items")
	flags.StringVar(&f.items.vectors, "vectors", "", "matrix of the items' embeddings, row i for line i")
	flags.StringVar(&f.profiles.lines, "profiles", "", "JSON lines or Parquet file of user profiles")
	flags.StringVar(&f.items.fields.ID, "id-field", "", "field or column of the items' ids (default id)")
	flags.StringVar(&f.items.fields.Vector, "vector-field", "", "field or column of the items' embeddings (default vector)")
	flags.StringVar(&f.profiles.fields.ID, "profile-id-field", "", "field or column of the users of profiles (default id)")
	flags.StringVar(&f.profiles.fields.Vector, "profile-vector-field", "", "field or column of the profiles' vectors (default vector)")
	flags.StringVar(&f.profileVectors, "profile-vectors", "", "matrix of the profiles' vectors")
	flags.StringSliceVar(&f.only, "fields", nil, "`NAMES` of the fields to import as attributes, comma separated (default all)")
	flags.Int64Var(&f.maxRejects, "max-rejects", 0, "how many rejected rows still count as success")
	flags.IntVar(&f.batch, "batch", 0, "rows a call, at most 10,000 (default 256)")
	flags.IntVar(&f.inFlight, "in-flight", 0, "calls at once, at most 64 (default 4)")
	flags.StringVar(&f.modelName, "embedding-model", "", "name of what made the vectors of --job")
	flags.StringVar(&f.modelVersion, "embedding-version", "", "version of what made the vectors of --job")
}

// describing are the flags that describe a collection.
func describing() []string {
	return []string{"dim", "metric", "m", "ef-construction", "vector-storage", "attribute"}
}

// validateFiles checks the flags of addFiles.
func (f *importFlags) validateFiles() error {
	switch {
	case f.items.lines == "" && f.profiles.lines == "":
		return usagef("nothing to import: give --items or --profiles")
	case f.items.lines == "" && f.items.vectors != "":
		return usagef("--vectors needs --items, which has the ids")
	case f.profiles.lines == "" && f.profileVectors != "":
		return usagef("--profile-vectors needs --profiles, which has the ids")
	case f.maxRejects < 0:
		return usagef("--max-rejects must not be negative")
	}
	if err := errors.Join(f.options().Validate(), f.items.fields.Validate(), f.profiles.fields.Validate()); err != nil {
		return usagef("%v", err)
	}
	return nil
}

// validateRelease checks the flags beside --release.
func (f *importFlags) validateRelease(cmd *cobra.Command) error {
	if f.job == "" {
		return usagef("--release fills a release: it needs --job")
	}
	for _, name := range append(describing(), "items", "vectors", "profiles", "profile-vectors", "id-field", "vector-field", "profile-id-field", "profile-vector-field", "fields", "batch", "in-flight", "embedding-model", "embedding-version") {
		if cmd.Flags().Changed(name) {
			return usagef("--%s says what a release file says itself: it does not go with --release", name)
		}
	}
	return nil
}

// validate checks what can be known from the flags alone.
func (f *importFlags) validate(cmd *cobra.Command) error {
	if f.release != "" {
		return f.validateRelease(cmd)
	}
	if err := f.validateFiles(); err != nil {
		return err
	}
	if f.create && f.collection.metric.metric == 0 {
		return usagef("--create needs --metric")
	}
	for _, name := range []string{"publish", "embedding-model", "embedding-version", "min-items", "min-item-ratio", "min-recall", "min-overlap", "max-reject-ratio"} {
		if f.job == "" && cmd.Flags().Changed(name) {
			return usagef("--%s is about a release: it needs --job", name)
		}
	}
	for _, name := range describing() {
		if !f.create && cmd.Flags().Changed(name) {
			return usagef("--%s describes a new collection: it needs --create", name)
		}
	}
	return nil
}

func (f *importFlags) options() client.UpsertOptions {
	return client.UpsertOptions{BatchRows: f.batch, InFlight: f.inFlight}
}

// importResult is what -o json writes.
type importResult struct {
	Collection string        `json:"collection"`
	Items      *importReport `json:"items,omitempty"`
	Profiles   *importReport `json:"profiles,omitempty"`
}

// run checks the files, then the collection, and only then writes.
func (f *importFlags) run(ctx context.Context, env *environment, c *client.Client) error {
	if f.release != "" {
		return f.sendRelease(ctx, env, c)
	}
	f.profiles.vectors = f.profileVectors
	if f.profiles.lines != "" && f.profiles.vectors == "" {
		f.profiles.vectors = besideProfiles(f.profiles.lines)
	}
	itemRows, itemDim, err := f.items.checkIfNamed()
	if err != nil {
		return err
	}
	profileRows, profileDim, err := f.profiles.checkIfNamed()
	if err != nil {
		return err
	}
	job := &importJob{env: env, client: c, only: f.only, options: f.options()}
	if job.collection, err = f.target(ctx, c, cmp.Or(f.collection.dim, itemDim, profileDim)); err != nil {
		return err
	}
	if err := errors.Join(job.fits(f.items, itemDim), job.fits(f.profiles, profileDim)); err != nil {
		return err
	}

	if f.job != "" {
		return job.release(ctx, f, itemRows, profileRows)
	}
	result := importResult{Collection: f.name}
	if f.items.lines != "" {
		var report importReport
		report, err = job.items(ctx, f.items, itemRows)
		result.Items = &report
	}
	if f.profiles.lines != "" && err == nil {
		var report importReport
		report, err = job.profiles(ctx, f.profiles, profileRows)
		result.Profiles = &report
	}
	if written := f.write(env, result); err != nil || written != nil {
		return errors.Join(err, written)
	}
	if err := snapshotLongTail(ctx, c, f.name); err != nil {
		return err
	}
	return f.judge(result)
}

// longTail is how many writes after the newest snapshot are worth one after an import: replaying them takes a second or so.
const longTail = 10_000

// snapshotLongTail ends a large import with a snapshot, so that the next start loads instead of inserting it all again.
func snapshotLongTail(ctx context.Context, c *client.Client, collection string) error {
	stats, err := c.Admin.GetIndexStatistics(ctx, &seguev1.GetIndexStatisticsRequest{Collection: collection})
	if err != nil {
		return err
	}
	s := stats.GetStatistics()
	if tail := s.GetLogTailCount(); tail < longTail || tail < s.GetItemCount()/10 {
		return nil
	}
	_, err = c.Admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: collection})
	if status.Code(err) == codes.Aborted { // the server is making one itself
		return nil
	}
	return err
}

// target is the collection to write to.
func (f *importFlags) target(ctx context.Context, c *client.Client, dim int) (*seguev1.Collection, error) {
	if !f.create {
		got, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: f.name})
		return got.GetCollection(), err
	}
	if dim == 0 {
		return nil, usagef("no vector tells the dimension of the new collection: give --dim")
	}
	message, err := f.collection.message(f.name, dim)
	if err != nil {
		return nil, err
	}
	return ensureCollection(ctx, c, message)
}

// write writes the result, which is partial where the import failed.
func (f *importFlags) write(env *environment, r importResult) error {
	if f.out == formatJSON {
		return writeJSON(env.stdout, r)
	}
	if r.Items != nil {
		if err := r.Items.write(env.stdout, "item"); err != nil {
			return err
		}
	}
	if r.Profiles != nil {
		return r.Profiles.write(env.stdout, "profile")
	}
	return nil
}

// judge decides whether the rejects are too many.
func (f *importFlags) judge(r importResult) error {
	var rejected, rows int64
	for _, part := range []*importReport{r.Items, r.Profiles} {
		if part != nil {
			rejected += part.Rejected
			rows += part.Rows
		}
	}
	if rejected > f.maxRejects {
		return &badDataError{fmt.Sprintf("%s of %s rows were rejected", thousands(rejected), thousands(rows))}
	}
	return nil
}
