package peers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// compileTime bounds the compilation of one driver.
const compileTime = 3 * time.Minute

// A driver is a C++ program that speaks the protocol of the package comment.
type driver struct {
	name      string
	header    string   // of the library, as a source includes it
	debian    string   // the package that brings it
	source    string   // below drivers
	libraries []string // to link
}

var drivers = []driver{
	{name: "hnswlib", header: "hnswlib/hnswlib.h", debian: "libhnswlib-dev", source: "hnswlib.cpp"},
	{name: "faiss", header: "faiss/IndexHNSW.h", debian: "libfaiss-dev", source: "faiss.cpp", libraries: []string{"-lfaiss", "-lopenblas"}},
}

// flags are those a user of the libraries would choose for speed on the machine at hand.
var flags = []string{"-std=c++17", "-O3", "-march=native", "-fopenmp"}

// MissingError says what is not installed. `make bench-peers` installs it on Debian.
type MissingError struct {
	Driver string
	What   string
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("driver %s: %s is not installed", e.Driver, e.What)
}

// compile makes the program of d in dir and returns its path and version. An up-to-date one from an earlier run stays. Its
// error is a [*MissingError] if compiler or library are not there.
func (d driver) compile(ctx context.Context, root, dir string) (program, version string, err error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", "", &MissingError{d.name, "g++"}
	}
	ctx, cancel := context.WithTimeout(ctx, compileTime)
	defer cancel()
	preprocess := exec.CommandContext(ctx, compiler, "-E", "-x", "c++", "-")
	preprocess.Stdin = strings.NewReader("#include <" + d.header + ">\n")
	if err := preprocess.Run(); err != nil {
		if ctx.Err() != nil {
			return "", "", ctx.Err()
		}
		return "", "", &MissingError{d.name, d.debian}
	}
	version = debianVersion(ctx, d.debian)

	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	program = filepath.Join(dir, d.name)
	sources := filepath.Join(root, "loadtest", "peers", "drivers")
	if newer(program, filepath.Join(sources, d.source), filepath.Join(sources, "protocol.h")) {
		return program, version, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", "", err
	}
	args := append([]string{}, flags...)
	args = append(args, fmt.Sprintf("-DPEERS_VERSION=%q", version), filepath.Join(sources, d.source), "-o", program)
	args = append(args, d.libraries...)
	if out, err := exec.CommandContext(ctx, compiler, args...).CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("compiling driver %s: %w\n%s", d.name, err, out)
	}
	return program, version, nil
}

// debianVersion returns the version of an installed package, "unknown" if it came otherwise.
func debianVersion(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Version}", name).Output()
	if err != nil || len(out) == 0 {
		return "unknown"
	}
	return string(out)
}

// newer reports whether program exists and is younger than all sources.
func newer(program string, sources ...string) bool {
	made, err := os.Stat(program)
	if err != nil {
		return false
	}
	for _, s := range sources {
		if written, err := os.Stat(s); err != nil || !written.ModTime().Before(made.ModTime()) {
			return false
		}
	}
	return true
}
