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

func newSnapshotCommand(env *environment) *cobra.Command {
	return groupCommand("snapshot", "Create and list snapshots, which make the next start fast",
		newSnapshotCreateCommand(env),
		newSnapshotListCommand(env),
	)
}

func newSnapshotCreateCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "create COLLECTION",
		Short: "Write a durable image of a collection's index; answers when it is on disk",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: args[0]})
				if err != nil {
					return err
				}
				s := answer.GetSnapshot()
				if out == formatJSON {
					return writeJSON(env.stdout, snapshotJSONOf(s))
				}
				_, err = fmt.Fprintf(env.stdout, "created snapshot %d of %s: %s items, %s bytes, revision %s\n", s.GetGeneration(), args[0],
					thousands(s.GetItemCount()), thousands(s.GetSizeBytes()), thousands(s.GetRevision()))
				return err
			})
		},
	}
	r.flags(c, 0)
	out.flag(c)
	return c
}

func newSnapshotListCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "list COLLECTION",
		Short: "List a collection's snapshots, newest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Admin.ListSnapshots(ctx, &seguev1.ListSnapshotsRequest{Collection: args[0]})
				if err != nil {
					return err
				}
				if out == formatJSON {
					list := make([]snapshotJSON, 0, len(answer.GetSnapshots()))
					for _, s := range answer.GetSnapshots() {
						list = append(list, snapshotJSONOf(s))
					}
					return writeJSON(env.stdout, map[string]any{"snapshots": list})
				}
				t := table{columns: []column{
					{title: "GENERATION", right: true}, {title: "REVISION", right: true},
					{title: "ITEMS", right: true}, {title: "BYTES", right: true}, {title: "CREATED"},
				}}
				for _, s := range answer.GetSnapshots() {
					t.add(strconv.FormatInt(s.GetGeneration(), 10), thousands(s.GetRevision()), thousands(s.GetItemCount()),
						thousands(s.GetSizeBytes()), s.GetCreateTime().AsTime().Format(time.RFC3339))
				}
				return t.write(env.stdout)
			})
		},
	}
	r.flags(c, 30*time.Second)
	out.flag(c)
	return c
}

// snapshotJSON has the fields and names of seguev1.Snapshot.
type snapshotJSON struct {
	Generation int64     `json:"generation"`
	Revision   int64     `json:"revision"`
	ItemCount  int64     `json:"item_count"`
	SizeBytes  int64     `json:"size_bytes"`
	CreateTime time.Time `json:"create_time"`
}

func snapshotJSONOf(s *seguev1.Snapshot) snapshotJSON {
	return snapshotJSON{
		Generation: s.GetGeneration(),
		Revision:   s.GetRevision(),
		ItemCount:  s.GetItemCount(),
		SizeBytes:  s.GetSizeBytes(),
		CreateTime: s.GetCreateTime().AsTime(),
	}
}
