package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// configFlag names the file of settings.
const configFlag = "config"

// notSettings are flags of every command.
var notSettings = []string{configFlag, "help"}

// addConfig gives the flags of c two more sources, weaker than the command line: variables, SEGUE_ and the flag's name in upper
// case with _ for -, and then a file of "flag: value" lines in YAML. One name a setting, everywhere.
func addConfig(c *cobra.Command) {
	c.Flags().String(configFlag, "", "`FILE` of settings, \"flag: value\" lines (YAML); variables SEGUE_FLAG and flags override it")
	c.PreRunE = func(cmd *cobra.Command, _ []string) error { return settle(cmd.Flags(), os.LookupEnv) }
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "SEGUE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// settle sets the flags that the command line left open. Every mistake is reported, with where it stands.
func settle(flags *pflag.FlagSet, lookup func(string) (string, bool)) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if value, ok := lookup(variable(f.Name)); ok && f.Name != "help" && !f.Changed {
			if err := flags.Set(f.Name, value); err != nil {
				errs = append(errs, usagef("%s: %v", variable(f.Name), err))
			}
		}
	})
	path, err := flags.GetString(configFlag)
	if err != nil || path == "" {
		return errors.Join(append(errs, err)...)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("--config: %w", err))...)
	}
	return errors.Join(append(errs, settleFrom(flags, path, text))...)
}

// settleFrom sets from the text of a file the flags that are still open.
func settleFrom(flags *pflag.FlagSet, path string, text []byte) error {
	var settings map[string]yaml.Node
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return usagef("%s: %v", path, err)
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		node := settings[name]
		f := flags.Lookup(name)
		switch {
		case f == nil || slices.Contains(notSettings, name):
			errs = append(errs, usagef("%s:%d: there is no setting %q", path, node.Line, name))
		case node.Kind != yaml.ScalarNode:
			errs = append(errs, usagef("%s:%d: %s must have one value", path, node.Line, name))
		case !f.Changed:
			if err := flags.Set(name, node.Value); err != nil {
				errs = append(errs, usagef("%s:%d: %v", path, node.Line, err))
			}
		}
	}
	return errors.Join(errs...)
}

// newConfigCommand is a group of what is done with settings.
func newConfigCommand(env *environment) *cobra.Command {
	return groupCommand("config", "Show the settings of segue serve", newConfigPrintCommand(env))
}

func newConfigPrintCommand(env *environment) *cobra.Command {
	serve := newServeCommand(env)
	c := &cobra.Command{
		Use:   "print",
		Short: "Print every setting as segue serve would use it, as a file for --config",
		Long: "Print takes the flags, variables and file of segue serve, and prints what comes of them: every setting with its\n" +
			"meaning and its value. The output is a file for --config. Secrets are in files that settings name, and are not printed;\n" +
			"a password within a URL is replaced by xxxxx.",
		Args:    cobra.NoArgs,
		PreRunE: serve.PreRunE,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var b strings.Builder
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if slices.Contains(notSettings, f.Name) {
					return
				}
				_, usage := pflag.UnquoteUsage(f)
				value, err := yaml.Marshal(redacted(f.Value.String()))
				if err != nil {
					panic(err) // a string
				}
				fmt.Fprintf(&b, "# %s\n%s: %s", usage, f.Name, value)
			})
			_, err := fmt.Fprint(env.stdout, b.String())
			return err
		},
	}
	c.Flags().AddFlagSet(serve.Flags())
	return c
}

// redacted is a setting without the password, if it is a URL with one; also one that is no proper URL because of its password.
func redacted(value string) string {
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return regexp.MustCompile(`(://[^/@:]*):.*@`).ReplaceAllString(value, "$1:xxxxx@")
	case u.User != nil:
		return u.Redacted()
	}
	return value
}
