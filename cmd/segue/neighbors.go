package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// neighborsFlags are the flags of `segue neighbors`.
type neighborsFlags struct {
	queryFlags
	remote  remote
	explain bool
	partial bool
	page    int
	out     format
}

func newNeighborsCommand(env *environment) *cobra.Command {
	var f neighborsFlags
	c := &cobra.Command{
		Use:   "neighbors --collection NAME (--item ID | --user ID | --like IDS | --vector FILE | --interests FILE)",
		Short: "Show the nearest neighbors of items, a user or a vector",
		Long: "Neighbors shows what is nearest to an item (\"more like this\"), to a user's stored profile, to several items and\n" +
			"not to others, or to a vector: row --row of a matrix (.npy, .fvecs, .bvecs, .ivecs), or of JSON lines with a field\n" +
			"\"vector\", or a JSON array of numbers (.json, or - for standard input). --interests takes the rows of such a file together,\n" +
			"as a user of several tastes. `segue batch` asks many queries.",
		Example: "  segue neighbors --collection tracks --item 0VjIjW4GlUZAMYd2vXMi3b -k 5\n" +
			"  segue neighbors --collection tracks --like 0VjIjW4GlUZAMYd2vXMi3b,0ofHAoxe9vBkTCp2UQIavz --unlike 2xLMifQCjDGFmkHkpNLD9h\n" +
			"  segue neighbors --collection tracks --user 37i9dQZF1DX4wta20PHgwo --max-per artists=1 --diversity 0.3 --explain",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.request(env.stdin)
			if err != nil {
				return err
			}
			request.Explain, request.AllowPartial, request.PageSize = f.explain, f.partial, int32(f.page)
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				var answer *seguev1.NearestNeighborsResponse
				for page, err := range c.Pages(ctx, request) {
					if err != nil {
						return err
					}
					page.Neighbors = append(answer.GetNeighbors(), page.GetNeighbors()...)
					answer = page
				}
				if f.out == formatJSON {
					return writeJSON(env.stdout, neighborsJSONOf(answer))
				}
				return writeNeighbors(env.stdout, answer, request)
			})
		},
	}
	f.queryFlags.flags(c)
	c.Flags().BoolVar(&f.explain, "explain", false, "say why each neighbor stands where it does")
	c.Flags().BoolVar(&f.partial, "partial", false, "answer with what was found when --timeout nears")
	c.Flags().IntVar(&f.page, "page-size", 0, "ask for so many neighbors at a time, page after page (default: all at once)")
	f.remote.flags(c, 30*time.Second)
	f.out.flag(c)
	return c
}
