package engine

import (
	"context"

	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/segue-ann/segue/hnsw"
)

// ReleaseReport says what a release is like, so that somebody, or PublishConditions, can decide whether it may serve.
// Everything but the counts is measured on a sample of items.
type ReleaseReport struct {
	Release ReleaseInfo
	// Sample is how many items were asked with, K how many neighbors each.
	Sample, K int
	// Norms are of the sampled vectors as they were written.
	Norms NormStatistics
	// Recall ascends by Ef.
	Recall []RecallPoint
	// DefaultEf is the beam width of a search that names none, and one of those in Recall.
	DefaultEf int
	// Overlap is the mean share of the K neighbors that the release has in common with the published one, over the
	// OverlapSample sampled items that both have. Of the published release itself it is 1.
	Overlap       float64
	OverlapSample int
	// GraphFaults counts broken rules of the graph, unreachable nodes among them; -1 where it was not examined, since
	// the release serves and its writers would have waited.
	GraphFaults int
	// Coverage is how many different items the sampled lists hold, relative to how many they could: 1 means that no item
	// is in two lists.
	Coverage float64
	// Hubs are the items that are in most lists, at most MaxHubs, most first.
	Hubs []Hub
}

// NormStatistics describe Euclidean norms.
type NormStatistics struct{ Min, Mean, Max, StdDev float64 }

// RecallPoint is what a beam width gives.
type RecallPoint struct {
	Ef int
	// Recall is recall@K, ties by distance counted.
	Recall float64
	// Distances is the mean number of distances of a search.
	Distances float64
	// Error is the standard error of Recall; 0 where it is not known.
	Error float64
}

// Hub is an item and in how many of the sampled lists it is.
type Hub struct {
	ItemID string
	Lists  int
}

// Sizes of a report.
const (
	DefaultReportSample = 200
	MaxReportSample     = 2000
	MaxHubs             = 10
	reportK             = 10
)

// ReleaseReport measures a release that is whole, loading it where it is not loaded; 0 means the published one. sample
// is how many items are asked with, 1..MaxReportSample, 0 means DefaultReportSample. The same sample is drawn each time.
// Errors: *NotFoundError, *StateError, *InvalidError. Cost: an exact scan an item of the sample, on all cores, yielding
// to reads as a build does.
func (c *Collection) ReleaseReport(ctx context.Context, id uint32, sample int) (ReleaseReport, error) {
	if sample == 0 {
		sample = DefaultReportSample
	}
	var p problems
	p.inRange("sample", sample, 1, MaxReportSample)
	if err := p.err(); err != nil {
		return ReleaseReport{}, err
	}
	info, err := c.Release(ctx, id)
	if err != nil {
		return ReleaseReport{}, err
	}
	if !info.State.whole() {
		return ReleaseReport{}, &StateError{What: fmt.Sprintf("release %d", info.ID), State: info.State, Want: "READY, PUBLISHED or RETIRED"}
	}
	if err := c.enter(); err != nil {
		return ReleaseReport{}, err
	}
	defer c.calls.leave()
	c.admin.Lock()
	defer c.admin.Unlock()
	r, err := c.load(ctx, info.ID)
	if err != nil {
		return ReleaseReport{}, err
	}
	report, err := c.measure(ctx, r, sample)
	report.Release = info
	report.Release.Loaded, report.Release.Items = true, r.table.len()
	return report, err
}

// sampled is one item of a sample and what was found for it.
type sampled struct {
	id      string
	vector  []float32
	norm    float64
	hits    []int // of each ef: how many of the true neighbors
	work    []int // of each ef: distances
	truth   int   // how many true neighbors there are
	list    []string
	overlap float64 // below 0: not in the other release
}

// measure draws a sample of r and asks with each. c.admin is held.
func (c *Collection) measure(ctx context.Context, r *release, sample int) (ReleaseReport, error) {
	report := ReleaseReport{K: reportK, GraphFaults: -1, DefaultEf: DefaultEf(reportK)}
	efs := []int{16, 32, report.DefaultEf, 128, 256, 512}
	slices.Sort(efs)
	efs = slices.Compact(efs)
	samples, err := r.drawSample(sample)
	if err != nil {
		return report, err
	}
	live := c.published.Load()
	if !live.calls.enter() {
		return report, c.gone()
	}
	defer live.leave()
	err = parallel(len(samples), r.yield, func(_, i int) error {
		p := &samples[i]
		if err := r.ask(ctx, p, efs); err != nil {
			return err
		}
		return live.compare(ctx, p)
	})
	if err != nil {
		return report, err
	}
	report.sum(samples, efs)
	if r != live {
		report.GraphFaults = countFaults(r.index.Check())
	}
	return report, nil
}

