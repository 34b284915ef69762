package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func newCollectionCommand(env *environment) *cobra.Command {
	return groupCommand("collection", "Create, list, describe, alias and delete collections",
		newCollectionCreateCommand(env),
		newCollectionListCommand(env),
		newCollectionDescribeCommand(env),
		newCollectionDeleteCommand(env),
		newCollectionAliasCommand(env),
	)
}

// collectionFlags are the flags that describe a new collection.
type collectionFlags struct {
	dim            int
	metric         metricFlag
	m              int
	efConstruction int
	vectorStorage  storageFlag
	precision      precisionFlag
	attributes     []string
}

func (f *collectionFlags) add(c *cobra.Command) {
	c.Flags().IntVar(&f.dim, "dim", 0, "how many numbers a vector has")
	c.Flags().Var(&f.metric, "metric", "cosine, ip or l2")
	c.Flags().IntVar(&f.m, "m", 0, "links a node keeps above level 0; twice as many on level 0 (default 16)")
	c.Flags().IntVar(&f.efConstruction, "ef-construction", 0, "beam width while linking an item (default 100)")
	c.Flags().Var(&f.vectorStorage, "vector-storage", "where the index keeps vectors: memory, or file, a scratch file in the data directory (default memory)")
	c.Flags().Var(&f.precision, "vector-precision", "what the index rounds vectors to: float32, or float16, half of their memory (default float32)")
	c.Flags().StringArrayVar(&f.attributes, "attribute", nil,
		"`NAME:TYPE` of an attribute, type keyword, bool, int, float, timestamp or markets; repeat for each. NAME:TYPE:nofilter\nsaves the memory of filtering by it. Without any the collection takes every attribute")
}

// message builds the collection to create.
func (f *collectionFlags) message(name string, dim int) (*seguev1.Collection, error) {
	specs, err := parseAttributeSpecs(f.attributes)
	if err != nil {
		return nil, err
	}
	for _, v := range [...]int{dim, f.m, f.efConstruction} {
		if int(int32(v)) != v {
			return nil, usagef("%d is out of range", v)
		}
	}
	return &seguev1.Collection{
		Name:       name,
		Dimension:  int32(dim),
		Metric:     f.metric.metric,
		Attributes: specs,
		IndexConfig: &seguev1.IndexConfig{
			M: int32(f.m), EfConstruction: int32(f.efConstruction),
			VectorStorage: f.vectorStorage.storage, VectorPrecision: f.precision.precision,
		},
	}, nil
}

func newCollectionCreateCommand(env *environment) *cobra.Command {
	var r remote
	var f collectionFlags
	var out format
	c := &cobra.Command{
		Use:     "create NAME --dim N --metric cosine|ip|l2",
		Short:   "Create an empty collection",
		Example: "  segue collection create tracks --dim 64 --metric cosine --attribute title:keyword --attribute added:timestamp",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			message, err := f.message(args[0], f.dim)
			if err != nil {
				return err
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				answer, err := c.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{Collection: message})
				if err != nil {
					return err
				}
				if out == formatJSON {
					return writeJSON(env.stdout, collectionJSONOf(answer.GetCollection()))
				}
				_, err = fmt.Fprintf(env.stdout, "created collection %s\n", args[0])
				return err
			})
		},
	}
	f.add(c)
	r.flags(c, 30*time.Second)
	out.flag(c)
	for _, name := range []string{"dim", "metric"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was added above
		}
	}
	return c
}

func newCollectionListCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "list",
		Short: "List the collections of a server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				all, err := listCollections(ctx, c)
				if err != nil {
					return err
				}
				if out == formatJSON {
					list := make([]collectionJSON, 0, len(all))
					for _, one := range all {
						list = append(list, collectionJSONOf(one))
					}
					return writeJSON(env.stdout, map[string]any{"collections": list})
				}
				t := table{columns: []column{{title: "NAME"}, {title: "ITEMS", right: true}, {title: "DIM", right: true}, {title: "METRIC"}, {title: "CREATED"}}}
				for _, one := range all {
					t.add(one.GetName(), thousands(one.GetItemCount()), strconv.Itoa(int(one.GetDimension())),
						metricName(one.GetMetric()), one.GetCreateTime().AsTime().Format(time.RFC3339))
				}
				return t.write(env.stdout)
			})
		},
	}
	r.flags(c, 30*time.Second)
	out.flag(c)
	return c
}

// listCollections reads all pages.
func listCollections(ctx context.Context, c *client.Client) ([]*seguev1.Collection, error) {
	var all []*seguev1.Collection
	for token := ""; ; {
		page, err := c.Collections.ListCollections(ctx, &seguev1.ListCollectionsRequest{PageToken: token})
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetCollections()...)
		if token = page.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

func newCollectionDescribeCommand(env *environment) *cobra.Command {
	var r remote
	var out format
	c := &cobra.Command{
		Use:   "describe NAME",
		Short: "Show a collection's configuration, counts and sizes",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				got, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: args[0]})
				if err != nil {
					return err
				}
				stats, err := c.Admin.GetIndexStatistics(ctx, &seguev1.GetIndexStatisticsRequest{Collection: args[0]})
				if err != nil {
					return err
				}
				if out == formatJSON {
					described := collectionJSONOf(got.GetCollection())
					described.Statistics = statisticsJSONOf(stats.GetStatistics())
					return writeJSON(env.stdout, described)
				}
				return describeCollection(env, got.GetCollection(), stats.GetStatistics())
			})
		},
	}
	r.flags(c, 30*time.Second)
	out.flag(c)
	return c
}

