package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/storage/backup"
)

func newBackupCommand(env *environment) *cobra.Command {
	return groupCommand("backup", "Copies of a store elsewhere: create, list, verify, prune (see also segue restore)",
		newBackupCreateCommand(env),
		newBackupListCommand(env),
		newBackupVerifyCommand(env),
		newBackupPruneCommand(env),
	)
}

// openTarget opens where backups are kept, with what it has to say on stderr.
func openTarget(ctx context.Context, env *environment, target string) (*backup.Target, error) {
	if target == "" {
		return nil, usagef("--from is required: the directory or URL of the backups")
	}
	return backup.Open(ctx, target, newLogger(env, slog.LevelInfo))
}

// withTarget runs do on a target.
func withTarget(ctx context.Context, env *environment, target string, do func(*backup.Target) error) error {
	t, err := openTarget(ctx, env, target)
	if err != nil {
		return err
	}
	return errors.Join(do(t), t.Close())
}

const targetUsage = "directory or `URL` (file, s3) of the backups"

func newBackupCreateCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	var data, to string
	c := &cobra.Command{
		Use:   "create [--data DIR --to URL]",
		Short: "Back up a running server's store, or one that no server has open",
		Long: "Create asks the server at --addr to back up its store, all collections, to where segue serve --backup-to says, and waits\n" +
			"until the backup is durable. Reads and writes go on meanwhile; every write that was acknowledged before is in it.\n\n" +
			"With --data it backs up the store in DIR, which no server may have open, to --to.\n\n" +
			"Files that the newest backup has are not sent again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data != "" || to != "" {
				if data == "" {
					return usagef("--to needs --data: a running server writes to its own --backup-to")
				}
				if to == "" {
					return usagef("--data needs --to: the directory or URL where backups are kept")
				}
				return withTarget(cmd.Context(), env, to, func(t *backup.Target) error {
					info, err := t.Create(cmd.Context(), backup.Source{Dir: data})
					if err != nil {
						return err
					}
					return printCreated(env, out, backupJSONOf(info))
				})
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Admin.CreateBackup(ctx, &seguev1.CreateBackupRequest{})
				if err != nil {
					return err
				}
				b := answer.GetBackup()
				info := backup.Info{Number: uint64(b.GetNumber()), CreateTime: b.GetCreateTime().AsTime(), Files: int(b.GetFileCount()),
					SizeBytes: b.GetSizeBytes(), SentBytes: b.GetSentBytes()}
				for _, p := range b.GetPositions() {
					info.Positions = append(info.Positions, backup.Position{Collection: p.GetCollection(), Release: uint32(p.GetRelease()), LSN: uint64(p.GetRevision())})
				}
				return printCreated(env, out, backupJSONOf(info))
			})
		},
	}
	r.flags(c, 0)
	out.flag(c)
	c.Flags().StringVar(&data, "data", "", "`DIR` of a store that no server has open")
	c.Flags().StringVar(&to, "to", "", "directory or `URL` (file, s3) where its backups are kept")
	return c
}

func printCreated(env *environment, out format, b backupJSON) error {
	if out == formatJSON {
		return writeJSON(env.stdout, b)
	}
	_, err := fmt.Fprintf(env.stdout, "created backup %d: %s files, %s bytes, %s of them sent\n", b.Number, thousands(int64(b.Files)), thousands(b.SizeBytes), thousands(b.SentBytes))
	return err
}

type backupJSON struct {
	Number     uint64               `json:"number"`
	CreateTime *time.Time           `json:"create_time,omitempty"`
	Files      int                  `json:"file_count"`
	SizeBytes  int64                `json:"size_bytes"`
	SentBytes  int64                `json:"sent_bytes"`
	Positions  []backupPositionJSON `json:"positions"`
	Problem    string               `json:"problem,omitempty"`
}

type backupPositionJSON struct {
	Collection string `json:"collection"`
	Release    uint32 `json:"release"`
	Revision   uint64 `json:"revision"`
}

func backupJSONOf(info backup.Info) backupJSON {
	b := backupJSON{Number: info.Number, CreateTime: &info.CreateTime, Files: info.Files, SizeBytes: info.SizeBytes, SentBytes: info.SentBytes,
		Positions: []backupPositionJSON{}}
	for _, p := range info.Positions {
		b.Positions = append(b.Positions, backupPositionJSON{p.Collection, p.Release, p.LSN})
	}
	return b
}

