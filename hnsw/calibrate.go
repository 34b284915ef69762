package hnsw

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
)

// CalibrateOptions says how an index is calibrated. The zero value is the default.
type CalibrateOptions struct {
	// Sample is how many queries are made of stored vectors, 10..10,000; default 200.
	Sample int
	// Queries are what is asked for in earnest, where the caller knows: each of length Dim, up to 10,000. They are read, not
	// kept, and take the place of made ones.
	Queries [][]float32
	// Seed chooses the sample and the filters: on an index that does not change, the same options give the same calibration.
	Seed uint64
}

const (
	defaultSample        = 200
	minSample, maxSample = 10, 10_000

	// A curve ends at the beam whose recall is above enoughRecall.
	enoughRecall = 0.9995
	// nearOnes is how many near neighbors of a vector one is drawn from.
	nearOnes = 10
	// foundTwice ends the searches for a query: it found all at so many widths in a row, and is taken to at wider ones.
	foundTwice = 2
)

// What curves are measured for: numbers of results, shares of allowed slots, and widths of the beam, each raised to k.
var (
	calibratedKs     = [...]int{1, 10, 100}
	calibratedShares = [...]float64{1, 0.5, 0.2, 0.1, 0.03}
	calibratedEfs    = [...]int{8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536}
)

// calibrationQuery is a query and what is known of it.
type calibrationQuery struct {
	vec []float32
	own uint32 // the slot it was made of, left out of results; nilSlot: none
	// farthest[i] is the true distance of the last of calibratedKs[i] results, under the filter at hand; wanted[i] how many
	// there are.
	farthest [len(calibratedKs)]float32
	wanted   [len(calibratedKs)]int
	// found counts the widths in a row at which all was found, on the curve that is being measured.
	found int
}

// Calibrate measures the recall that beams of each width reach on x, for a few numbers of results and shares of allowed
// slots: it searches for queries like those to come, and compares with the exact scan.
//
// Queries are o.Queries, or made of stored vectors. A stored vector itself is too easy: the walk that comes upon it has its
// neighbors in its links. So a made query is moved from the vector in a random direction, as far as one of its near neighbors
// is, and the vector is left out of what is found. That is harder than what is asked in earnest on tracks, mnist784 and
// clusters (at ef 16: .95, .986, .92 of recall@10 for .99, .986, .96), so that what is promised is kept. Filters are random.
//
// Writers go on meanwhile; what changes between a scan and a search counts as missed. Errors: *OptionError, those of Search,
// ErrClosed, ctx.Err(). Cost: for each query exact scans of twice the index, and searches of all widths until it finds all at two
// in a row.
func (x *Index) Calibrate(ctx context.Context, o CalibrateOptions) (*Calibration, error) {
	s := x.Acquire()
	defer s.Release()
	if s.closed {
		return nil, ErrClosed
	}
	c := &Calibration{live: x.Len(), at: x.changes()}
	queries, err := s.calibrationQueries(ctx, &o)
	if err != nil || len(queries) == 0 {
		return c, err
	}
	c.sample = len(queries)
	for i, share := range calibratedShares {
		allowed := x.randomFilter(o.Seed, share)
		if err := s.findTruths(ctx, queries, allowed); err != nil {
			return nil, err
		}
		for j, k := range calibratedKs {
			curve := Curve{K: k, Share: share}
			for q := range queries {
				queries[q].found = 0
			}
			for _, ef := range calibratedEfs {
				if ef < k {
					continue
				}
				recall, deviation, err := s.recallAt(ctx, queries, j, ef, allowed)
				if err != nil {
					return nil, err
				}
				// The mean of n queries lies within its deviation over the root of n.
				curve.Points = append(curve.Points, CurvePoint{
					Ef: ef, Recall: float32(recall), Error: float32(deviation / math.Sqrt(float64(len(queries)))),
				})
				if recall > enoughRecall {
					break
				}
			}
			c.curves[i*len(calibratedKs)+j] = curve
		}
	}
	return c, nil
}

// calibrationQueries returns the queries given, or made of stored vectors; none of an index too small to make any.
func (s *Searcher) calibrationQueries(ctx context.Context, o *CalibrateOptions) ([]calibrationQuery, error) {
	if n := len(o.Queries); n > maxSample {
		return nil, &OptionError{Field: "Queries", Value: n, Low: 0, High: maxSample}
	}
	if o.Sample == 0 {
		o.Sample = defaultSample
	}
	if o.Sample < minSample || o.Sample > maxSample {
		return nil, &OptionError{Field: "Sample", Value: o.Sample, Low: minSample, High: maxSample}
	}
	queries := make([]calibrationQuery, 0, max(len(o.Queries), o.Sample))
	for _, v := range o.Queries {
		queries = append(queries, calibrationQuery{vec: v, own: nilSlot})
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0xca11b7a7e))
	slots := s.x.slots.Load()
	for tries := 0; len(o.Queries) == 0 && len(queries) < o.Sample && slots > 0 && tries < 100*o.Sample; tries++ {
		slot := rng.Uint32N(slots)
		if !s.x.isLive(slot) {
			continue
		}
		vec, err := s.madeQuery(ctx, slot, rng)
		if err != nil {
			return nil, err
		}
		if vec != nil {
			queries = append(queries, calibrationQuery{vec: vec, own: slot})
		}
	}
	return queries, nil
}

