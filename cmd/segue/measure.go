package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newMeasureCommand(env *environment) *cobra.Command {
	return groupCommand("measure", "Measure recall and hubs of a collection that is served",
		newMeasureRecallCommand(env), newMeasureHubsCommand(env))
}

// measureFlags are what both measurements have in common.
type measureFlags struct {
	remote     remote
	k, queries int32
	seed       uint64
}

func (f *measureFlags) flags(c *cobra.Command) {
	c.Flags().Int32VarP(&f.k, "k", "k", 10, "how many neighbors each drawn item is asked for")
	c.Flags().Int32Var(&f.queries, "queries", 0, "how many items to draw (default: the server's)")
	c.Flags().Uint64Var(&f.seed, "seed", 0, "seed of the draw")
	f.remote.flags(c, 10*time.Minute)
}

func newMeasureRecallCommand(env *environment) *cobra.Command {
	var f measureFlags
	var efs []int32
	c := &cobra.Command{
		Use:   "recall COLLECTION",
		Short: "Compare searches of drawn items with exact ones",
		Long: "Recall draws items, asks for \"more like this\" of each at several beam widths and exactly, and shows the mean share of the\n" +
			"true neighbors that was found. It costs an exact scan for each item drawn.",
		Example: "  segue measure recall tracks --ef 32,64,128 --queries 200",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Admin.MeasureRecall(ctx, &seguev1.MeasureRecallRequest{
					Collection: args[0], NeighborCount: f.k, QueryCount: f.queries, Efs: efs, Seed: f.seed,
				})
				if err != nil {
					return err
				}
				t := table{columns: []column{
					{title: "EF", right: true}, {title: "RECALL", right: true}, {title: "ERROR", right: true}, {title: "DISTANCES", right: true},
				}}
				for _, p := range answer.GetPoints() {
					t.add(strconv.Itoa(int(p.GetEf())), fmt.Sprintf("%.4f", p.GetRecall()), fmt.Sprintf("%.4f", p.GetStandardError()),
						thousands(int64(p.GetMeanDistanceCount())))
				}
				if err := t.write(env.stdout); err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "of %s drawn\n", plural(int64(answer.GetQueryCount()), "item"))
				return err
			})
		},
	}
	c.Flags().Int32SliceVar(&efs, "ef", nil, "`WIDTHS` of the beam, comma separated (default: the server's for so many neighbors)")
	f.flags(c)
	return c
}

func newMeasureHubsCommand(env *environment) *cobra.Command {
	var f measureFlags
	var list int32
	c := &cobra.Command{
		Use:   "hubs COLLECTION",
		Short: "List items that are neighbors of everything, and items that are never recommended",
		Long: "Hubs draws items, asks for \"more like this\" of each, and counts who is answered. Items that are answered to none mean\n" +
			"something only where all items were drawn, or nearly.",
		Example: "  segue measure hubs tracks --queries 5000 --list 10",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Admin.ListHubs(ctx, &seguev1.ListHubsRequest{
					Collection: args[0], NeighborCount: f.k, QueryCount: f.queries, Seed: f.seed, ListSize: list,
				})
				if err != nil {
					return err
				}
				t := table{columns: []column{{title: "ID"}, {title: "NEIGHBOR OF", right: true}}}
				for _, h := range answer.GetHubs() {
					t.add(h.GetItemId(), thousands(int64(h.GetCount())))
				}
				if err := t.write(env.stdout); err != nil {
					return err
				}
				fmt.Fprintf(env.stdout, "%s of %s items were asked; %s of %s are a neighbor of none\n", thousands(int64(answer.GetQueryCount())),
					thousands(int64(answer.GetItemCount())), thousands(int64(answer.GetOrphanCount())), thousands(int64(answer.GetItemCount())))
				for _, id := range answer.GetOrphanIds() {
					fmt.Fprintf(env.stdout, "  %s\n", printable(id))
				}
				return nil
			})
		},
	}
	c.Flags().Int32Var(&list, "list", 10, "how many of each to list")
	f.flags(c)
	return c
}
