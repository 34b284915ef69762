package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/examples/demo"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// demoData is what the demo imports.
type demoData struct {
	tracks, playlists         rowFiles
	trackCount, playlistCount int64
}

func bundledData() demoData {
	return demoData{
		tracks:        rowFiles{fsys: demo.FS, lines: demo.Tracks, vectors: demo.TrackVectors},
		playlists:     rowFiles{fsys: demo.FS, lines: demo.Playlists, vectors: demo.PlaylistVectors},
		trackCount:    demo.TrackCount,
		playlistCount: demo.PlaylistCount,
	}
}

// demoCollection is the collection that the demo makes and asks.
const demoCollection = "tracks"

// demoNeighbors is k of every query of the demo.
const demoNeighbors = 8

// known is something of the demo data that people know.
type known struct{ id, name string }

// demoTracks are asked for "more like this". They lie in different corners of the data: pop whose neighbors
// are mostly one artist's, classic rock, rap with features.
func demoTracks() []known {
	return []known{
		{"0VjIjW4GlUZAMYd2vXMi3b", `"Blinding Lights" by The Weeknd`},
		{"0ofHAoxe9vBkTCp2UQIavz", `"Dreams - 2004 Remaster" by Fleetwood Mac`},
		{"2xLMifQCjDGFmkHkpNLD9h", `"SICKO MODE" by Travis Scott`},
	}
}

// demoPlaylists are asked as users.
func demoPlaylists() []known {
	return []known{
		{"37i9dQZF1DX4wta20PHgwo", `"Late Night Jazz"`},
		{"37i9dQZF1DWTJ7xPn4vNaz", `"All Out 70s"`},
	}
}

func newDemoCommand(env *environment) *cobra.Command {
	var o serveOptions
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Load 63,468 real tracks, show neighbors of some, and serve them",
		Long: "Demo makes a store with the bundled tracks and playlists, over the same calls as any client, shows what is\n" +
			"near to three well-known tracks and two playlists, and serves the store until Ctrl-C. The next start opens\n" +
			"the store as it is; an import that was interrupted is done again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.data == "" {
				cache, err := os.UserCacheDir()
				if err != nil {
					return usagef("no place for the store is known (%v): give --data", err)
				}
				o.data = filepath.Join(cache, "segue", "demo")
			}
			o.log = newLogger(env, slog.LevelWarn)
			return runDemo(cmd.Context(), env, o, bundledData(), !cmd.Flags().Changed("listen"), once)
		},
	}
	o.flags(c)
	c.Flags().StringVar(&o.data, "data", "", "`DIR` of the store (default segue/demo in the user's cache directory)")
	c.Flags().StringVar(&o.listen, "listen", defaultAddr, "`HOST:PORT` to listen on")
	c.Flags().BoolVar(&once, "once", false, "end after showing the neighbors instead of serving")
	return c
}

// runDemo is the demo from start to end. With anyPort a free port will do where the one of o is taken.
func runDemo(ctx context.Context, env *environment, o serveOptions, data demoData, anyPort, once bool) (err error) {
	began := time.Now()
	s, err := startServer(ctx, o)
	if anyPort && errors.Is(err, syscall.EADDRINUSE) {
		o.listen = "127.0.0.1:0"
		s, err = startServer(ctx, o)
	}
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, s.stop())
		}
	}()
	c, err := client.Dial(s.addr(), client.Options{AllowPlaintext: true, UserAgent: "segue-demo"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	fmt.Fprintf(env.stdout, "Store in %s\n", o.data)
	items, err := data.ensure(ctx, env, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "%s tracks ready after %.1f s\n", thousands(items), time.Since(began).Seconds())
	if err := showDemo(ctx, env.stdout, c, items); err != nil {
		return err
	}
	explainDemo(env.stdout, commandName(), s.addr())
	if once {
		return nil
	}
	fmt.Fprintf(env.stdout, "\nServing on %s until Ctrl-C.\n", s.addr())
	stopped = true
	return s.wait(ctx)
}

// ensure imports what is not there yet, and makes a snapshot where the next start would have to
// link items again. It returns the number of items. An import that was interrupted has left fewer rows than
// the data has, and is done again from the start: writing an item again replaces it.
func (d demoData) ensure(ctx context.Context, env *environment, c *client.Client) (items int64, err error) {
	collection, err := ensureCollection(ctx, c, &seguev1.Collection{
		Name:       demoCollection,
		Dimension:  demo.Dim,
		Metric:     seguev1.Metric_METRIC_COSINE,
		Attributes: demoSchema(),
	})
	if err != nil {
		return 0, err
	}
	if !slices.EqualFunc(collection.GetAttributes(), demoSchema(), func(a, b *seguev1.AttributeSpec) bool { return proto.Equal(a, b) }) {
		return 0, errors.New("the store has another demo's attributes: delete it, or give another --data")
	}
	stats, err := demoStatistics(ctx, c)
	if err != nil {
		return 0, err
	}
	complete, err := d.complete(ctx, c, stats)
	if err != nil {
		return 0, err
	}
	if !complete {
		if stats.GetItemCount() > 0 {
			fmt.Fprintf(env.stdout, "the import did not finish last time (%s of %s tracks): importing again\n",
				thousands(stats.GetItemCount()), thousands(d.trackCount))
		}
		if err := d.importInto(ctx, env, &importJob{env: env, client: c, collection: collection}); err != nil {
			return 0, err
		}
		if stats, err = demoStatistics(ctx, c); err != nil {
			return 0, err
		}
	}
	// Replaying a write costs about as much as making it, so a long tail would make the next start slow.
	if stats.GetSnapshotRevision() == 0 || stats.GetLogTailCount() > d.trackCount/10 {
		if _, err := c.Admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: demoCollection}); err != nil &&
			status.Code(err) != codes.Aborted { // the server is making one itself
			return 0, err
		}
	}
	return stats.GetItemCount(), nil
}