func newBackupListCommand(env *environment) *cobra.Command {
	var out format
	var from string
	c := &cobra.Command{
		Use:   "list --from URL",
		Short: "List the backups of a target, oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTarget(cmd.Context(), env, from, func(t *backup.Target) error {
				entries, err := t.List(cmd.Context())
				if err != nil {
					return err
				}
				list := []backupJSON{}
				bad := int64(0)
				for _, e := range entries {
					b := backupJSON{Number: e.Number, Positions: []backupPositionJSON{}}
					if e.Err == nil {
						b = backupJSONOf(e.Info)
					} else {
						b.Problem = e.Err.Error()
						bad++
					}
					list = append(list, b)
				}
				if err := printBackups(env, out, list); err != nil {
					return err
				}
				if bad > 0 {
					return &badDataError{fmt.Sprintf("%s cannot be read", plural(bad, "backup"))}
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", targetUsage)
	out.flag(c)
	return c
}

func printBackups(env *environment, out format, list []backupJSON) error {
	if out == formatJSON {
		return writeJSON(env.stdout, map[string]any{"backups": list})
	}
	t := table{columns: []column{{title: "number", right: true}, {title: "files", right: true}, {title: "bytes", right: true}, {title: "sent", right: true}, {title: "created"}, {title: "holds"}}}
	for _, b := range list {
		if b.Problem != "" {
			t.add(fmt.Sprint(b.Number), "", "", "", "", printable(b.Problem))
			continue
		}
		holds := ""
		for i, p := range b.Positions {
			if i > 0 {
				holds += ", "
			}
			holds += fmt.Sprintf("%s/%d up to %s", printable(p.Collection), p.Release, thousands(int64(p.Revision)))
		}
		t.add(fmt.Sprint(b.Number), thousands(int64(b.Files)), thousands(b.SizeBytes), thousands(b.SentBytes), b.CreateTime.Format(time.RFC3339), holds)
	}
	return t.write(env.stdout)
}

func newBackupVerifyCommand(env *environment) *cobra.Command {
	var out format
	var from string
	var number uint64
	c := &cobra.Command{
		Use:   "verify --from URL",
		Short: "Read every byte of the backups of a target, or of one, and compare it with its checksum",
		Long:  "Exit code 0: all is well; 3: something is damaged or missing, and named; 1: the target could not be read.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTarget(cmd.Context(), env, from, func(t *backup.Target) error {
				var numbers []uint64
				if cmd.Flags().Changed("number") {
					numbers = []uint64{number}
				}
				findings := []findingJSON{}
				err := t.Verify(cmd.Context(), numbers, func(d *backup.DamageError) {
					f := findingJSON{Where: d.Object, Problem: d.Reason}
					if d.File != "" {
						f.Where += " (" + d.File + ")"
					}
					findings = append(findings, f)
					if out == formatTable {
						fmt.Fprintf(env.stdout, "%s: %s\n", printable(f.Where), printable(f.Problem))
					}
				})
				if err != nil {
					return err
				}
				if out == formatJSON {
					if err := writeJSON(env.stdout, map[string]any{"ok": len(findings) == 0, "findings": findings}); err != nil {
						return err
					}
				}
				if n := len(findings); n > 0 {
					return &badDataError{fmt.Sprintf("%s found in the backups", plural(int64(n), "problem"))}
				}
				if out == formatTable {
					_, err = fmt.Fprintln(env.stdout, "no problem found")
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", targetUsage)
	c.Flags().Uint64Var(&number, "number", 0, "verify this backup only")
	out.flag(c)
	return c
}

func newBackupPruneCommand(env *environment) *cobra.Command {
	var from string
	var keep int
	c := &cobra.Command{
		Use:   "prune --from URL --keep N",
		Short: "Remove all backups but the newest N, and the files that only those needed",
		Long:  "Prune may run while a backup is made, and can be interrupted. It also removes what failed backups left.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep < 1 {
				return usagef("--keep is required: how many backups to keep, at least 1")
			}
			return withTarget(cmd.Context(), env, from, func(t *backup.Target) error {
				p, err := t.Prune(cmd.Context(), keep)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(env.stdout, "removed %s and %s of %s bytes\n", plural(int64(len(p.Backups)), "backup"), plural(int64(p.Objects), "file"), thousands(p.SizeBytes))
				return err
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", targetUsage)
	c.Flags().IntVar(&keep, "keep", 0, "how many backups to keep")
	return c
}
