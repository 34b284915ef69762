package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand(env *environment) *cobra.Command {
	var out format
	c := &cobra.Command{
		Use:   "version",
		Short: "Say what this binary was built from",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info, _ := debug.ReadBuildInfo()
			v := versionOf(info)
			if out == formatJSON {
				return writeJSON(env.stdout, v)
			}
			_, err := fmt.Fprintln(env.stdout, v)
			return err
		},
	}
	out.flag(c)
	return c
}

// versionInfo says what a binary was built from. Empty fields were not recorded by the build.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`
	// Modified says that the working tree had changes beyond Revision.
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// versionOf reads what the go command recorded; info may be nil.
func versionOf(info *debug.BuildInfo) versionInfo {
	v := versionInfo{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is the line that `segue version` prints.
func (v versionInfo) String() string {
	s := "segue " + v.Version
	if v.Revision != "" {
		s += ", revision " + v.Revision
		if v.Modified {
			s += " with changes"
		}
	}
	if v.Time != "" {
		s += " of " + v.Time
	}
	return s + ", " + v.Go + " " + v.Platform
}
