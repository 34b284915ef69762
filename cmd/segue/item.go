package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newItemCommand(env *environment) *cobra.Command {
	return groupCommand("item", "Change and delete single items", newItemUpdateCommand(env), newItemDeleteCommand(env))
}

func newItemUpdateCommand(env *environment) *cobra.Command {
	var r remote
	var set, unset []string
	c := &cobra.Command{
		Use:   "update COLLECTION ID",
		Short: "Change attributes of an item; its vector and its place in the graph stay",
		Long: "Update sets attributes to values and removes others; what is not named stays. A value is JSON as in the lines that import\n" +
			"reads (12, 0.5, true, [\"A\",\"B\"]), anything else is text. The collection's schema, where it has one, says the type.",
		Example: "  segue item update tracks 0VjIjW4GlUZAMYd2vXMi3b --set playlists=12 --set 'artists=[\"The Weeknd\"]' --unset album",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(set)+len(unset) == 0 {
				return usagef("nothing to change: give --set or --unset")
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				collection, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: args[0]})
				if err != nil {
					return err
				}
				update, err := attributesUpdate(newRowConverter(collection.GetCollection().GetAttributes(), nil), args[1], set, unset)
				if err != nil {
					return err
				}
				answer, err := c.Items.UpdateItemAttributes(ctx, &seguev1.UpdateItemAttributesRequest{Collection: args[0], Update: update})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "updated at revision %d\n", answer.GetRevision())
				return err
			})
		},
	}
	c.Flags().StringArrayVar(&set, "set", nil, "`NAME=VALUE` of an attribute; repeat for more")
	c.Flags().StringArrayVar(&unset, "unset", nil, "`NAME` of an attribute to remove; repeat for more")
	r.flags(c, 30*time.Second)
	return c
}

// attributesUpdate builds the message of NAME=VALUE pairs and names.
func attributesUpdate(rows *rowConverter, id string, set, unset []string) (*seguev1.AttributesUpdate, error) {
	u := &seguev1.AttributesUpdate{ItemId: id, Attributes: map[string]*seguev1.AttributeValue{}, UpdateMask: &fieldmaskpb.FieldMask{}}
	for _, text := range set {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--set %q is not of the form NAME=VALUE", text)
		}
		v, fault := rows.attribute(name, jsonOrText(value))
		if fault != nil {
			return nil, fault
		}
		if v != nil { // null and [] remove
			u.Attributes[name] = v
		}
		u.UpdateMask.Paths = append(u.UpdateMask.Paths, "attributes."+name)
	}
	for _, name := range unset {
		u.UpdateMask.Paths = append(u.UpdateMask.Paths, "attributes."+name)
	}
	return u, nil
}

// jsonOrText reads a value as a line of JSON would hold it, or as text where it is no JSON.
func jsonOrText(s string) any {
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return s
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s // 2021-04-29 begins with a number
	}
	return v
}

func newItemDeleteCommand(env *environment) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "delete COLLECTION ID...",
		Short: "Delete items",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: args[0], ItemIds: args[1:]})
				if err != nil {
					return err
				}
				fmt.Fprintf(env.stdout, "deleted %s at revision %d\n", plural(int64(len(args)-1-len(answer.GetMissingIds())), "item"), answer.GetRevision())
				for _, id := range answer.GetMissingIds() {
					fmt.Fprintf(env.stdout, "no item %s\n", printable(id))
				}
				return nil
			})
		},
	}
	r.flags(c, 30*time.Second)
	return c
}
