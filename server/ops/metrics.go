package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"
)

// Reasons why a call or a connection was refused before it was begun.
const (
	ShedConnections     = "connections"
	ShedUnauthenticated = "unauthenticated"
	ShedDenied          = "denied"
	ShedRate            = "rate"
	ShedQueue           = "queue"
	ShedPriority        = "priority"
	ShedDeadline        = "deadline"
)

// Metrics count what a server does. Make one with NewMetrics.
type Metrics struct {
	registry *prometheus.Registry

	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	shed     *prometheus.CounterVec
	queued   prometheus.Histogram
	slow     *prometheus.CounterVec

	searches  *prometheus.CounterVec
	reduced   *prometheus.CounterVec
	ef        *prometheus.HistogramVec
	distances *prometheus.HistogramVec
	hops      *prometheus.HistogramVec

	queries *prometheus.CounterVec

	state *engineState // nil before WatchEngine

	recall        *prometheus.HistogramVec
	recallSquares *prometheus.CounterVec
	recallSkipped *prometheus.CounterVec
	recallTime    prometheus.Counter

	ended    bound[endKey, endSeries]
	refused  bound[endKey, prometheus.Counter]
	searched bound[searchKey, searchSeries]
}

// endKey and searchKey are the labels of what is counted in every call, endSeries and searchSeries what is counted under them.
type (
	endKey struct {
		method, collection string
		code               codes.Code
	}
	endSeries struct {
		calls    prometheus.Counter
		duration prometheus.Observer
	}
	searchKey    struct{ collection, plan, completeness string }
	searchSeries struct {
		searches, reduced   prometheus.Counter
		ef, distances, hops prometheus.Observer
	}
)

// NewMetrics returns metrics that have counted nothing, in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "segue_rpc_calls_total", Help: "Calls that ended, by gRPC code.",
		}, []string{"method", "collection", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "segue_rpc_duration_seconds", Help: "Time from a decoded request to its answer, waiting for admission included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "collection"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "segue_rpc_in_flight", Help: "Calls begun and not ended."}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "segue_rpc_shed_total", Help: "Calls and connections refused before they were begun, by reason.",
		}, []string{"reason"}),
		queued: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "segue_rpc_queue_wait_seconds", Help: "Time that admitted calls waited for their turn.",
			Buckets: []float64{.00001, .0001, .001, .005, .01, .025, .05, .1, 1},
		}),
		slow: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "segue_rpc_slow_total", Help: "Calls above the threshold of the slow-query log.",
		}, []string{"method"}),
		searches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "segue_search_total", Help: "Searches answered, by plan and completeness.",
		}, []string{"collection", "plan", "completeness"}),
		reduced: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "segue_search_effort_reduced_total", Help: "Searches that got a smaller beam than asked for because of overload.",
		}, []string{"collection"}),
		ef: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "segue_search_ef_used", Help: "Beam width of searches of the graph.", Buckets: prometheus.ExponentialBuckets(16, 2, 11),
		}, []string{"collection"}),
		distances: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "segue_search_distance_count", Help: "Distances computed for a search.", Buckets: prometheus.ExponentialBuckets(64, 2, 15),
		}, []string{"collection"}),
		hops: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "segue_search_hop_count", Help: "Nodes of the graph that a search expanded.", Buckets: prometheus.ExponentialBuckets(8, 2, 12),
		}, []string{"collection"}),
	}
	m.queries = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "segue_query_log_total", Help: "Queries that were drawn for the query log, by what became of them.",
	}, []string{"outcome"})
	m.registry.MustRegister(m.queries)
	m.watchRecall()
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.calls, m.duration, m.inFlight, m.shed, m.queued, m.slow, m.searches, m.reduced, m.ef, m.distances, m.hops)
	for _, reason := range []string{ShedConnections, ShedUnauthenticated, ShedDenied, ShedRate, ShedQueue, ShedPriority, ShedDeadline} {
		m.shed.WithLabelValues(reason) // a rate of what never happened is 0, not absent
	}
	return m
}

// Gatherer is where the metrics can be read.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Begin counts a call in; every Begin needs an End.
func (m *Metrics) Begin() { m.inFlight.Inc() }

// End counts a call out. collection must be one that exists, or empty.
func (m *Metrics) End(method, collection string, code codes.Code, took time.Duration) {
	m.inFlight.Dec()
	s := m.ended.of(endKey{method, collection, code}, func(k endKey) endSeries {
		return endSeries{m.calls.WithLabelValues(k.method, k.collection, k.code.String()), m.duration.WithLabelValues(k.method, k.collection)}
	})
	s.calls.Inc()
	s.duration.Observe(took.Seconds())
}

// Refused counts a call that was refused before it was begun.
func (m *Metrics) Refused(method string, code codes.Code) {
	m.refused.of(endKey{method: method, code: code}, func(k endKey) prometheus.Counter {
		return m.calls.WithLabelValues(k.method, k.collection, k.code.String())
	}).Inc()
}

// Shed counts the reason of a refusal; reason is one of the constants above.
func (m *Metrics) Shed(reason string) { m.shed.WithLabelValues(reason).Inc() }

// Waited counts the time that an admitted call waited.
func (m *Metrics) Waited(d time.Duration) { m.queued.Observe(d.Seconds()) }

// Slow counts a call of the slow-query log.
func (m *Metrics) Slow(method string) { m.slow.WithLabelValues(method).Inc() }

// QueryLogged counts a query that was drawn for the query log. outcome is one of package querylog; 0 makes
// it known.
func (m *Metrics) QueryLogged(outcome string, n int) {
	m.queries.WithLabelValues(outcome).Add(float64(n))
}

// Search is what one search did.
type Search struct {
	Collection string
	// Release is which release of the collection was searched; metrics do not have it.
	Release uint32
	// Plan and Completeness are the names of the API, in lower case and without prefix.
	Plan, Completeness string
	// Ef is 0 where the graph was not searched.
	Ef              int
	Distances, Hops int64
	Reduced         bool
}

// Searched counts a search.
func (m *Metrics) Searched(s Search) {
	b := m.searched.of(searchKey{s.Collection, s.Plan, s.Completeness}, func(k searchKey) searchSeries {
		return searchSeries{
			searches: m.searches.WithLabelValues(k.collection, k.plan, k.completeness), reduced: m.reduced.WithLabelValues(k.collection),
			ef: m.ef.WithLabelValues(k.collection), distances: m.distances.WithLabelValues(k.collection), hops: m.hops.WithLabelValues(k.collection),
		}
	})
	b.searches.Inc()
	b.distances.Observe(float64(s.Distances))
	if s.Ef > 0 {
		b.ef.Observe(float64(s.Ef))
		b.hops.Observe(float64(s.Hops))
	}
	if s.Reduced {
		b.reduced.Inc()
	}
}
