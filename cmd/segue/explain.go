package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newExplainCommand(env *environment) *cobra.Command {
	var f queryFlags
	var r remote
	var absent string
	c := &cobra.Command{
		Use:   "explain --collection NAME (--item ID | --user ID | --like IDS | --vector FILE) [--absent ID]",
		Short: "Say why neighbors are there, or why an item is not",
		Long: "Explain answers a query as `segue neighbors` does, and exactly, and shows where each neighbor stands in the exact\n" +
			"answer and which ones the approximate search missed. With --absent it says why an item is not among the neighbors.\n" +
			"Both compare with every item of the collection.",
		Example: "  segue explain --collection tracks --item 0VjIjW4GlUZAMYd2vXMi3b --max-per artists=1 --absent 5QO79kh1waicV47BqGRL3g",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.request(env.stdin)
			if err != nil {
				return err
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if absent != "" {
					a, err := c.Retrieval.ExplainAbsence(ctx, &seguev1.ExplainAbsenceRequest{Request: request, ItemId: absent})
					if err != nil {
						return err
					}
					return writeAbsence(env.stdout, a)
				}
				e, err := c.Retrieval.ExplainNeighbors(ctx, &seguev1.ExplainNeighborsRequest{Request: request})
				if err != nil {
					return err
				}
				return writeExplained(env.stdout, e, f.attributes)
			})
		},
	}
	f.flags(c)
	c.Flags().StringVar(&absent, "absent", "", "`ID` of an item that might be missing")
	r.flags(c, 60*time.Second)
	return c
}

// writeAbsence writes the reason and what belongs to it.
func writeAbsence(w io.Writer, a *seguev1.ExplainAbsenceResponse) error {
	score := ""
	if a.Score != nil {
		score = fmt.Sprintf(" (score %.4f)", a.GetScore())
	}
	_, err := fmt.Fprintf(w, "%s: %s%s\n", strings.TrimPrefix(a.GetReason().String(), "ABSENCE_REASON_"), a.GetDetail(), score)
	for _, id := range a.GetCrowdedBy() {
		fmt.Fprintf(w, "  before it: %s\n", id)
	}
	return err
}

// writeExplained writes the neighbors with their places in the exact answer, and those that were missed.
func writeExplained(w io.Writer, e *seguev1.ExplainNeighborsResponse, names []string) error {
	t := neighborTable(e.GetResponse().GetNeighbors(), names)
	t.columns = append(t.columns, column{title: "EXACT", right: true}, column{title: "WHY"})
	for i, n := range e.GetResponse().GetNeighbors() {
		exact := "-"
		if r := e.GetExactRanks()[i]; r > 0 {
			exact = strconv.Itoa(int(r))
		}
		t.rows[i] = append(t.rows[i], exact, why(n))
	}
	if err := t.write(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "recall %.3f against an exact search\n", e.GetRecall())
	if len(e.GetMissed()) == 0 || err != nil {
		return err
	}
	fmt.Fprintln(w, "Missed:")
	return neighborTable(e.GetMissed(), names).write(w)
}