// madeQuery returns a query near the vector of slot; nil if one cannot be made.
func (s *Searcher) madeQuery(ctx context.Context, slot uint32, rng *rand.Rand) ([]float32, error) {
	x := s.x
	vec := x.vectors.row(slot, nil)[:x.o.Dim]
	near, _, err := s.Search(ctx, vec, SearchParams{K: nearOnes + 1, Ef: 64})
	if err != nil || len(near) < 2 {
		return nil, err
	}
	other := x.vectors.row(near[1+rng.IntN(len(near)-1)].Slot, nil)
	var apart2, norm2, noise2 float64
	query, noise := make([]float32, len(vec)), make([]float64, len(vec))
	for i, v := range vec {
		apart2 += (float64(v) - float64(other[i])) * (float64(v) - float64(other[i]))
		norm2 += float64(v) * float64(v)
		noise[i] = rng.NormFloat64()
		noise2 += noise[i] * noise[i]
	}
	if x.o.Metric == InnerProduct { // what has a large product need not be near
		apart2 = min(apart2, norm2/4)
	}
	scale := math.Sqrt(apart2 / max(noise2, math.SmallestNonzeroFloat64))
	for i, v := range vec {
		query[i] = float32(float64(v) + scale*noise[i])
	}
	if err := x.prepare(s.query, query); errors.As(err, new(*VectorError)) {
		return nil, nil // noise that cancels the vector, or leaves the range of distances
	}
	return query, nil
}

// findTruths finds what the exact scan returns for each query, in one pass for all numbers of results.
func (s *Searcher) findTruths(ctx context.Context, queries []calibrationQuery, allowed *SlotSet) error {
	most := calibratedKs[len(calibratedKs)-1]
	for i := range queries {
		q := &queries[i]
		found, _, err := s.Search(ctx, q.vec, SearchParams{K: most + 1, Exact: true, Allowed: allowed})
		if err != nil {
			return err
		}
		q.wanted = [len(calibratedKs)]int{}
		n := 0
		for _, c := range found {
			if c.Slot == q.own {
				continue
			}
			n++
			for j, k := range calibratedKs {
				if n <= k {
					q.farthest[j], q.wanted[j] = c.Distance, n
				}
			}
		}
	}
	return nil
}

// recallAt returns the mean recall of the j-th number of results at a beam of ef, and its deviation over queries.
func (s *Searcher) recallAt(ctx context.Context, queries []calibrationQuery, j, ef int, allowed *SlotSet) (mean, deviation float64, err error) {
	sum, sum2 := 0.0, 0.0
	for i := range queries {
		q := &queries[i]
		if q.found >= foundTwice {
			sum, sum2 = sum+1, sum2+1
			continue
		}
		k := calibratedKs[j]
		if q.own != nilSlot {
			k++
		}
		found, _, err := s.Search(ctx, q.vec, SearchParams{K: k, Ef: ef, Allowed: allowed})
		if err != nil {
			return 0, 0, err
		}
		hits := 0
		for _, c := range found {
			if c.Slot != q.own && c.Distance <= q.farthest[j] {
				hits++
			}
		}
		recall := 1.0
		if q.wanted[j] > 0 {
			recall = float64(min(hits, q.wanted[j])) / float64(q.wanted[j])
		}
		if q.found++; recall < 1 {
			q.found = 0
		}
		sum, sum2 = sum+recall, sum2+recall*recall
	}
	n := float64(len(queries))
	mean = sum / n
	return mean, math.Sqrt(max(0, sum2/n-mean*mean)), nil
}

// randomFilter returns a filter that allows a share of the slots, chosen by a hash; nil for all.
func (x *Index) randomFilter(seed uint64, share float64) *SlotSet {
	if share >= 1 {
		return nil
	}
	slots := x.slots.Load()
	set := NewSlotSet(int(slots))
	below := uint64(share * (1 << 32))
	for slot := range slots {
		if mix64(seed+uint64(slot)*0x9e3779b97f4a7c15)>>32 < below {
			set.Add(slot)
		}
	}
	return set
}

// changes counts links and deletions since the index was made or restored.
func (x *Index) changes() uint64 { return x.commits.Load() + x.epoch.Load() - 1 }