func describeCollection(env *environment, c *seguev1.Collection, s *seguev1.IndexStatistics) error {
	attributes := "any"
	if specs := c.GetAttributes(); len(specs) > 0 {
		names := make([]string, len(specs))
		for i, spec := range specs {
			names[i] = attributeSpec(spec)
		}
		attributes = strings.Join(names, " ")
	}
	snapshot := "none"
	if s.GetSnapshotRevision() > 0 {
		snapshot = "revision " + thousands(s.GetSnapshotRevision())
	}
	t := table{columns: []column{{title: "NAME"}, {title: c.GetName()}}}
	t.add("dimension", strconv.Itoa(int(c.GetDimension())))
	t.add("metric", metricName(c.GetMetric()))
	t.add("m", strconv.Itoa(int(c.GetIndexConfig().GetM())))
	t.add("ef_construction", strconv.Itoa(int(c.GetIndexConfig().GetEfConstruction())))
	t.add("vector_storage", (&storageFlag{c.GetIndexConfig().GetVectorStorage()}).String())
	t.add("vector_precision", (&precisionFlag{c.GetIndexConfig().GetVectorPrecision()}).String())
	t.add("attributes", attributes)
	t.add("created", c.GetCreateTime().AsTime().Format(time.RFC3339))
	t.add("items", thousands(s.GetItemCount()))
	t.add("revision", thousands(s.GetRevision()))
	t.add("snapshot", snapshot)
	t.add("writes since", thousands(s.GetLogTailCount()))
	t.add("slots", fmt.Sprintf("%s, %s retired", thousands(s.GetSlotCount()), thousands(s.GetRetiredSlotCount())))
	t.add("graph", fmt.Sprintf("max level %d, mean degree %.1f", s.GetMaxLevel(), s.GetMeanDegree()))
	t.add("index memory", fmt.Sprintf("%s bytes, %.0f an item", thousands(s.GetIndexBytes()), s.GetBytesPerVector()))
	if n := s.GetFileBytes(); n > 0 {
		t.add("vectors in a file", thousands(n)+" bytes")
	}
	t.add("store on disk", thousands(s.GetDiskBytes())+" bytes")
	return t.write(env.stdout)
}

func newCollectionDeleteCommand(env *environment) *cobra.Command {
	var r remote
	var yes bool
	c := &cobra.Command{
		Use:   "delete NAME --yes",
		Short: "Delete a collection with everything in it, for good",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usagef("this deletes collection %q with its items, profiles and snapshots for good: add --yes to do it", args[0])
			}
			return r.call(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if _, err := c.Collections.DeleteCollection(ctx, &seguev1.DeleteCollectionRequest{Name: args[0]}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(env.stdout, "deleted collection %s\n", args[0])
				return err
			})
		},
	}
	r.flags(c, 30*time.Second)
	c.Flags().BoolVar(&yes, "yes", false, "really delete")
	return c
}

// collectionJSON is a collection as the command line writes it.
type collectionJSON struct {
	Name           string            `json:"name"`
	Dim            int32             `json:"dim"`
	Metric         string            `json:"metric"`
	M              int32             `json:"m"`
	EfConstruction int32             `json:"ef_construction"`
	Attributes     map[string]string `json:"attributes"`
	CreateTime     time.Time         `json:"create_time"`
	Items          int64             `json:"items"`
	Revision       int64             `json:"revision"`
	Statistics     *statisticsJSON   `json:"statistics,omitempty"`
}

func collectionJSONOf(c *seguev1.Collection) collectionJSON {
	j := collectionJSON{
		Name:           c.GetName(),
		Dim:            c.GetDimension(),
		Metric:         metricName(c.GetMetric()),
		M:              c.GetIndexConfig().GetM(),
		EfConstruction: c.GetIndexConfig().GetEfConstruction(),
		Attributes:     map[string]string{},
		CreateTime:     c.GetCreateTime().AsTime(),
		Items:          c.GetItemCount(),
		Revision:       c.GetRevision(),
	}
	for _, spec := range c.GetAttributes() {
		_, j.Attributes[spec.GetName()], _ = strings.Cut(attributeSpec(spec), ":")
	}
	return j
}

// statisticsJSON has the fields and names of seguev1.IndexStatistics.
type statisticsJSON struct {
	ItemCount        int64   `json:"item_count"`
	SlotCount        int64   `json:"slot_count"`
	RetiredSlotCount int64   `json:"retired_slot_count"`
	MaxLevel         int32   `json:"max_level"`
	MeanDegree       float64 `json:"mean_degree"`
	BytesPerVector   float64 `json:"bytes_per_vector"`
	IndexBytes       int64   `json:"index_bytes"`
	FileBytes        int64   `json:"file_bytes"`
	DiskBytes        int64   `json:"disk_bytes"`
	Revision         int64   `json:"revision"`
	SnapshotRevision int64   `json:"snapshot_revision"`
	LogTailCount     int64   `json:"log_tail_count"`
}

func statisticsJSONOf(s *seguev1.IndexStatistics) *statisticsJSON {
	return &statisticsJSON{
		ItemCount:        s.GetItemCount(),
		SlotCount:        s.GetSlotCount(),
		RetiredSlotCount: s.GetRetiredSlotCount(),
		MaxLevel:         s.GetMaxLevel(),
		MeanDegree:       s.GetMeanDegree(),
		BytesPerVector:   s.GetBytesPerVector(),
		IndexBytes:       s.GetIndexBytes(),
		FileBytes:        s.GetFileBytes(),
		DiskBytes:        s.GetDiskBytes(),
		Revision:         s.GetRevision(),
		SnapshotRevision: s.GetSnapshotRevision(),
		LogTailCount:     s.GetLogTailCount(),
	}
}