// countFaults counts the errors in what Index.Check returned, which it caps.
func countFaults(err error) int {
	if err == nil {
		return 0
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return len(joined.Unwrap())
	}
	return 1
}

// drawSample returns up to n items at random, the same ones each time as long as the release stays as it is.
func (r *release) drawSample(n int) ([]sampled, error) {
	rng := rand.New(rand.NewPCG(1, uint64(r.rows.Release()))) //nolint:gosec // a sample, not a secret
	seen := make(map[uint32]bool)
	slots := uint32(r.index.Slots())
	var samples []sampled
	for tries := 0; slots > 0 && tries < 20*n && len(samples) < min(n, r.table.len()); tries++ {
		slot := rng.Uint32N(slots)
		e := r.table.entries.at(slot)
		if e == nil || seen[slot] {
			continue
		}
		id := e.id()
		if now, ok := r.table.slotOf(id); !ok || now != slot {
			continue
		}
		seen[slot] = true
		row, err := r.rows.Item(id)
		if err != nil {
			return nil, notFound(err, "item", id)
		}
		v, err := r.decodeVector(nil, row.DType, row.Dim, row.Vector)
		if err != nil {
			return nil, fmt.Errorf("item %q: %w", clip(id), err)
		}
		sum := 0.0
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		samples = append(samples, sampled{id: id, vector: v, norm: math.Sqrt(sum)})
	}
	return samples, nil
}

// ask finds the true neighbors of a sampled, what each beam width finds of them, and the list that a search gives.
func (r *release) ask(ctx context.Context, p *sampled, efs []int) error {
	s := r.index.Acquire()
	defer s.Release()
	truth, _, err := r.neighborsOf(ctx, s, p.id, p.vector, reportK, hnsw.SearchParams{Exact: true})
	if err != nil {
		return err
	}
	worst := float32(math.Inf(1))
	if len(truth) > 0 {
		worst = truth[len(truth)-1].Distance
	}
	p.truth = len(truth)
	for _, ef := range efs {
		found, distances, err := r.neighborsOf(ctx, s, p.id, p.vector, reportK, hnsw.SearchParams{Ef: ef})
		if err != nil {
			return err
		}
		hits := 0
		for _, cand := range found {
			if cand.Distance <= worst {
				hits++
			}
		}
		p.hits, p.work = append(p.hits, hits), append(p.work, distances)
		if ef == DefaultEf(reportK) {
			for _, cand := range found {
				p.list = append(p.list, r.table.entries.at(cand.Slot).id())
			}
		}
	}
	return nil
}

// compare sets a sampled's overlap with what r, the published release, gives for the same item.
func (r *release) compare(ctx context.Context, p *sampled) error {
	p.overlap = -1
	s := r.index.Acquire()
	defer s.Release()
	slot, ok := r.table.slotOf(p.id)
	if !ok || len(p.list) == 0 {
		return nil
	}
	found, _, err := r.neighborsOf(ctx, s, p.id, s.Vector(slot)[:r.cfg.Dim], reportK, hnsw.SearchParams{Ef: DefaultEf(reportK)})
	if err != nil {
		return err
	}
	same := 0
	for _, cand := range found {
		if slices.Contains(p.list, r.table.entries.at(cand.Slot).id()) {
			same++
		}
	}
	p.overlap = float64(same) / float64(len(p.list))
	return nil
}

