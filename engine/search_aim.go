package engine

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/segue-ann/segue/hnsw"
)

// aim is a query turned into vectors. Vectors of items belong to the index and are valid until the searcher is released.
type aim struct {
	// vec is the only query vector; nil where there are several.
	vec []float32
	// seed is the slot of the item of an item query, else noSeed.
	seed uint32

	// probes are the query vectors, at least one; negatives are those that push items out.
	probes, negatives []probe
	// each gives every probe its turns; without it a neighbor's score is that of its best probe.
	each bool
	// scale and offset turn the score for the only probe into the score of the query; 1 and 0 but under Sum.
	scale, offset float64
	// seeds are the ids of the items that the query names, found or not; unresolved those not found, each once.
	seeds, unresolved []string
}

// probe is one query vector.
type probe struct {
	vec    []float32
	weight float64
	match  int // position, from 1, of the interest or positive example; 0 where there is only one
}

// oneProbe is the aim at one vector.
func oneProbe(vec []float32, seed uint32) aim {
	return aim{vec: vec, seed: seed, scale: 1}
}

// resolve turns the query form into an aim. Errors: *NotFoundError, *InvalidError, context errors.
func (r *release) resolve(ctx context.Context, s *hnsw.Searcher, req *SearchRequest) (aim, error) {
	q := &req.Query
	switch {
	case q.ItemID != "":
		slot, ok := r.find(q.ItemID)
		if !ok {
			return aim{}, &NotFoundError{Kind: "item", Name: clip(q.ItemID)}
		}
		return oneProbe(s.Vector(slot)[:r.cfg.Dim], slot), nil
	case q.UserID != "":
		p, err := r.profile(ctx, q.UserID)
		if err != nil {
			return aim{}, err
		}
		return aimAtInterests(p.Interests), nil
	case q.Interests != nil:
		return aimAtInterests(q.Interests), nil
	case q.Examples != nil:
		return r.aimAtExamples(s, q.Examples)
	}
	return oneProbe(q.Vector, noSeed), nil
}

func aimAtInterests(is []Interest) aim {
	if len(is) == 1 {
		return oneProbe(is[0].Vector, noSeed)
	}
	a := aim{seed: noSeed, each: true, scale: 1}
	for i := range is {
		a.probes = append(a.probes, probe{vec: is[i].Vector, weight: float64(weightOf(is[i].Weight)), match: i + 1})
	}
	return a
}

func (r *release) aimAtExamples(s *hnsw.Searcher, e *Examples) (aim, error) {
	a := aim{seed: noSeed, scale: 1}
	for i := range e.Positive {
		if vec := a.example(r, s, &e.Positive[i]); vec != nil {
			a.probes = append(a.probes, probe{vec: vec, weight: float64(weightOf(e.Positive[i].Weight)), match: i + 1})
		}
	}
	for i := range e.Negative {
		if vec := a.example(r, s, &e.Negative[i]); vec != nil {
			a.negatives = append(a.negatives, probe{vec: vec, weight: float64(weightOf(e.Negative[i].Weight))})
		}
	}
	if len(a.probes) == 0 {
		return aim{}, &NotFoundError{Kind: "item", Name: clip(a.unresolved[0])}
	}
	switch e.Strategy {
	case BestScore:
		return a, nil
	case Each:
		a.each = true
		return a, nil
	}
	return a, a.combine(r.cfg, e.Strategy == Sum)
}

// example returns the vector of an example, nil where its item does not exist, and notes the item as a seed.
func (a *aim) example(r *release, s *hnsw.Searcher, x *Example) []float32 {
	if x.Vector != nil {
		return x.Vector
	}
	a.seeds = append(a.seeds, x.ItemID)
	slot, ok := r.find(x.ItemID)
	if !ok {
		if !slices.Contains(a.unresolved, x.ItemID) {
			a.unresolved = append(a.unresolved, x.ItemID)
		}
		return nil
	}
	return s.Vector(slot)[:r.cfg.Dim]
}

// combine makes one probe of all examples: the weighted mean, and for a sum the scale and offset that turn its score into the
// weighted sum of scores. It is exact because of what the scores are. With P the weighted sum of positives less negatives and
// W that of the weights:
//
//	cosine         sum of w*cos(p, x)  = P * x/|x|                       = |P| * cos(P, x), all p normalised
//	inner product  sum of w*(p * x)    = P * x                           = W+ * (P/W+ * x), W+ the positives' weight
//	L2             sum of -w*|x - p|^2 = -W*|x - P/W|^2 - (sum of w*|p|^2 - |P|^2/W)
func (a *aim) combine(cfg *CollectionConfig, sum bool) error {
	total := make([]float64, cfg.Dim)
	positive, signed, squares := 0.0, 0.0, 0.0
	add := func(p *probe, w float64) {
		norm2 := 0.0
		for _, x := range p.vec {
			norm2 += float64(x) * float64(x)
		}
		if cfg.Metric == Cosine {
			w /= math.Sqrt(norm2)
		}
		for i, x := range p.vec {
			total[i] += w * float64(x)
		}
		squares += w * norm2
	}
	for i := range a.probes {
		p := &a.probes[i]
		positive += p.weight
		signed += p.weight
		add(p, p.weight)
	}
	for i := range a.negatives {
		p := &a.negatives[i]
		signed -= p.weight
		add(p, -p.weight)
	}
	divisor := positive
	if cfg.Metric == L2 {
		// Examples that do not exist may have left the negatives heavier, which the request was checked not to be.
		if divisor = signed; divisor <= 0 {
			return &InvalidError{Violations: []Violation{{Reason: ReasonOutOfRange, Field: "query.examples.negative",
				Rule: "must weigh less than the positive examples in an L2 collection; of those that exist they do not"}}}
		}
	}
	vec, norm2 := make([]float32, cfg.Dim), 0.0
	for i, x := range total {
		norm2 += x * x
		vec[i] = float32(x / divisor)
	}
	if cfg.Metric == Cosine && math.Sqrt(norm2)/divisor < minMeanNorm {
		return &InvalidError{Violations: []Violation{{Reason: ReasonZeroVector, Field: "query.examples",
			Rule: "must not cancel each other out in a COSINE collection: their mean has no direction"}}}
	}
	if norm := math.Sqrt(norm2) / divisor; norm > MaxNorm {
		return &InvalidError{Violations: []Violation{{Reason: ReasonOutOfRange, Field: "query.examples",
			Rule: fmt.Sprintf("must have a mean with a norm of at most %g, has %g", MaxNorm, norm)}}}
	}
	if sum {
		switch cfg.Metric {
		case Cosine:
			a.scale = math.Sqrt(norm2)
		case InnerProduct:
			a.scale = divisor
		case L2:
			a.scale, a.offset = divisor, norm2/divisor-squares
		}
	}
	a.vec = vec
	a.probes, a.negatives = nil, nil
	return nil
}

// minMeanNorm is how short the mean of unit vectors may be before its direction is only rounding.
const minMeanNorm = 1e-6

// all returns the probes of an aim of either kind.
func (a *aim) all() []probe {
	if a.vec != nil {
		return []probe{{vec: a.vec, weight: 1}}
	}
	return a.probes
}
