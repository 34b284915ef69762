package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newExclusionsCommand(env *environment) *cobra.Command {
	return groupCommand("exclusions", "Keep sets of items that searches must not answer, such as what a listener heard",
		newExclusionsAddCommand(env),
		newExclusionsRemoveCommand(env),
		newExclusionsListCommand(env),
		newExclusionsDeleteCommand(env),
	)
}

// exclusionsCommand is what the verbs have in common: run gets the name of the set and what stands after it.
func exclusionsCommand(c *cobra.Command, run func(ctx context.Context, c *client.Client, collection, set string, ids []string) error) *cobra.Command {
	var r remote
	var collection string
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			return run(ctx, c, collection, args[0], args[1:])
		})
	}
	c.Flags().StringVar(&collection, "collection", "", "`NAME` of the collection")
	if err := c.MarkFlagRequired("collection"); err != nil {
		panic(err) // the flag was added above
	}
	r.flags(c, 30*time.Second)
	return c
}

func newExclusionsAddCommand(env *environment) *cobra.Command {
	var ttl time.Duration
	c := exclusionsCommand(&cobra.Command{
		Use:     "add SET ID...",
		Short:   "Add items to a set; answers when that is durable",
		Example: "  segue exclusions add --collection tracks user-7 0VjIjW4GlUZAMYd2vXMi3b --ttl 720h",
		Args:    cobra.MinimumNArgs(2),
	}, func(ctx context.Context, c *client.Client, collection, set string, ids []string) error {
		request := &seguev1.AddExclusionsRequest{Collection: collection, ExclusionSet: set, ItemIds: ids}
		if ttl != 0 {
			request.Expiration = &seguev1.AddExclusionsRequest_Ttl{Ttl: durationpb.New(ttl)}
		}
		if _, err := c.Exclusions.AddExclusions(ctx, request); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.stdout, "added %s to %s\n", plural(int64(len(ids)), "item"), set)
		return err
	})
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long the items stay excluded; 0 for ever")
	return c
}

func newExclusionsRemoveCommand(env *environment) *cobra.Command {
	return exclusionsCommand(&cobra.Command{
		Use:   "remove SET ID...",
		Short: "Remove items from a set",
		Args:  cobra.MinimumNArgs(2),
	}, func(ctx context.Context, c *client.Client, collection, set string, ids []string) error {
		_, err := c.Exclusions.RemoveExclusions(ctx, &seguev1.RemoveExclusionsRequest{Collection: collection, ExclusionSet: set, ItemIds: ids})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.stdout, "removed %s from %s\n", plural(int64(len(ids)), "item"), set)
		return err
	})
}

func newExclusionsListCommand(env *environment) *cobra.Command {
	return exclusionsCommand(&cobra.Command{
		Use:   "list SET",
		Short: "List the items of a set, and until when",
		Args:  cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client.Client, collection, set string, _ []string) error {
		t := table{columns: []column{{title: "ID"}, {title: "UNTIL"}}}
		request := &seguev1.GetExclusionSetRequest{Collection: collection, ExclusionSet: set, PageSize: 1000}
		for {
			page, err := c.Exclusions.GetExclusionSet(ctx, request)
			if err != nil {
				return err
			}
			for _, e := range page.GetExclusions() {
				until := ""
				if e.GetExpireTime() != nil {
					until = e.GetExpireTime().AsTime().Format(time.RFC3339)
				}
				t.add(e.GetItemId(), until)
			}
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				return t.write(env.stdout)
			}
		}
	})
}

func newExclusionsDeleteCommand(env *environment) *cobra.Command {
	return exclusionsCommand(&cobra.Command{
		Use:   "delete SET",
		Short: "Delete a set",
		Args:  cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client.Client, collection, set string, _ []string) error {
		if _, err := c.Exclusions.DeleteExclusionSet(ctx, &seguev1.DeleteExclusionSetRequest{Collection: collection, ExclusionSet: set}); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.stdout, "deleted %s\n", set)
		return err
	})
}
