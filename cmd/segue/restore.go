package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/storage/backup"
)

func newRestoreCommand(env *environment) *cobra.Command {
	var from, data string
	var number uint64
	var out format
	c := &cobra.Command{
		Use:   "restore --from URL --data DIR",
		Short: "Put a backup into a new directory, for segue serve to serve",
		Long: "Restore writes the newest backup, or that of --number, into DIR, which must be missing or empty, and verifies every byte.\n" +
			"The store appears as a whole: a server refuses DIR until the restore is done. One that was interrupted is run again, and goes\n" +
			"on where it was.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usagef("--data is required: the directory to restore into")
			}
			if cmd.Flags().Changed("number") && number == 0 {
				return usagef("--number counts from 1")
			}
			return withTarget(cmd.Context(), env, from, func(t *backup.Target) error {
				info, err := t.Restore(cmd.Context(), number, nil, data)
				if err != nil {
					return err
				}
				b := backupJSONOf(info)
				if out == formatJSON {
					return writeJSON(env.stdout, b)
				}
				_, err = fmt.Fprintf(env.stdout, "restored backup %d into %s: %s files, %s bytes\n", b.Number, printable(data), thousands(int64(b.Files)), thousands(b.SizeBytes))
				return err
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", targetUsage)
	c.Flags().StringVar(&data, "data", "", "`DIR` to restore into: missing or empty")
	c.Flags().Uint64Var(&number, "number", 0, "restore this backup instead of the newest")
	out.flag(c)
	return c
}
