package ops

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/server/admission"
)

// WatchAdmission adds the numbers of an admission controller and of its connections.
func (m *Metrics) WatchAdmission(c *admission.Controller, connections *admission.Connections) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("segue_connections_open", "Connections of the API.", nil, func() float64 { return float64(connections.Open()) })
	gauge("segue_admission_effort", "Share of the asked beam width that searches get: 1 in good times.", nil, func() float64 { return c.Effort() })
	for class, read := range map[string]func(admission.Stats) (limit, running, queued int){
		"query": func(s admission.Stats) (int, int, int) { return s.QueryLimit, s.QueriesRunning, s.QueriesQueued },
		"write": func(s admission.Stats) (int, int, int) { return s.WriteLimit, s.WritesRunning, s.WritesQueued },
	} {
		labels := prometheus.Labels{"class": class}
		gauge("segue_admission_limit", "Calls that may run at once.", labels, func() float64 { n, _, _ := read(c.Stats()); return float64(n) })
		gauge("segue_admission_running", "Calls that run.", labels, func() float64 { _, n, _ := read(c.Stats()); return float64(n) })
		gauge("segue_admission_queued", "Calls that wait for their turn.", labels, func() float64 { _, _, n := read(c.Stats()); return float64(n) })
	}
}

// WatchLoading adds how far the opening of an engine has come.
func (m *Metrics) WatchLoading(l *engine.Loading) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "segue_load_ratio", Help: "Share of the present phase of opening the store that is done; 1 once calls are answered.",
	}, func() float64 { return l.Progress().Share() }))
}

// WatchReadiness adds whether calls are answered; ready is that of Handler.
func (m *Metrics) WatchReadiness(ready func() error) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "segue_ready", Help: "1 while calls are answered, 0 while /readyz says why not.",
	}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	}))
}

// WatchMemory adds what the process holds and what writes may make of it. use is engine.Options.Memory.
func (m *Metrics) WatchMemory(use func() engine.MemoryUse) {
	gauge := func(name, help string, read func(engine.MemoryUse) uint64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read(use())) }))
	}
	gauge("segue_memory_used_bytes", "Memory of the process that no file backs, less what a garbage collection would give back.",
		func(u engine.MemoryUse) uint64 { return u.Used })
	gauge("segue_memory_write_limit_bytes", "segue_memory_used_bytes beyond which writes that need memory are refused; 0 is no limit.",
		func(u engine.MemoryUse) uint64 { return u.Limit })
}

// WatchEngine adds the numbers of an engine's collections and of its store.
func (m *Metrics) WatchEngine(e *engine.Engine) {
	m.state = newEngineState(e, time.Now)
	m.registry.MustRegister(m.state)
}

// Unreachable sets how many items of a collection no search can come to. WatchEngine was called before.
func (m *Metrics) Unreachable(c *engine.Collection, n int) {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	m.state.unreachable[c] = n
}

// statisticsAge is how long a collection's statistics are remembered: reading them makes its writers wait a moment.
const statisticsAge = 30 * time.Second

// engineState reads an engine when it is asked.
type engineState struct {
	engine *engine.Engine
	now    func() time.Time

	mu          sync.Mutex // guards what follows
	known       map[string]remembered
	unreachable map[*engine.Collection]int // of those that were looked at
}

func newEngineState(e *engine.Engine, now func() time.Time) *engineState {
	return &engineState{engine: e, now: now, known: map[string]remembered{}, unreachable: map[*engine.Collection]int{}}
}

// remembered is what was read of a collection. snapshot and imports are nil where they cannot be read (their metrics are then
// absent, the others stay), snapshot also where there is none.
type remembered struct {
	statistics engine.Statistics
	snapshot   *time.Time // when the newest snapshot was made
	imports    *imports
	at         time.Time
}

// imports say how far the import of a collection is that takes rows or builds; a collection has one at most. All are 0 where none
// runs; fields are those of engine.ImportInfo.
type imports struct{ running, accepted, built, total int }

// remember reads a collection.
func remember(ctx context.Context, c *engine.Collection, now time.Time) (remembered, error) {
	statistics, err := c.Statistics(ctx)
	if err != nil {
		return remembered{}, err
	}
	r := remembered{statistics: statistics, at: now}
	if kept, err := c.Snapshots(ctx); err == nil && len(kept) > 0 {
		r.snapshot = &kept[0].CreateTime
	}
	if i, err := importsOf(ctx, c); err == nil {
		r.imports = &i
	}
	return r, nil
}

