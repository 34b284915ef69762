package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newCollectionAliasCommand(env *environment) *cobra.Command {
	return groupCommand("alias", "Set, list and delete other names of collections",
		newAliasSetCommand(env),
		newAliasListCommand(env),
		newAliasDeleteCommand(env),
	)
}

func newAliasSetCommand(env *environment) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "set ALIAS COLLECTION",
		Short: "Make an alias mean a collection, or move it there in one step",
		Example: "  segue collection alias set live tracks-2026-11\n" +
			"  segue neighbors --collection live --item 0VjIjW4GlUZAMYd2vXMi3b",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Collections.SetCollectionAlias(ctx, &seguev1.SetCollectionAliasRequest{Alias: args[0], Collection: args[1]})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "%s means collection %s\n", answer.GetAlias().GetAlias(), answer.GetAlias().GetCollection())
				return err
			})
		},
	}
	r.flags(c, 30*time.Second)
	return c
}

func newAliasListCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "list",
		Short: "List the aliases of a server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				t := table{columns: []column{{title: "ALIAS"}, {title: "COLLECTION"}}}
				aliases := map[string]string{}
				for token := ""; ; {
					page, err := c.Collections.ListCollectionAliases(ctx, &seguev1.ListCollectionAliasesRequest{PageToken: token})
					if err != nil {
						return err
					}
					for _, a := range page.GetAliases() {
						t.add(a.GetAlias(), a.GetCollection())
						aliases[a.GetAlias()] = a.GetCollection()
					}
					if token = page.GetNextPageToken(); token == "" {
						break
					}
				}
				if out == formatJSON {
					return writeJSON(env.stdout, map[string]any{"aliases": aliases})
				}
				return t.write(env.stdout)
			})
		},
	}
	r.flags(c, 30*time.Second)
	out.flag(c)
	return c
}

func newAliasDeleteCommand(env *environment) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "delete ALIAS",
		Short: "Delete an alias; the collection stays",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if _, err := c.Collections.DeleteCollectionAlias(ctx, &seguev1.DeleteCollectionAliasRequest{Alias: args[0]}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(env.stdout, "deleted alias %s\n", args[0])
				return err
			})
		},
	}
	r.flags(c, 30*time.Second)
	return c
}
