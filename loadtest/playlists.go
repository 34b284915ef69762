package loadtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/segue-ann/segue/engine"
)

// PlaylistData is a catalogue and who listened to what.
type PlaylistData struct {
	// Items are the catalogue, with what the variants limit and boost by.
	Items []engine.Item
	// Lists holds the items of each playlist, as positions in Items.
	Lists [][]int
}

// PlaylistOptions say how playlists are judged. The zero value of a field is its default.
type PlaylistOptions struct {
	// K is how many items are recommended to each playlist. 0 means 100.
	K int
	// HoldOut is the share of each playlist that is hidden and should be found, above 0 and below 1. 0 means 0.2.
	HoldOut float64
	// MinTracks is how many items a playlist must have to be judged. 0 means 20; at least 5.
	MinTracks int
	// Artist and Popularity name the attributes of items for one-per-artist limits, and for the boost.
	Artist, Popularity string
	// Seed draws what is hidden.
	Seed uint64
}

// EnsureDefaults fills in what is zero.
func (o *PlaylistOptions) EnsureDefaults() {
	if o.K == 0 {
		o.K = 100
	}
	if o.HoldOut == 0 {
		o.HoldOut = 0.2
	}
	if o.MinTracks == 0 {
		o.MinTracks = 20
	}
}

// Validate reports the first field that is out of range.
func (o PlaylistOptions) Validate() error {
	switch {
	case o.K < 1 || o.K > 1000:
		return &OptionError{Field: "k", Value: o.K, Range: "1 to 1000"}
	case !(o.HoldOut > 0 && o.HoldOut < 1):
		return &OptionError{Field: "hold-out", Value: o.HoldOut, Range: "above 0 and below 1"}
	case o.MinTracks < 5:
		return &OptionError{Field: "min-tracks", Value: o.MinTracks, Range: "at least 5"}
	}
	return nil
}

// PlaylistResult is what one way of recommending gave, over all playlists judged.
type PlaylistResult struct {
	Name string `json:"name"`
	// HitRate is the share of playlists of which at least one hidden item was recommended.
	HitRate float64 `json:"hit_rate"`
	// Recall is the mean share of a playlist's hidden items that were recommended.
	Recall float64 `json:"recall"`
	// Overlap is the mean share of the exact search's recommendations that this one makes too: 1 less what
	// approximation, or the variant, changes.
	Overlap float64 `json:"overlap_with_exact"`
	// Artists is the mean number of different first artists in a list, and Popularity the mean of the attribute.
	Artists    float64 `json:"artists"`
	Popularity float64 `json:"popularity"`
	// Distances is the mean number of distances of a query, and Micros the mean time of it in microseconds.
	Distances float64 `json:"distances"`
	Micros    float64 `json:"micros"`
	// Playlists is how many were judged.
	Playlists int `json:"playlists"`
}

// judged is one playlist, split.
type judged struct {
	visible, hidden []int
	popularity      []int // positions of the items that most other playlists have, the visible ones left out
}

// playlistBench is one run.
type playlistBench struct {
	data *PlaylistData
	o    PlaylistOptions
	c    *engine.Collection
	at   map[string]int // item id -> position

	lists   []judged
	exact   [][]int // the exact search's recommendations, by list
	artists []string
	counts  []float64
}

// BenchPlaylists hides a share of each playlist, recommends to the rest in several ways from c, which holds the items, and
// counts what comes back. What a playlist shows is never recommended to it. report is called with each result as it is ready.
func BenchPlaylists(ctx context.Context, c *engine.Collection, data *PlaylistData, o PlaylistOptions, report func(PlaylistResult)) error {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return err
	}
	b := &playlistBench{data: data, o: o, c: c, at: make(map[string]int, len(data.Items))}
	for i, it := range data.Items {
		b.at[it.ID] = i
		b.artists = append(b.artists, firstKeyword(it.Attributes, o.Artist))
		b.counts = append(b.counts, number(it.Attributes, o.Popularity))
	}
	b.split()
	if len(b.lists) == 0 {
		return fmt.Errorf("loadtest: no playlist has %d items", o.MinTracks)
	}
	for _, v := range b.variants() {
		r, err := b.run(ctx, v)
		if err != nil {
			return fmt.Errorf("loadtest: %s: %w", v.name, err)
		}
		report(r)
	}
	return nil
}