func importsOf(ctx context.Context, c *engine.Collection) (imports, error) {
	releases, err := c.Releases(ctx)
	if err != nil {
		return imports{}, err
	}
	for _, r := range releases {
		if r.State == engine.ReleaseImporting || r.State == engine.ReleaseBuilding {
			info, err := c.Import(ctx, r.JobID)
			return imports{1, info.Accepted, info.Built, info.Total}, err
		}
	}
	return imports{}, nil
}

// stat is one number with its description.
type stat[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) float64
}

func gaugeOf[T any](name, help string, read func(T) float64, labels ...string) stat[T] {
	return stat[T]{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, read}
}

func counterOf[T any](name, help string, read func(T) float64) stat[T] {
	return stat[T]{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, read}
}

// collectionStats are the fields of segue.v1.IndexStatistics.
var collectionStats = []stat[engine.Statistics]{
	gaugeOf("segue_collection_item_count", "Live items.", func(s engine.Statistics) float64 { return float64(s.Items) }, "collection"),
	gaugeOf("segue_collection_slot_count", "Slots of the index ever used: live and retired.", func(s engine.Statistics) float64 { return float64(s.Slots) }, "collection"),
	gaugeOf("segue_collection_retired_slot_count", "Slots of deleted or replaced items that wait to be reused.", func(s engine.Statistics) float64 { return float64(s.RetiredSlots) }, "collection"),
	gaugeOf("segue_collection_mean_degree", "Mean number of links of a node on level 0.", func(s engine.Statistics) float64 { return s.MeanDegree }, "collection"),
	gaugeOf("segue_collection_index_bytes", "Memory of vectors, links, ids and attributes.", func(s engine.Statistics) float64 { return float64(s.IndexBytes) }, "collection"),
	gaugeOf("segue_collection_revision", "The newest revision that reads see.", func(s engine.Statistics) float64 { return float64(s.Revision) }, "collection"),
	gaugeOf("segue_collection_snapshot_revision", "Revision of the newest snapshot.", func(s engine.Statistics) float64 { return float64(s.SnapshotRevision) }, "collection"),
	gaugeOf("segue_collection_log_tail_count", "Writes after the newest snapshot, which a restart replays.", func(s engine.Statistics) float64 { return float64(s.LogTail) }, "collection"),
	gaugeOf("segue_collection_backlog_count", "Changes since a restart that searches scan and the graph lacks.", func(s engine.Statistics) float64 { return float64(s.Backlog) }, "collection"),
}

var snapshotTimeDesc = prometheus.NewDesc("segue_collection_snapshot_timestamp_seconds",
	"When the newest snapshot was made, in seconds since 1970; absent where there is none.", []string{"collection"}, nil)

var unreachableDesc = prometheus.NewDesc("segue_collection_unreachable_count",
	"Items that no search of the graph can come to, when last looked at: above 0 the graph is damaged. Absent before.", []string{"collection"}, nil)

var importStats = []stat[imports]{
	gaugeOf("segue_collection_import_running_count", "1 while an import takes rows or builds.", func(i imports) float64 { return float64(i.running) }, "collection"),
	gaugeOf("segue_collection_import_accepted_count", "Durable rows of the running import.", func(i imports) float64 { return float64(i.accepted) }, "collection"),
	gaugeOf("segue_collection_import_built_count", "Items of the running import that are in its graph.", func(i imports) float64 { return float64(i.built) }, "collection"),
	gaugeOf("segue_collection_import_total_count", "Items that the running import will have; 0 where it is not known.", func(i imports) float64 { return float64(i.total) }, "collection"),
}

