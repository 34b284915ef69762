package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons why a search that was to be run again exactly has no recall.
const (
	RecallFailed   = "failed"   // the exact search did
	RecallTimeout  = "timeout"  // the exact search took too long
	RecallReplaced = "replaced" // another release was published meanwhile, or what was found was all written since
)

func (m *Metrics) watchRecall() {
	labels := []string{"collection", "plan", "effort", "order"}
	m.recall = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "segue_live_recall_ratio", Help: "Share of the exact answer that was served, of searches that were run again exactly.",
		Buckets: []float64{0, .25, .5, .7, .8, .9, .95, .99},
	}, labels)
	m.recallSquares = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "segue_live_recall_squares_total", Help: "Sum of the squares of segue_live_recall_ratio, for its standard error.",
	}, labels)
	m.recallSkipped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "segue_live_recall_skipped_total", Help: "Searches that were to be run again exactly and have no recall, by reason.",
	}, []string{"reason"})
	m.recallTime = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "segue_live_recall_seconds_total", Help: "Time that searches took that were run again exactly.",
	})
	m.registry.MustRegister(m.recall, m.recallSquares, m.recallSkipped, m.recallTime)
	for _, reason := range []string{RecallFailed, RecallTimeout, RecallReplaced} {
		m.recallSkipped.WithLabelValues(reason)
	}
}

// Recall is what one search that was run again exactly tells.
type Recall struct {
	// Collection and Plan are those of Search.
	Collection, Plan string
	// Effort is where the beam width came from: default, ef, target or reduced.
	Effort string
	// Order is score, or ranked where neighbors are ordered by more than that.
	Order string
	// Share is how much of the exact answer was served.
	Share float64
}

// Recalled counts a search that was run again exactly.
func (m *Metrics) Recalled(r Recall) {
	m.recall.WithLabelValues(r.Collection, r.Plan, r.Effort, r.Order).Observe(r.Share)
	m.recallSquares.WithLabelValues(r.Collection, r.Plan, r.Effort, r.Order).Add(r.Share * r.Share)
}

// RecallSkipped counts a search that could not be run again exactly; reason is one of the constants above.
func (m *Metrics) RecallSkipped(reason string) { m.recallSkipped.WithLabelValues(reason).Inc() }

// RecallTook counts the time of a search that was run again exactly.
func (m *Metrics) RecallTook(d time.Duration) { m.recallTime.Add(d.Seconds()) }
