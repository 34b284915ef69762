package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// neighborsFlags are the flags of `segue neighbors`.
type neighborsFlags struct {
	queryFlags
	remote  remote
	explain bool
	partial bool
	page    int
	out     format
}

func newNeighborsCommand(env *environment) *cobra.Command {
	var f neighborsFlags
	c := &cobra.Command{
		Use:   "neighbors --collection NAME (--item ID | --user ID | --like IDS | --vector FILE)",
		Short: "Show the nearest neighbors of items, a user or a vector",
		Long: "Neighbors shows what is nearest to an item (\"more like this\"), to a user's stored profile, to several items and\n" +
			"not to others, or to a vector: row --row of a matrix (.npy, .fvecs, .bvecs, .ivecs), or of JSON lines with a field\n" +
			"\"vector\", or a JSON array of numbers (.json, or - for standard input).",
		Example: "  segue neighbors --collection tracks --item 0VjIjW4GlUZAMYd2vXMi3b -k 5\n" +
			"  segue neighbors --collection tracks --like 0VjIjW4GlUZAMYd2vXMi3b,0ofHAoxe9vBkTCp2UQIavz --unlike 2xLMifQCjDGFmkHkpNLD9h\n" +
			"  segue neighbors --collection tracks --user 37i9dQZF1DX4wta20PHgwo --max-per artists=1 --diversity 0.3 --explain",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.request(env.stdin)
			if err != nil {
				return err
			}
			request.Explain, request.AllowPartial, request.PageSize = f.explain, f.partial, int32(f.page)
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				var answer *seguev1.NearestNeighborsResponse
				for page, err := range c.Pages(ctx, request) {
					if err != nil {
						return err
					}
					page.Neighbors = append(answer.GetNeighbors(), page.GetNeighbors()...)
					answer = page
				}
				if f.out == formatJSON {
					return writeJSON(env.stdout, neighborsJSONOf(answer))
				}
				return writeNeighbors(env.stdout, answer, request)
			})
		},
	}
	f.queryFlags.flags(c)
	c.Flags().BoolVar(&f.explain, "explain", false, "say why each neighbor stands where it does")
	c.Flags().BoolVar(&f.partial, "partial", false, "answer with what was found when --timeout nears")
	c.Flags().IntVar(&f.page, "page-size", 0, "ask for so many neighbors at a time, page after page (default: all at once)")
	f.remote.flags(c, 30*time.Second)
	f.out.flag(c)
	return c
}

// maxVectorText bounds a vector given as text: the largest dimension in the longest usual notation.
const maxVectorText = 4 << 20

// readVector reads one row of a file in any format that import reads, or a JSON array of numbers.
func readVector(name string, row int, stdin io.Reader) ([]float32, error) {
	if row < 0 {
		return nil, usagef("--row must not be negative")
	}
	if name == "-" {
		return readVectorText("standard input", stdin)
	}
	if strings.HasSuffix(strings.ToLower(name), ".json") {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readVectorText(name, f)
	}
	if lines, err := dataset.OpenItems(name); err == nil {
		defer lines.Close()
		return rowOfLines(name, lines, row)
	} else if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil, err
	}
	m, err := dataset.OpenVectors(name)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	v := make([]float32, m.Dim())
	for range row + 1 {
		err := m.Next(v)
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s has no row %d", name, row)
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

func rowOfLines(name string, lines *dataset.ItemReader, row int) ([]float32, error) {
	for i := 0; ; i++ {
		r, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s has no row %d", name, row)
		}
		var bad *dataset.RowError
		if err != nil && (i == row || !errors.As(err, &bad)) {
			return nil, err
		}
		if i == row {
			if r.Vector == nil {
				return nil, fmt.Errorf("%s: row %d has no field \"vector\"", name, row)
			}
			return r.Vector, nil
		}
	}
}

func readVectorText(name string, r io.Reader) ([]float32, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxVectorText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxVectorText {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxVectorText)
	}
	var list []*float32 // pointers, because null would read as 0
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s is not a JSON array of numbers: %w", name, err)
	}
	v := make([]float32, len(list))
	for i, x := range list {
		if x == nil {
			return nil, fmt.Errorf("%s is not a JSON array of numbers: element %d is null", name, i)
		}
		v[i] = *x
	}
	return v, nil
}
