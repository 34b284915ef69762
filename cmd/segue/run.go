package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes; doc.go says what they mean.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitBadData = 3
)

// environment is what a command knows of the process around it.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// stderrTTY says that a person watches stderr: progress is drawn as a bar, logs are text.
	stderrTTY bool
}

func systemEnvironment() *environment {
	return &environment{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		stderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// usageError is a mistake in how a command was called that its flags alone could not show.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

// badDataError says that a command did its work and found bad data, which it has already reported.
type badDataError struct{ msg string }

func (e *badDataError) Error() string { return e.msg }

// untilSignal returns a context that the first SIGINT or SIGTERM cancels. By the time it is cancelled signals do again what they do by
// default: a program that is seen to stop is ended by the next one.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, cancel
}

// run executes one command line and returns the exit code. The first SIGINT or SIGTERM cancels the
// command's context; a second one ends the process at once, as the signal does by default.
func run(ctx context.Context, args []string, env *environment) int {
	ctx, stop := untilSignal(ctx)
	defer stop()

	root := newRootCommand(env)
	started := false
	noteStart(root, &started)
	root.SetArgs(args)
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}

	var usage *usageError
	var bad *badDataError
	switch {
	case !started || errors.As(err, &usage):
		fmt.Fprintf(env.stderr, "segue: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &bad):
		fmt.Fprintf(env.stderr, "segue: %v\n", err)
		return exitBadData
	case ctx.Err() != nil && isCanceled(err):
		fmt.Fprintln(env.stderr, "segue: interrupted")
		return exitFailure
	}
	fmt.Fprintf(env.stderr, "segue: %s\n", describe(err))
	return exitFailure
}

// noteStart makes every command under c set *started when its own code begins to run: an error before
// that came from parsing the command line.
func noteStart(c *cobra.Command, started *bool) {
	if inner := c.RunE; inner != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return inner(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		noteStart(sub, started)
	}
}

func newRootCommand(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "segue",
		Short: "Approximate nearest neighbors for tracks and episodes, served over gRPC",
		Long: "Segue keeps track and episode embeddings in an HNSW graph and durably on disk, and answers\n" +
			"\"more like this\" and user-to-item queries over gRPC.\n\n" +
			"Exit codes: 0 done, 1 failure, 2 usage, 3 done but bad data was found.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newDemoCommand(env),
		newServeCommand(env),
		newCollectionCommand(env),
		newBuildCommand(env),
		newImportCommand(env),
		newNeighborsCommand(env),
		newBatchCommand(env),
		newExplainCommand(env),
		newScoreCommand(env),
		newMeasureCommand(env),
		newItemCommand(env),
		newExclusionsCommand(env),
		newSnapshotCommand(env),
		newReleaseCommand(env),
		newBackupCommand(env),
		newRestoreCommand(env),
		newCheckCommand(env),
		newBenchCommand(env),
		newTokenCommand(env),
		newConfigCommand(env),
		newLoadtestCommand(env),
		newReplayCommand(env),
		newVersionCommand(env),
	)
	return root
}

// groupCommand is a command that only holds others: alone it is a usage error.
func groupCommand(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%q needs a subcommand", use)
		}
		return fmt.Errorf("unknown command %q for %q", args[0], "segue "+use)
	}
	c.RunE = func(*cobra.Command, []string) error { return nil }
	c.AddCommand(subs...)
	return c
}
