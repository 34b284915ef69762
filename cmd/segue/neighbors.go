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
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// neighborsFlags are the flags of `segue neighbors`.
type neighborsFlags struct {
	remote     remote
	collection string
	item       string
	user       string
	vector     string
	row        int
	k          int
	ef         int
	exact      bool
	attributes []string
	out        format
}

func newNeighborsCommand(env *environment) *cobra.Command {
	var f neighborsFlags
	c := &cobra.Command{
		Use:   "neighbors --collection NAME (--item ID | --user ID | --vector FILE)",
		Short: "Show the nearest neighbors of an item, a user or a vector",
		Long: "Neighbors shows what is nearest to an item (\"more like this\"), to a user's stored profile, or to a vector:\n" +
			"row --row of a matrix (.npy, .fvecs, .bvecs, .ivecs), or of JSON lines with a field \"vector\", or a JSON array\n" +
			"of numbers (.json, or - for standard input).",
		Example: "  segue neighbors --collection tracks --item 0VjIjW4GlUZAMYd2vXMi3b -k 5\n" +
			"  segue neighbors --collection tracks --user 37i9dQZF1DX4wta20PHgwo --exact -o json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request, err := f.request(env.stdin)
			if err != nil {
				return err
			}
			return f.remote.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Retrieval.NearestNeighbors(ctx, request)
				if err != nil {
					return err
				}
				if f.out == formatJSON {
					return writeJSON(env.stdout, neighborsJSONOf(answer))
				}
				return neighborTable(answer.GetNeighbors(), f.attributes).write(env.stdout)
			})
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.collection, "collection", "", "`NAME` of the collection")
	flags.StringVar(&f.item, "item", "", "`ID` of the item to be like")
	flags.StringVar(&f.user, "user", "", "`ID` of the user to please")
	flags.StringVar(&f.vector, "vector", "", "`FILE` with the vector to be near to")
	flags.IntVar(&f.row, "row", 0, "row of the file, from 0")
	flags.IntVarP(&f.k, "k", "k", 10, "how many neighbors")
	flags.IntVar(&f.ef, "ef", 0, "beam width of the search; wider finds more and costs more (default: the server's)")
	flags.BoolVar(&f.exact, "exact", false, "compare with every item")
	flags.StringSliceVar(&f.attributes, "attributes", nil, "`NAMES` of the attributes to show, comma separated (default all)")
	f.remote.flags(c, 30*time.Second)
	f.out.flag(c)
	if err := c.MarkFlagRequired("collection"); err != nil {
		panic(err) // the flag was added above
	}
	c.MarkFlagsOneRequired("item", "user", "vector")
	c.MarkFlagsMutuallyExclusive("item", "user", "vector")
	c.MarkFlagsMutuallyExclusive("ef", "exact")
	return c
}

// request builds the message; what its values may be is the server's to say.
func (f *neighborsFlags) request(stdin io.Reader) (*seguev1.NearestNeighborsRequest, error) {
	for _, v := range [...]int{f.k, f.ef} {
		if int(int32(v)) != v {
			return nil, usagef("%d is out of range", v)
		}
	}
	r := &seguev1.NearestNeighborsRequest{
		Collection:    f.collection,
		NeighborCount: int32(f.k),
		ReadMask:      &fieldmaskpb.FieldMask{Paths: []string{"attributes"}},
	}
	if len(f.attributes) > 0 {
		r.ReadMask.Paths = nil
		for _, name := range f.attributes {
			r.ReadMask.Paths = append(r.ReadMask.Paths, "attributes."+name)
		}
	}
	switch {
	case f.exact:
		r.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Exact{Exact: true}}
	case f.ef != 0:
		r.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: int32(f.ef)}}
	}
	switch {
	case f.item != "":
		r.Query = &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: f.item}}
	case f.user != "":
		r.Query = &seguev1.Query{Form: &seguev1.Query_UserId{UserId: f.user}}
	case f.vector != "":
		v, err := readVector(f.vector, f.row, stdin)
		if err != nil {
			return nil, err
		}
		r.Query = &seguev1.Query{Form: &seguev1.Query_Vector{Vector: client.Vector(v)}}
	default:
		return nil, usagef("--item, --user or --vector must not be empty")
	}
	return r, nil
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
