package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newScoreCommand(env *environment) *cobra.Command {
	var f formFlags
	var r remote
	c := &cobra.Command{
		Use:   "score --collection NAME (--item ID | --user ID | --like IDS | --vector FILE) ID...",
		Short: "Score given items for a query, without a search",
		Long: "Score shows how well given items fit a query, in the order in which they are given: what a service asks that has its\n" +
			"candidates already. Items that the query names, or that are near to what --unlike names, are scored like all others.",
		Example: "  segue score --collection tracks --user 37i9dQZF1DX4wta20PHgwo 0VjIjW4GlUZAMYd2vXMi3b 2xLMifQCjDGFmkHkpNLD9h",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &seguev1.ScoreItemsRequest{Collection: f.collection, ItemIds: args, ReadMask: f.readMask()}
			var err error
			if request.Query, err = f.query(env.stdin); err != nil {
				return err
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Retrieval.ScoreItems(ctx, request)
				if err != nil {
					return err
				}
				t := neighborTable(answer.GetItems(), f.attributes)
				t.drop("RANK")
				if err := t.write(env.stdout); err != nil {
					return err
				}
				for _, id := range answer.GetUnresolvedIds() {
					fmt.Fprintf(env.stdout, "no item %s\n", printable(id))
				}
				return nil
			})
		},
	}
	f.flags(c)
	r.flags(c, 30*time.Second)
	return c
}
