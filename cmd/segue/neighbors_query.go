package main

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// shownFlags are the flags that say of which collection is answered, and what of its items is shown.
type shownFlags struct {
	collection string
	attributes []string
}

func (f *shownFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.collection, "collection", "", "`NAME` of the collection")
	c.Flags().StringSliceVar(&f.attributes, "attributes", nil, "`NAMES` of the attributes to show, comma separated (default all)")
	if err := c.MarkFlagRequired("collection"); err != nil {
		panic(err) // the flag was added above
	}
}

// readMask says which attributes to answer with.
func (f *shownFlags) readMask() *fieldmaskpb.FieldMask {
	if len(f.attributes) == 0 {
		return &fieldmaskpb.FieldMask{Paths: []string{"attributes"}}
	}
	mask := &fieldmaskpb.FieldMask{}
	for _, name := range f.attributes {
		mask.Paths = append(mask.Paths, "attributes."+name)
	}
	return mask
}

// formFlags are the flags that say what items should be like, beside shownFlags: those of `segue score`.
type formFlags struct {
	shownFlags
	item, user   string
	like, unlike []string
	strategy     string
	vector       string
	row          int
	interests    string
	weights      []float64
}

func (f *formFlags) flags(c *cobra.Command) {
	f.shownFlags.flags(c)
	flags := c.Flags()
	flags.StringVar(&f.item, "item", "", "`ID` of the item to be like")
	flags.StringVar(&f.user, "user", "", "`ID` of the user to please")
	flags.StringVar(&f.vector, "vector", "", "`FILE` with the vector to be near to")
	flags.IntVar(&f.row, "row", 0, "row of the file, from 0")
	flags.StringVar(&f.interests, "interests", "", "`FILE` with a vector in each row: interests that take turns, like those of a stored profile")
	flags.Float64SliceVar(&f.weights, "weights", nil, "how much each interest counts, comma separated (default 1 each)")
	flags.StringSliceVar(&f.like, "like", nil, "`IDS` of items to be like, comma separated")
	flags.StringSliceVar(&f.unlike, "unlike", nil, "`IDS` of items to be unlike, with --like")
	flags.StringVar(&f.strategy, "strategy", "average", "how --like and --unlike work together: average, best, sum or each")
	forms := []string{"item", "user", "vector", "interests", "like"}
	c.MarkFlagsOneRequired(forms...)
	c.MarkFlagsMutuallyExclusive(forms...)
}

// searchFlags are the flags that say how neighbors are found and chosen, whatever the query.
type searchFlags struct {
	k, ef         int
	target        float64
	exact         bool
	maxPer        []string
	dedupe        string
	diversity     float64
	boosts        []string
	temperature   float64
	seed          uint64
	minScore      float64
	candidates    int
	filter        string
	exclude       []string
	excludeSets   []string
	excludeValue  []string
	excludeBitmap string
	includeSeeds  bool
	revision      int64

	hasMinScore, hasTemperature, hasTarget func() bool // given on the command line
}

func (f *searchFlags) flags(c *cobra.Command) {
	flags := c.Flags()
	flags.IntVarP(&f.k, "k", "k", 10, "how many neighbors")
	flags.IntVar(&f.ef, "ef", 0, "beam width of the search; wider finds more and costs more (default: the server's)")
	flags.Float64Var(&f.target, "target-recall", 0, "recall to reach with as little work as is known to, above 0 to 1")
	flags.BoolVar(&f.exact, "exact", false, "compare with every item")
	flags.StringSliceVar(&f.maxPer, "max-per", nil, "`NAME=N`: at most N neighbors with the same value of an attribute (artists=1)")
	flags.StringVar(&f.dedupe, "dedupe", "", "`NAME` of the attribute that says which recording an item is: each comes once")
	flags.Float64Var(&f.diversity, "diversity", 0, "how different neighbors are from each other, 0 (none) to 1")
	flags.StringSliceVar(&f.boosts, "boost", nil,
		"`NAME=TRANSFORM:WEIGHT`: raise items by an attribute; linear, log, or decay with a half-life, counted from now or a date (released=decay:0.1:720h:2026-06-01)")
	flags.Float64Var(&f.temperature, "explore", 0, "how much chance, in units of the score")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of --explore (default: the server draws one)")
	flags.Float64Var(&f.minScore, "min-score", 0, "leave out what scores lower")
	flags.IntVar(&f.candidates, "candidates", 0, "how many candidates --diversity, --boost and --explore choose from (default: the server's)")
	flags.StringVar(&f.filter, "filter", "", "`EXPRESSION` that neighbors fulfil: 'artists : \"Miles Davis\" AND year >= 1959' (AIP-160)")
	flags.StringSliceVar(&f.exclude, "exclude", nil, "`IDS` of items to leave out, comma separated")
	flags.StringSliceVar(&f.excludeSets, "exclude-set", nil, "`NAMES` of exclusion sets to leave out, comma separated")
	flags.StringArrayVar(&f.excludeValue, "exclude-value", nil, "`NAME=VALUE`: leave out items with this string as value of an attribute; repeat for more")
	flags.StringVar(&f.excludeBitmap, "exclude-bitmap", "",
		"`NAME=FILE`: leave out items whose INT attribute has a value of the file: a Roaring bitmap in the portable format, or numbers as text")
	flags.BoolVar(&f.includeSeeds, "include-seeds", false, "items that the query names may be answered")
	flags.Int64Var(&f.revision, "min-revision", 0, "wait until the write that answered with this revision is seen")
	f.hasMinScore = func() bool { return flags.Changed("min-score") }
	f.hasTemperature = func() bool { return flags.Changed("explore") }
	f.hasTarget = func() bool { return flags.Changed("target-recall") }
	c.MarkFlagsMutuallyExclusive("ef", "target-recall", "exact")
}