var storeStats = []stat[engine.StoreMetrics]{
	gaugeOf("segue_store_disk_bytes", "Size of all files of the store.", func(m engine.StoreMetrics) float64 { return float64(m.DiskBytes) }),
	gaugeOf("segue_store_disk_available_bytes", "What the volume has left.", func(m engine.StoreMetrics) float64 { return float64(m.DiskAvailBytes) }),
	gaugeOf("segue_store_wal_bytes", "Size of the live write-ahead logs.", func(m engine.StoreMetrics) float64 { return float64(m.WALBytes) }),
	gaugeOf("segue_store_memtable_bytes", "Size of the memtables.", func(m engine.StoreMetrics) float64 { return float64(m.MemTableBytes) }),
	gaugeOf("segue_store_cache_bytes", "Block cache in use.", func(m engine.StoreMetrics) float64 { return float64(m.CacheBytes) }),
	gaugeOf("segue_store_read_amplification", "Places that a point read may have to look into.", func(m engine.StoreMetrics) float64 { return float64(m.ReadAmp) }),
	counterOf("segue_store_flushes_total", "Finished flushes.", func(m engine.StoreMetrics) float64 { return float64(m.Flushes) }),
	counterOf("segue_store_compactions_total", "Finished compactions.", func(m engine.StoreMetrics) float64 { return float64(m.Compactions) }),
	counterOf("segue_store_write_stalls_total", "Times that writes waited for flushes or compactions.", func(m engine.StoreMetrics) float64 { return float64(m.WriteStalls) }),
	counterOf("segue_store_corruptions_total", "Reads that met a damaged block.", func(m engine.StoreMetrics) float64 { return float64(m.Corruptions) }),
	counterOf("segue_store_background_errors_total", "Failed flushes and compactions.", func(m engine.StoreMetrics) float64 { return float64(m.BackgroundErrors) }),
	counterOf("segue_store_slow_disk_total", "Writes and syncs that took above 5 s.", func(m engine.StoreMetrics) float64 { return float64(m.SlowDisk) }),
	counterOf("segue_store_low_space_refusals_total", "Writes refused because the volume is nearly full.", func(m engine.StoreMetrics) float64 { return float64(m.LowSpaceRefusals) }),
}

var fsyncDesc = prometheus.NewDesc("segue_store_fsync_duration_seconds", "Syncs of the write-ahead log: what every durable write waits for.", nil, nil)

// Describe implements prometheus.Collector.
func (s *engineState) Describe(out chan<- *prometheus.Desc) {
	for _, stat := range collectionStats {
		out <- stat.desc
	}
	for _, stat := range importStats {
		out <- stat.desc
	}
	for _, stat := range storeStats {
		out <- stat.desc
	}
	out <- snapshotTimeDesc
	out <- unreachableDesc
	out <- fsyncDesc
}

// Collect implements prometheus.Collector. A collection that is deleted meanwhile is left out.
func (s *engineState) Collect(out chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, known := s.now(), map[string]remembered{}
	collections := s.engine.Collections()
	maps.DeleteFunc(s.unreachable, func(c *engine.Collection, _ int) bool { return !slices.Contains(collections, c) })
	for _, c := range collections {
		name := c.Config().Name
		if n, ok := s.unreachable[c]; ok {
			out <- prometheus.MustNewConstMetric(unreachableDesc, prometheus.GaugeValue, float64(n), name)
		}
		r, ok := s.known[name]
		if !ok || now.Sub(r.at) >= statisticsAge {
			var err error
			if r, err = remember(context.Background(), c, now); err != nil {
				continue
			}
		}
		known[name] = r
		// These are loads, and always fresh.
		r.statistics.Items, r.statistics.Revision, r.statistics.Backlog = c.Len(), c.Revision(), c.Backlog()
		for _, stat := range collectionStats {
			out <- prometheus.MustNewConstMetric(stat.desc, stat.kind, stat.read(r.statistics), name)
		}
		if r.snapshot != nil {
			out <- prometheus.MustNewConstMetric(snapshotTimeDesc, prometheus.GaugeValue, float64(r.snapshot.UnixMilli())/1e3, name)
		}
		if r.imports != nil {
			for _, stat := range importStats {
				out <- prometheus.MustNewConstMetric(stat.desc, stat.kind, stat.read(*r.imports), name)
			}
		}
	}
	s.known = known
	store := s.engine.StoreMetrics()
	for _, stat := range storeStats {
		out <- prometheus.MustNewConstMetric(stat.desc, stat.kind, stat.read(store))
	}
	count, buckets := store.Fsync.Cumulative()
	out <- prometheus.MustNewConstHistogram(fsyncDesc, count, store.Fsync.Sum.Seconds(), buckets)
}
