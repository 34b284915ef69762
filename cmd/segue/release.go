package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newReleaseCommand(env *environment) *cobra.Command {
	return groupCommand("release", "List, measure, export, publish, roll back and delete releases of a collection",
		newReleaseListCommand(env),
		newReleaseReportCommand(env),
		newReleaseExportCommand(env),
		newReleasePublishCommand(env),
		newReleaseRollbackCommand(env),
		newReleaseDeleteCommand(env),
	)
}

func newReleaseListCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "list COLLECTION",
		Short: "List the releases on disk, newest first",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Releases.ListReleases(ctx, &seguev1.ListReleasesRequest{Collection: args[0]})
				if err != nil {
					return err
				}
				if out == formatJSON {
					return writeMessage(env, answer)
				}
				t := table{columns: []column{
					{title: "RELEASE", right: true}, {title: "STATE"}, {title: "JOB"}, {title: "ITEMS", right: true},
					{title: "REJECTED", right: true}, {title: "BYTES", right: true}, {title: "CREATED"},
				}}
				for _, r := range answer.GetReleases() {
					items := "-"
					if r.GetLoaded() {
						items = thousands(r.GetItemCount())
					}
					t.add(strconv.FormatUint(uint64(r.GetId()), 10), releaseStateName(r.GetState()), r.GetJobId(), items,
						thousands(r.GetRejectedCount()), thousands(r.GetDiskBytes()), r.GetCreateTime().AsTime().Format(time.RFC3339))
				}
				return t.write(env.stdout)
			})
		},
	}
	r.flags(c, 30*time.Second)
	out.flag(c)
	return c
}

func newReleaseReportCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	var release uint32
	var sample int32
	c := &cobra.Command{
		Use:   "report COLLECTION",
		Short: "Measure a release: recall, overlap with the published one, norms, hubs",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				m, err := c.Releases.GetReleaseReport(ctx, &seguev1.GetReleaseReportRequest{Collection: args[0], Release: release, SampleCount: sample})
				if err != nil {
					return err
				}
				if out == formatJSON {
					return writeMessage(env, m)
				}
				return writeReleaseReport(env, m)
			})
		},
	}
	c.Flags().Uint32Var(&release, "release", 0, "the release (default the published one)")
	c.Flags().Int32Var(&sample, "sample", 0, "how many items to ask with (default 200)")
	r.flags(c, 0)
	out.flag(c)
	return c
}

func writeReleaseReport(env *environment, m *seguev1.GetReleaseReportResponse) error {
	rel := m.GetRelease()
	fmt.Fprintf(env.stdout, "release %d, %s: %s items, %s rows rejected, %s duplicates\n", rel.GetId(), releaseStateName(rel.GetState()),
		thousands(rel.GetItemCount()), thousands(rel.GetRejectedCount()), thousands(rel.GetDuplicateCount()))
	n := m.GetNorms()
	fmt.Fprintf(env.stdout, "norms: %.4g to %.4g, mean %.4g, standard deviation %.4g\n", n.GetMin(), n.GetMax(), n.GetMean(), n.GetStandardDeviation())
	fmt.Fprintf(env.stdout, "overlap@%d with the published release: %.4f over %d items\n", m.GetK(), m.GetOverlap(), m.GetOverlapSampleCount())
	if faults := m.GetGraphFaultCount(); faults >= 0 {
		fmt.Fprintf(env.stdout, "graph faults: %d\n", faults)
	}
	t := table{columns: []column{{title: "EF", right: true}, {title: fmt.Sprintf("RECALL@%d", m.GetK()), right: true}, {title: "DISTANCES", right: true}}}
	for _, p := range m.GetRecall() {
		ef := strconv.Itoa(int(p.GetEf()))
		if p.GetEf() == m.GetDefaultEf() {
			ef = "default " + ef
		}
		t.add(ef, fmt.Sprintf("%.4f", p.GetRecall()), fmt.Sprintf("%.0f", p.GetMeanDistanceCount()))
	}
	return t.write(env.stdout)
}

func newReleasePublishCommand(env *environment) *cobra.Command {
	var r remote
	var cond conditionFlags
	c := &cobra.Command{
		Use:   "publish COLLECTION RELEASE",
		Short: "Make a release the one that serves, if it meets the conditions",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return usagef("RELEASE must be a number, is %q", args[1])
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return cond.publish(ctx, env, c, args[0], uint32(id))
			})
		},
	}
	cond.add(c)
	r.flags(c, 0)
	return c
}

// conditionFlags are the conditions of a publication.
type conditionFlags struct{ message seguev1.PublishConditions }

func (f *conditionFlags) add(c *cobra.Command) {
	flags, m := c.Flags(), &f.message
	flags.Int64Var(&m.MinItemCount, "min-items", 0, "publish only with at least so many items")
	flags.Float64Var(&m.MinItemRatio, "min-item-ratio", 0, "publish only with at least so many items relative to the published release")
	flags.Float64Var(&m.MinRecall, "min-recall", 0, "publish only with at least this recall@10 at the default effort")
	flags.Float64Var(&m.MinOverlap, "min-overlap", 0, "publish only with at least this overlap@10 with the published release")
	flags.Float64Var(&m.MaxRejectRatio, "max-reject-ratio", 0, "publish only where at most this share of rows was refused; negative: none")
}

func (f *conditionFlags) publish(ctx context.Context, env *environment, c *client.Client, collection string, release uint32) error {
	answer, err := c.Releases.PublishRelease(ctx, &seguev1.PublishReleaseRequest{Collection: collection, Release: release, Conditions: &f.message})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "published release %d of %s: %s items\n", release, collection, thousands(answer.GetRelease().GetItemCount()))
	return err
}

func newReleaseRollbackCommand(env *environment) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "rollback COLLECTION",
		Short: "Publish the release that was published before",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Releases.RollbackCollection(ctx, &seguev1.RollbackCollectionRequest{Collection: args[0]})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "published release %d of %s: %s items\n", answer.GetRelease().GetId(), args[0],
					thousands(answer.GetRelease().GetItemCount()))
				return err
			})
		},
	}
	r.flags(c, 0)
	return c
}

func newReleaseDeleteCommand(env *environment) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use:   "delete COLLECTION RELEASE",
		Short: "Delete a release that is not published, or give its unfinished import up, and give its disk space back",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil {
				return usagef("RELEASE must be a number, is %q", args[1])
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				_, err := c.Releases.DeleteRelease(ctx, &seguev1.DeleteReleaseRequest{Collection: args[0], Release: uint32(id)})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "deleted release %d of %s\n", id, args[0])
				return err
			})
		},
	}
	r.flags(c, 0)
	return c
}

func releaseStateName(s seguev1.ReleaseState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "RELEASE_STATE_"))
}

// writeMessage writes a message as JSON with the names of the API.
func writeMessage(env *environment, m proto.Message) error {
	b, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true, EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, string(b))
	return err
}