// sum fills the report from the samples.
func (r *ReleaseReport) sum(samples []sampled, efs []int) {
	r.Sample = len(samples)
	if r.Sample == 0 {
		return
	}
	n := float64(r.Sample)
	r.Norms.Min = math.Inf(1)
	square, truth, listed := 0.0, 0, 0
	lists := make(map[string]int)
	hits, work := make([]int, len(efs)), make([]int, len(efs))
	for i := range samples {
		p := &samples[i]
		r.Norms.Min, r.Norms.Max = min(r.Norms.Min, p.norm), max(r.Norms.Max, p.norm)
		r.Norms.Mean += p.norm / n
		square += p.norm * p.norm / n
		truth += p.truth
		for e := range efs {
			hits[e] += p.hits[e]
			work[e] += p.work[e]
		}
		listed += len(p.list)
		for _, id := range p.list {
			lists[id]++
		}
		if p.overlap >= 0 {
			r.OverlapSample++
			r.Overlap += p.overlap
		}
	}
	r.Norms.StdDev = math.Sqrt(max(square-r.Norms.Mean*r.Norms.Mean, 0))
	if r.OverlapSample > 0 {
		r.Overlap /= float64(r.OverlapSample)
	}
	for e, ef := range efs {
		point := RecallPoint{Ef: ef, Recall: 1, Distances: float64(work[e]) / n}
		if truth > 0 {
			point.Recall = float64(hits[e]) / float64(truth)
		}
		r.Recall = append(r.Recall, point)
	}
	if listed > 0 {
		r.Coverage = float64(len(lists)) / float64(listed)
	}
	for id, n := range lists {
		r.Hubs = append(r.Hubs, Hub{ItemID: id, Lists: n})
	}
	slices.SortFunc(r.Hubs, func(a, b Hub) int {
		if a.Lists != b.Lists {
			return b.Lists - a.Lists
		}
		return strings.Compare(a.ItemID, b.ItemID)
	})
	r.Hubs = r.Hubs[:min(len(r.Hubs), MaxHubs)]
}

// recallAtDefault is the recall of a search that names no beam width.
func (r *ReleaseReport) recallAtDefault() float64 {
	for _, p := range r.Recall {
		if p.Ef == r.DefaultEf {
			return p.Recall
		}
	}
	return 0
}

// checkConditions returns a *ConditionError where r does not fulfil them. It measures only what is asked for. c.admin is
// held.
func (c *Collection) checkConditions(ctx context.Context, r *release, rel *releaseRecord, cond *PublishConditions) error {
	if err := cond.validate(); err != nil {
		return err
	}
	var broken []string
	miss := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	items, live := r.table.len(), c.published.Load().table.len()
	if items < cond.MinItems {
		miss("%d items, must be at least %d", items, cond.MinItems)
	}
	if float64(items) < cond.MinItemsRatio*float64(live) {
		miss("%d items, must be at least %g of the %d published", items, cond.MinItemsRatio, live)
	}
	if rows := rel.Counts.Accepted + rel.Counts.Rejected; cond.MaxRejectRatio != 0 && rows > 0 {
		if ratio := float64(rel.Counts.Rejected) / float64(rows); ratio > max(cond.MaxRejectRatio, 0) {
			miss("%d of %d rows were rejected, must be at most %g", rel.Counts.Rejected, rows, max(cond.MaxRejectRatio, 0))
		}
	}
	if cond.MinRecall > 0 || cond.MinOverlap > 0 {
		report, err := c.measure(ctx, r, DefaultReportSample)
		if err != nil {
			return err
		}
		if got := report.recallAtDefault(); got < cond.MinRecall {
			miss("recall@%d is %.4f, must be at least %g", report.K, got, cond.MinRecall)
		}
		if report.Overlap < cond.MinOverlap {
			miss("overlap@%d with the published release is %.4f, must be at least %g", report.K, report.Overlap, cond.MinOverlap)
		}
	}
	if len(broken) > 0 {
		return &ConditionError{Release: rel.ID, Violations: broken}
	}
	return nil
}

// validate refuses conditions that say nothing sensible.
func (p *PublishConditions) validate() error {
	var ps problems
	if p.MinItems < 0 {
		ps.add(ReasonOutOfRange, "conditions.min_items", "must not be negative, is %d", p.MinItems)
	}
	for _, f := range []struct {
		name      string
		v, lo, hi float64
	}{
		{"min_items_ratio", p.MinItemsRatio, 0, math.MaxFloat32}, {"min_recall", p.MinRecall, 0, 1},
		{"min_overlap", p.MinOverlap, 0, 1}, {"max_reject_ratio", p.MaxRejectRatio, -1, 1},
	} {
		if !(f.v >= f.lo && f.v <= f.hi) {
			ps.add(ReasonOutOfRange, "conditions."+f.name, "must be between %g and %g, is %g", f.lo, f.hi, f.v)
		}
	}
	return ps.err()
}
