package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/engine"
)

func newCheckCommand(env *environment) *cobra.Command {
	var out format
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "Verify a store that no server has open: checksums, items, log, snapshots, graph",
		Long: "Check reads every byte of the store in DIR and changes none. It verifies checksums, item rows, the log\n" +
			"and the snapshots, then recovers every collection in memory as a start would, and compares the graph\n" +
			"with the items. Each problem is named. Exit code 0: all is well; 3: problems were found; 1: the check\n" +
			"itself failed, for example because a server has the store open.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			findings := []findingJSON{}
			report := func(f engine.Finding) {
				findings = append(findings, findingJSON{Where: f.Where, Problem: f.Problem})
				if out == formatTable {
					fmt.Fprintf(env.stdout, "%s: %s\n", printable(f.Where), printable(f.Problem))
				}
			}
			err := engine.Check(cmd.Context(), args[0], engine.Options{Logger: slog.New(slog.DiscardHandler)}, report)
			if engine.IsCorruption(err) { // damage that the check could not step over is a finding all the same
				report(engine.Finding{Where: args[0], Problem: err.Error()})
				err = nil
			}
			if err != nil {
				return fmt.Errorf("check %s: %w", args[0], err)
			}
			if out == formatJSON {
				if err := writeJSON(env.stdout, map[string]any{"dir": args[0], "ok": len(findings) == 0, "findings": findings}); err != nil {
					return err
				}
			}
			if n := len(findings); n > 0 {
				return &badDataError{fmt.Sprintf("%s found in %s", plural(int64(n), "problem"), args[0])}
			}
			if out == formatTable {
				_, err = fmt.Fprintf(env.stdout, "%s: no problem found\n", args[0])
			}
			return err
		},
	}
	out.flag(c)
	return c
}

type findingJSON struct {
	Where   string `json:"where"`
	Problem string `json:"problem"`
}

// plural counts things: 1 problem, 2 problems.
func plural(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return thousands(n) + " " + thing + "s"
}