// split hides a share of each playlist, and finds what is popular among what is shown.
func (b *playlistBench) split() {
	shown := make([]int, len(b.data.Items)) // how many playlists show the item
	for n, list := range b.data.Lists {
		if len(list) < b.o.MinTracks {
			continue
		}
		list = slices.Clone(list)
		rng := rand.New(rand.NewPCG(b.o.Seed, uint64(n)))
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		hide := max(1, int(float64(len(list))*b.o.HoldOut))
		j := judged{hidden: list[:hide], visible: list[hide:]}
		for _, i := range j.visible {
			shown[i]++
		}
		b.lists = append(b.lists, j)
	}
	order := make([]int, len(shown))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(shown[y], shown[x]) })
	for l := range b.lists {
		j := &b.lists[l]
		own := set(j.visible)
		for _, i := range order {
			if len(j.popularity) == b.o.K {
				break
			}
			if !own[i] {
				j.popularity = append(j.popularity, i)
			}
		}
	}
}

// variant is one way of recommending: by popularity where request is nil.
type variant struct {
	name    string
	request func(j *judged) engine.SearchRequest
}

func (b *playlistBench) variants() []variant {
	base := func(change func(*engine.SearchRequest)) func(*judged) engine.SearchRequest {
		return func(j *judged) engine.SearchRequest {
			req := engine.SearchRequest{K: b.o.K, Query: engine.Query{Vector: b.mean(j.visible)}, Exclusions: engine.Exclusions{ItemIDs: b.ids(j.visible)}}
			change(&req)
			return req
		}
	}
	interests := func(n int, change func(*engine.SearchRequest)) func(*judged) engine.SearchRequest {
		return func(j *judged) engine.SearchRequest {
			req := base(change)(j)
			req.Query = engine.Query{Interests: b.cluster(j.visible, n)}
			return req
		}
	}
	exactly := func(r *engine.SearchRequest) { r.Exact = true }
	return []variant{
		{"exact search", base(exactly)}, // first: the others are compared with it
		{"popularity", nil},
		{"graph", base(func(*engine.SearchRequest) {})},
		{"graph, ef 100", base(func(r *engine.SearchRequest) { r.Ef = 100 })},
		{"graph, ef 400", base(func(r *engine.SearchRequest) { r.Ef = 400 })},
		{"3 interests, exact", interests(3, exactly)},
		{"3 interests", interests(3, func(*engine.SearchRequest) {})},
		{"8 interests", interests(8, func(*engine.SearchRequest) {})},
		{"64 examples, best score", func(j *judged) engine.SearchRequest {
			req := base(func(*engine.SearchRequest) {})(j)
			req.Query = engine.Query{Examples: b.examples(j.visible)}
			return req
		}},
		{"mmr 0.2", base(func(r *engine.SearchRequest) { r.Diversity = 0.2 })},
		{"mmr 0.5", base(func(r *engine.SearchRequest) { r.Diversity = 0.5 })},
		{"2 of an artist", base(func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: b.o.Artist, Most: 2}} })},
		{"1 of an artist", base(func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: b.o.Artist, Most: 1}} })},
		{"popularity boost 0.05", base(func(r *engine.SearchRequest) {
			r.Boosts = []engine.Boost{{Attribute: b.o.Popularity, Transform: engine.Log, Weight: 0.05}}
		})},
		{"8 interests, boost 0.05", interests(8, func(r *engine.SearchRequest) {
			r.Boosts = []engine.Boost{{Attribute: b.o.Popularity, Transform: engine.Log, Weight: 0.05}}
		})},
	}
}

// run recommends to every playlist in one way. Each is asked twice, and the second time counts.
func (b *playlistBench) run(ctx context.Context, v variant) (PlaylistResult, error) {
	r := PlaylistResult{Name: v.name, Playlists: len(b.lists)}
	n := float64(len(b.lists))
	for l := range b.lists {
		j := &b.lists[l]
		got := j.popularity
		if v.request != nil {
			req := v.request(j)
			if _, err := b.c.Search(ctx, req); err != nil {
				return r, err
			}
			began := time.Now()
			res, err := b.c.Search(ctx, req)
			if err != nil {
				return r, err
			}
			r.Micros += float64(time.Since(began).Nanoseconds()) / 1e3 / n
			r.Distances += float64(res.Info.Distances) / n
			got = nil
			for _, nb := range res.Neighbors {
				got = append(got, b.at[nb.ItemID])
			}
		}
		if len(b.exact) <= l {
			b.exact = append(b.exact, got)
		}
		b.judge(&r, j, got, b.exact[l], n)
	}
	return r, nil
}