// queryFlags are the flags that say what is asked: those of `segue neighbors` and `segue explain`.
type queryFlags struct {
	formFlags
	searchFlags
}

func (f *queryFlags) flags(c *cobra.Command) {
	f.formFlags.flags(c)
	f.searchFlags.flags(c)
}

// request builds the message.
func (f *queryFlags) request(stdin io.Reader) (*seguev1.NearestNeighborsRequest, error) {
	r, err := f.searchFlags.request()
	if err != nil {
		return nil, err
	}
	r.Collection, r.ReadMask = f.collection, f.readMask()
	r.Query, err = f.query(stdin)
	return r, err
}

// request builds the message but for its query; what values may be is the server's to say.
func (f *searchFlags) request() (*seguev1.NearestNeighborsRequest, error) {
	for _, v := range [...]int{f.k, f.ef, f.candidates} {
		if int(int32(v)) != v {
			return nil, usagef("%d is out of range", v)
		}
	}
	r := &seguev1.NearestNeighborsRequest{
		NeighborCount:    int32(f.k),
		CandidateCount:   int32(f.candidates),
		FilterExpression: f.filter,
		IncludeSeeds:     f.includeSeeds,
		MinRevision:      f.revision,
	}
	switch {
	case f.exact:
		r.SearchEffort = client.Exact()
	case f.hasTarget():
		r.SearchEffort = client.TargetRecall(f.target)
	case f.ef != 0:
		r.SearchEffort = client.Ef(f.ef)
	}
	if f.hasMinScore() {
		r.MinScore = proto.Float32(float32(f.minScore))
	}
	if f.hasTemperature() {
		r.Exploration = &seguev1.Exploration{Temperature: f.temperature, Seed: f.seed}
	}
	var err error
	if r.Exclusions, err = f.exclusions(); err != nil {
		return nil, err
	}
	if r.Diversity, err = f.diverse(); err != nil {
		return nil, err
	}
	r.Boosts, err = parseBoosts(f.boosts)
	return r, err
}

func (f *formFlags) query(stdin io.Reader) (*seguev1.Query, error) {
	if len(f.unlike) > 0 && len(f.like) == 0 {
		return nil, usagef("--unlike needs --like")
	}
	if len(f.weights) > 0 && f.interests == "" {
		return nil, usagef("--weights needs --interests")
	}
	switch {
	case f.item != "":
		return client.ByItem(f.item), nil
	case f.user != "":
		return client.ByUser(f.user), nil
	case f.vector != "":
		v, err := readVector(f.vector, f.row, stdin)
		if err != nil {
			return nil, err
		}
		return client.ByVector(v), nil
	case f.interests != "":
		vectors, err := readVectors(f.interests, maxInterestRows)
		if err != nil {
			return nil, err
		}
		weights := make([]float32, len(f.weights))
		for i, w := range f.weights {
			weights[i] = float32(w)
		}
		if n := len(weights); n != 0 && n != len(vectors) {
			return nil, usagef("--weights has %s, %s has %s", plural(int64(n), "number"), f.interests, plural(int64(len(vectors)), "row"))
		}
		return client.ByInterests(vectors, weights...), nil
	case len(f.like) > 0:
		strategy, ok := map[string]seguev1.ExampleStrategy{
			"average": seguev1.ExampleStrategy_EXAMPLE_STRATEGY_AVERAGE,
			"best":    seguev1.ExampleStrategy_EXAMPLE_STRATEGY_BEST_SCORE,
			"sum":     seguev1.ExampleStrategy_EXAMPLE_STRATEGY_SUM,
			"each":    seguev1.ExampleStrategy_EXAMPLE_STRATEGY_EACH,
		}[f.strategy]
		if !ok {
			return nil, usagef("--strategy %q is none of average, best, sum and each", f.strategy)
		}
		q := client.MoreLike(f.like, f.unlike)
		q.GetExamples().Strategy = strategy
		return q, nil
	}
	return nil, usagef("--item, --user, --vector, --interests or --like must not be empty")
}