// complete reports whether all of the data is there. The playlists are written in one batch, all or
// nothing, after the tracks: if one of them is there, so are the others.
func (d demoData) complete(ctx context.Context, c *client.Client, stats *seguev1.IndexStatistics) (bool, error) {
	if stats.GetItemCount() < d.trackCount {
		return false, nil
	}
	_, err := c.Profiles.GetProfile(ctx, &seguev1.GetProfileRequest{Collection: demoCollection, UserId: demoPlaylists()[0].id})
	if status.Code(err) == codes.NotFound {
		return false, nil
	}
	return err == nil, err
}

func demoStatistics(ctx context.Context, c *client.Client) (*seguev1.IndexStatistics, error) {
	answer, err := c.Admin.GetIndexStatistics(ctx, &seguev1.GetIndexStatisticsRequest{Collection: demoCollection})
	return answer.GetStatistics(), err
}

// demoSchema declares what the lines of the tracks hold.
func demoSchema() []*seguev1.AttributeSpec {
	keyword, number := seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD, seguev1.AttributeType_ATTRIBUTE_TYPE_INT
	return []*seguev1.AttributeSpec{
		{Name: "added", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP},
		{Name: "album", Type: keyword},
		{Name: "album_id", Type: keyword},
		{Name: "artist_ids", Type: keyword},
		{Name: "artists", Type: keyword},
		{Name: "duration_s", Type: number},
		{Name: "playlists", Type: number},
		{Name: "title", Type: keyword},
	}
}

// importInto imports the files as `segue import` would.
func (d demoData) importInto(ctx context.Context, env *environment, job *importJob) error {
	report, err := job.items(ctx, d.tracks, d.trackCount)
	if err := errors.Join(err, report.write(env.stdout, "track")); err != nil {
		return err
	}
	profiles, err := job.profiles(ctx, d.playlists, d.playlistCount)
	if err := errors.Join(err, profiles.write(env.stdout, "playlist")); err != nil {
		return err
	}
	if n := report.Rejected + profiles.Rejected; n > 0 {
		return &badDataError{plural(n, "row") + " of the bundled data were rejected"}
	}
	return nil
}

// showDemo asks and prints the tables.
func showDemo(ctx context.Context, w io.Writer, c *client.Client, items int64) error {
	for _, track := range demoTracks() {
		if err := showAnswer(ctx, w, c, "More like "+track.name, demoRequest(client.ByItem(track.id)), items); err != nil {
			return err
		}
	}
	for _, playlist := range demoPlaylists() {
		request := demoRequest(client.ByUser(playlist.id))
		if err := showAnswer(ctx, w, c, "For whoever made the playlist "+playlist.name, request, items); err != nil {
			return err
		}
	}
	return showRanking(ctx, w, c, items)
}

func showAnswer(ctx context.Context, w io.Writer, c *client.Client, title string, request *seguev1.NearestNeighborsRequest, items int64) error {
	began := time.Now()
	answer, err := c.Retrieval.NearestNeighbors(ctx, request)
	if err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	took := time.Since(began)
	fmt.Fprintf(w, "\n%s\n", title)
	var columns []string
	for _, path := range request.GetReadMask().GetPaths() {
		columns = append(columns, strings.TrimPrefix(path, "attributes."))
	}
	t := neighborTable(answer.GetNeighbors(), columns)
	t.drop("ID")
	if err := t.write(w); err != nil {
		return err
	}
	info := answer.GetSearchInfo()
	match := ""
	if info.MatchingCount != nil {
		match = "; " + thousands(info.GetMatchingCount()) + " may be answered"
	}
	_, err = fmt.Fprintf(w, "(%.1f ms over gRPC; %s of %s tracks were compared, ef %d%s)\n", float64(took.Microseconds())/1000,
		thousands(info.GetDistanceCount()), thousands(items), info.GetEfUsed(), match)
	return err
}

// explainDemo says how to go on. The field mask is written as the message it is: grpcurl and ghz do not know
// the short form of protobuf's JSON, "attributes.title,attributes.artists".
func explainDemo(w io.Writer, command, addr string) {
	track := demoTracks()[0]
	query := fmt.Sprintf(`{"collection":"%s","query":{"item_id":"%s"},"neighbor_count":10,"read_mask":{"paths":["attributes.title","attributes.artists"]}}`,
		demoCollection, track.id)
	load := fmt.Sprintf(`{"collection":"%s","query":{"item_id":"%s"},"neighbor_count":10}`, demoCollection, track.id)
	fmt.Fprintf(w, `
Ask it yourself while it serves:
  %[1]s neighbors --addr %[2]s --collection %[3]s --item %[4]s
  grpcurl -plaintext -d '%[5]s' \
    %[2]s segue.v1.RetrievalService/NearestNeighbors
  ghz --insecure --call segue.v1.RetrievalService.NearestNeighbors -d '%[6]s' \
    -c 8 -n 20000 %[2]s
`, command, addr, demoCollection, track.id, query, load)
}

// commandName is how this binary was called: "go run" leaves it where no shell would find it.
func commandName() string {
	exe, err := os.Executable()
	if err == nil && strings.Contains(filepath.ToSlash(exe), "/go-build") {
		return "go run ./cmd/segue"
	}
	return "segue"
}
