package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/segue-ann/segue/hnsw"
)

// A search that names a recall needs to know what beams reach on this release's graph. That is measured in the background
// when the first such search comes, and anew when one comes after a fifth of the items changed: who never asks never pays.
// It is not stored: it is made anew in seconds, and what a snapshot holds may be stale before it is read; see
// docs/adr/0011-target-recall.md. Until it is there searches use a beam that is wide, and do not say what recall to expect.

const (
	// safeEf is the least width of a beam that stands in for what is not known.
	safeEf = 256
	// What a calibration may cost: distances of its exact scans; and how many queries it makes at least and at most.
	calibrateDistances              = 200_000_000
	leastCalibrated, mostCalibrated = 50, 200
)

// calibrated is what a release knows of its recall.
type calibrated struct {
	newest atomic.Pointer[hnsw.Calibration]
	// failed says that it cannot be known: vectors are such that no queries can be made of them.
	failed atomic.Bool
}

// effort is how much work a search does.
type effort struct {
	ef    int
	exact bool
	// expected is the mean recall to expect of the graph; 0 where that is not known.
	expected float64
}

// effortFor returns the effort of a request for the n nearest; unless it says anything about that, a beam of usual.
func (r *release) effortFor(req *SearchRequest, n, usual int, allowed *allowance) effort {
	switch {
	case req.TargetRecall > 0:
		return r.aimedEffort(req.TargetRecall, n, allowed)
	case req.Ef > 0:
		return effort{ef: req.Ef, exact: req.Exact}
	}
	return effort{ef: usual, exact: req.Exact}
}

// aimedEffort returns the least effort that is known to reach target. A scan, where it is less work: its recall is 1.
func (r *release) aimedEffort(target float64, n int, allowed *allowance) effort {
	e := effort{ef: max(safeEf, 4*n), exact: target >= 1}
	live := r.index.Len()
	candidates, share := live, 1.0
	if allowed.set != nil {
		candidates = allowed.matching
		share = float64(candidates) / float64(max(1, live))
	}
	c := r.calibrated.newest.Load()
	if !e.exact && !hnsw.PrefersScan(live, safeEf) && (c == nil || c.Stale(r.index)) {
		r.calibrate()
	}
	if c != nil {
		ef, expected := c.EfFor(target, n, share)
		if c.Stale(r.index) {
			e.ef = max(e.ef, ef)
		} else {
			e.ef, e.expected = ef, expected
		}
	}
	if most := r.engine.opts.Limits.MaxEf; e.ef > most {
		e.ef, e.expected = max(n, most), 0
	}
	e.exact = e.exact || hnsw.PrefersScan(candidates, e.ef)
	return e
}

// calibrate begins a calibration in the background, unless the engine makes one. The caller was counted in, so that close,
// which ends it, waits for it.
func (r *release) calibrate() {
	if r.calibrated.failed.Load() || !r.engine.calibrating.CompareAndSwap(false, true) {
		return
	}
	r.background.Go(func() {
		defer r.engine.calibrating.Store(false)
		began, log := time.Now(), r.engine.opts.Logger.With("collection", r.cfg.Name, "release", r.rows.Release())
		var (
			c   *hnsw.Calibration
			err error
		)
		r.engine.inBackground(func() { c, err = r.measureCalibration(r.ctx) })
		switch {
		case r.ctx.Err() != nil: // closing
		case err != nil || c.Sample() == 0:
			r.calibrated.failed.Store(true)
			log.Error("recall cannot be calibrated: searches with a target use wide beams", "err", err)
		default:
			r.calibrated.newest.Store(c)
			log.Info("recall calibrated", "queries", c.Sample(), "took", time.Since(began).Round(time.Millisecond))
		}
	})
}

// measureCalibration calibrates with as many queries as the cost allows: each takes exact scans of twice the index. The same
// items in the same slots give the same calibration. One goroutine, so that queries go on being served.
func (r *release) measureCalibration(ctx context.Context) (*hnsw.Calibration, error) {
	sample := calibrateDistances / (2 * max(1, r.index.Len()))
	return r.index.Calibrate(ctx, hnsw.CalibrateOptions{
		Sample: min(max(sample, leastCalibrated), mostCalibrated), Seed: uint64(r.rows.ID()),
	})
}