// exclusions returns nil where nothing is left out.
func (f *searchFlags) exclusions() (*seguev1.Exclusions, error) {
	x := &seguev1.Exclusions{ItemIds: f.exclude, ExclusionSets: f.excludeSets}
	for _, text := range f.excludeValue {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--exclude-value %q is not of the form NAME=VALUE", text)
		}
		x.AttributeValues = append(x.AttributeValues, &seguev1.AttributeIn{Attribute: name, Values: []*seguev1.AttributeValue{keywords(value)}})
	}
	if f.excludeBitmap != "" {
		var err error
		if x.Bitmap, err = readBitmap(f.excludeBitmap); err != nil {
			return nil, err
		}
	}
	if proto.Equal(x, &seguev1.Exclusions{}) {
		return nil, nil
	}
	return x, nil
}

// diverse returns nil where nothing of it is asked for.
func (f *searchFlags) diverse() (*seguev1.Diversity, error) {
	d := &seguev1.Diversity{DedupeAttribute: f.dedupe, Mmr: f.diversity}
	for _, text := range f.maxPer {
		name, number, _ := strings.Cut(text, "=")
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return nil, usagef("--max-per %q is not of the form NAME=N", text)
		}
		d.CrowdingLimits = append(d.CrowdingLimits, &seguev1.CrowdingLimit{Attribute: name, MaxPerValue: int32(n)})
	}
	if proto.Equal(d, &seguev1.Diversity{}) {
		return nil, nil
	}
	return d, nil
}

func parseBoosts(texts []string) ([]*seguev1.ScoreBoost, error) {
	var boosts []*seguev1.ScoreBoost
	for _, text := range texts {
		b, err := parseBoost(text)
		if err != nil {
			return nil, err
		}
		boosts = append(boosts, b)
	}
	return boosts, nil
}

func parseBoost(text string) (*seguev1.ScoreBoost, error) {
	name, rest, _ := strings.Cut(text, "=")
	parts := strings.Split(rest, ":")
	b := &seguev1.ScoreBoost{Attribute: name}
	least, most := 2, 2
	switch parts[0] {
	case "linear":
		b.Transform = seguev1.BoostTransform_BOOST_TRANSFORM_LINEAR
	case "log":
		b.Transform = seguev1.BoostTransform_BOOST_TRANSFORM_LOG
	case "decay":
		b.Transform = seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY
		least, most = 3, 4
	}
	if b.GetTransform() == 0 || len(parts) < least || len(parts) > most {
		return nil, usagef("--boost %q is not of the form NAME=linear:WEIGHT, NAME=log:WEIGHT or NAME=decay:WEIGHT:HALFLIFE[:DATE]", text)
	}
	var err error
	if b.Weight, err = strconv.ParseFloat(parts[1], 64); err != nil {
		return nil, usagef("--boost %q: %q is not a number", text, parts[1])
	}
	if len(parts) > 2 {
		h, err := time.ParseDuration(parts[2])
		if err != nil {
			return nil, usagef("--boost %q: %q is not a duration such as 720h", text, parts[2])
		}
		b.HalfLife = durationpb.New(h)
	}
	if len(parts) > 3 {
		at, err := time.Parse(time.DateOnly, parts[3])
		if err != nil {
			return nil, usagef("--boost %q: %q is not a date such as 2026-06-01", text, parts[3])
		}
		b.ReferenceTime = timestamppb.New(at)
	}
	return b, nil
}