// judge adds what one list of recommendations is worth, of n.
func (b *playlistBench) judge(r *PlaylistResult, j *judged, got, exact []int, n float64) {
	hidden, same, artists := set(j.hidden), set(exact), map[string]bool{}
	hits, overlap, popularity := 0, 0, 0.0
	for _, i := range got {
		if hidden[i] {
			hits++
		}
		if same[i] {
			overlap++
		}
		artists[b.artists[i]] = true
		popularity += b.counts[i] / float64(len(got))
	}
	if hits > 0 {
		r.HitRate += 1 / n
	}
	r.Recall += float64(hits) / float64(len(hidden)) / n
	if len(exact) > 0 {
		r.Overlap += float64(overlap) / float64(len(exact)) / n
	}
	r.Artists += float64(len(artists)) / n
	r.Popularity += popularity / n
}

func (b *playlistBench) ids(items []int) []string {
	out := make([]string, len(items))
	for i, at := range items {
		out[i] = b.data.Items[at].ID
	}
	return out
}

// mean is the profile of what a playlist shows: the mean of its vectors.
func (b *playlistBench) mean(items []int) []float32 {
	sum := make([]float32, len(b.data.Items[0].Vector))
	for _, at := range items {
		for d, x := range b.data.Items[at].Vector {
			sum[d] += x / float32(len(items))
		}
	}
	return sum
}

// cluster splits what a playlist shows into up to n interests: ten rounds of k-means on inner products, begun with items far
// apart. The weight of an interest is how many items it stands for.
func (b *playlistBench) cluster(items []int, n int) []engine.Interest {
	dot := func(a, c []float32) (sum float32) {
		for d := range a {
			sum += a[d] * c[d]
		}
		return sum
	}
	vec := func(i int) []float32 { return b.data.Items[items[i]].Vector }
	centers := [][]float32{vec(0)}
	for len(centers) < min(n, len(items)) {
		farthest, least := 0, float32(2)
		for i := range items {
			nearest := float32(-2)
			for _, c := range centers {
				nearest = max(nearest, dot(vec(i), c))
			}
			if nearest < least {
				farthest, least = i, nearest
			}
		}
		centers = append(centers, vec(farthest))
	}
	members := make([][]int, len(centers))
	for range 10 {
		for c := range members {
			members[c] = members[c][:0]
		}
		for i := range items {
			best := 0
			for c := range centers {
				if dot(vec(i), centers[c]) > dot(vec(i), centers[best]) {
					best = c
				}
			}
			members[best] = append(members[best], items[i])
		}
		for c := range centers {
			if len(members[c]) == 0 {
				continue
			}
			centers[c] = b.mean(members[c])
			norm := dot(centers[c], centers[c])
			for d := range centers[c] {
				centers[c][d] /= max(sqrt32(norm), 1e-9)
			}
		}
	}
	var out []engine.Interest
	for c := range centers {
		if len(members[c]) > 0 {
			out = append(out, engine.Interest{Vector: centers[c], Weight: min(float32(len(members[c])), engine.MaxWeight)})
		}
	}
	return out
}

// examples are up to 64 of the items a playlist shows.
func (b *playlistBench) examples(items []int) *engine.Examples {
	e := &engine.Examples{Strategy: engine.BestScore}
	for _, id := range b.ids(items[:min(64, len(items))]) {
		e.Positive = append(e.Positive, engine.Example{ItemID: id})
	}
	return e
}

func set(items []int) map[int]bool {
	m := make(map[int]bool, len(items))
	for _, i := range items {
		m[i] = true
	}
	return m
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

func firstKeyword(as engine.Attributes, name string) string {
	if v, ok := as.Get(name); ok && len(v.Keywords) > 0 {
		return v.Keywords[0]
	}
	return ""
}

func number(as engine.Attributes, name string) float64 {
	v, _ := as.Get(name)
	return float64(v.Int)
}
