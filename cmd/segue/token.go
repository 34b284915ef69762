package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/server/auth"
)

func newTokenCommand(env *environment) *cobra.Command {
	var name string
	var grants []string
	c := &cobra.Command{
		Use:   "token --name NAME --grant ROLE:COLLECTIONS",
		Short: "Make a bearer token and its line of an access file",
		Long: "Token makes a random token. The token goes to stdout: hand it to the caller and keep it nowhere else. The line\n" +
			"for the access file of segue serve goes to stderr: it holds only the token's SHA-256.\n\n" +
			"Roles are read, write and admin, each including those before it; COLLECTIONS is a name or a pattern such as *.",
		Example: "  segue token --name radio --grant 'read:*' --grant 'write:tracks' >radio.token 2>>access",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if name == "" || strings.ContainsAny(name, " \t\r\n#") {
				return usagef("--name %q must be one word without #", name)
			}
			if _, err := auth.ParseGrants(grants); err != nil {
				return usagef("--grant: %v", err)
			}
			token, credential := auth.NewToken()
			if _, err := fmt.Fprintln(env.stdout, token); err != nil {
				return err
			}
			_, err := fmt.Fprintf(env.stderr, "%s %s %s\n", name, strings.Join(grants, ","), credential)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the caller, for logs and rate limits")
	c.Flags().StringSliceVar(&grants, "grant", nil, "ROLE:COLLECTIONS; may be repeated")
	return c
}
