package telemetry

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"rowcall/modules/bus"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// unknown stands for methods and paths that there are not, whose names clients make up.
const unknown = "unknown"

// seconds are the buckets of the histograms of calls and statements.
var seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics count into a registry of their own.
type metrics struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	answers    sync.Map // answered -> prometheus.Counter, of requests
	calls      *prometheus.CounterVec
	took       *prometheus.HistogramVec
	methods    sync.Map // name -> *method
	statements map[string]prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rowcall_http_requests_total", Help: "HTTP requests, by the path's pattern and the status.",
		}, []string{"path", "status"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rowcall_calls_total", Help: "JSON-RPC calls, by method and OK or the kind of error.",
		}, []string{"method", "kind"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rowcall_call_duration_seconds", Help: "How long calls took, by method and OK or the kind of error.", Buckets: seconds,
		}, []string{"method", "kind"}),
		statements: map[string]prometheus.Observer{},
	}
	statements := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rowcall_db_statement_duration_seconds", Help: "How long statements took, without the wait for a connection.", Buckets: seconds,
	}, []string{"login"})
	for _, login := range []string{store.TenantLogin, store.PlatformLogin} {
		m.statements[login] = statements.WithLabelValues(login)
	}
	m.registry.MustRegister(m.requests, m.calls, m.took, statements,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

func (m *metrics) request(route string, status int) {
	if route == "" {
		route = unknown
	}
	key := answered{route, status}
	counter, ok := m.answers.Load(key)
	if !ok {
		counter, _ = m.answers.LoadOrStore(key, m.requests.WithLabelValues(route, strconv.Itoa(status)))
	}
	counter.(prometheus.Counter).Inc()
}

// answered is what requests are counted by.
type answered struct {
	route  string
	status int
}

// method is what is counted of a method. For calls that succeed no label is looked up.
type method struct {
	name   string
	called func(jsonrpc.Call)
}

func (m *metrics) method(name string) *method {
	if known, ok := m.methods.Load(name); ok {
		return known.(*method)
	}
	made := &method{name: name}
	if name == "" {
		made.name = unknown
	}
	ok, took := m.calls.WithLabelValues(made.name, "OK"), m.took.WithLabelValues(made.name, "OK")
	made.called = func(call jsonrpc.Call) {
		ok, took := ok, took
		if call.Kind != "" {
			ok, took = m.calls.WithLabelValues(made.name, string(call.Kind)), m.took.WithLabelValues(made.name, string(call.Kind))
		}
		ok.Inc()
		took.Observe(call.Duration.Seconds())
	}
	known, _ := m.methods.LoadOrStore(name, made)
	return known.(*method)
}

// Database returns the metrics of a database's connections and caches.
func Database(db *store.DB) prometheus.Collector { return database{db} }

type database struct{ *store.DB }

var (
	dbConns      = describe("rowcall_db_connections", "Connections, by what they do: in_use or idle.", "login", "state")
	dbMax        = describe("rowcall_db_connections_max", "The most connections that there may be.", "login")
	dbWaits      = describe("rowcall_db_waits_total", "Times that work waited for a connection.", "login")
	dbWaited     = describe("rowcall_db_wait_seconds_total", "How long work waited for connections.", "login")
	dbPrepared   = describe("rowcall_db_prepared_statements", "Statements that are prepared, on all connections together.", "login")
	dbPrepHits   = describe("rowcall_db_prepared_hits_total", "Statements that the connection had prepared already.", "login")
	dbPrepMisses = describe("rowcall_db_prepared_misses_total", "Statements that had to be prepared.", "login")
	sqlTexts     = describe("rowcall_sql_texts", "SQL texts that the repositories keep.")
	sqlHits      = describe("rowcall_sql_text_hits_total", "Statements whose SQL text was kept.")
	sqlMisses    = describe("rowcall_sql_text_misses_total", "Statements whose SQL text had to be built.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (d database) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, descs) }

// Collect implements prometheus.Collector.
func (d database) Collect(into chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value int64, labels ...string) {
		into <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		into <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	tenant, platform := d.Stats()
	for login, s := range map[string]store.PoolStats{store.TenantLogin: tenant, store.PlatformLogin: platform} {
		gauge(dbConns, int64(s.InUse), login, "in_use")
		gauge(dbConns, int64(s.Idle), login, "idle")
		gauge(dbMax, int64(s.MaxOpenConnections), login)
		counter(dbWaits, float64(s.WaitCount), login)
		counter(dbWaited, s.WaitDuration.Seconds(), login)
		gauge(dbPrepared, s.Prepared.Size, login)
		counter(dbPrepHits, float64(s.Prepared.Hits), login)
		counter(dbPrepMisses, float64(s.Prepared.Misses), login)
	}
	texts := store.TextStats()
	gauge(sqlTexts, texts.Size)
	counter(sqlHits, float64(texts.Hits))
	counter(sqlMisses, float64(texts.Misses))
}

// Hub returns the metrics of a node's subscriptions to the change log.
func Hub(h *changelog.Hub) prometheus.Collector { return hub{h} }

type hub struct{ *changelog.Hub }

var (
	liveOpen      = describe("rowcall_live_subscriptions", "Subscriptions to the change log that are open.")
	liveDelivered = describe("rowcall_live_delivered_total", "Entries of the change log that were delivered, to all subscribers together.")
	liveEnded     = describe("rowcall_live_ended_total", "Subscriptions that the server ended: slow, or resync.", "reason")
	liveReads     = describe("rowcall_live_reads_total", "Readings of the change log: of what is new, or for subscribers who were far behind.", "kind")
)

// Describe implements prometheus.Collector.
func (h hub) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(h, descs) }

// Collect implements prometheus.Collector.
func (h hub) Collect(into chan<- prometheus.Metric) {
	s := h.Stats()
	into <- prometheus.MustNewConstMetric(liveOpen, prometheus.GaugeValue, float64(s.Open))
	counter := func(desc *prometheus.Desc, value int64, labels ...string) {
		into <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	counter(liveDelivered, s.Delivered)
	counter(liveEnded, s.Slow, "slow")
	counter(liveEnded, s.Resyncs, "resync")
	counter(liveReads, s.Reads, "new")
	counter(liveReads, s.Replays, "replay")
}

// Bus returns the metrics of a node's messages from and to other nodes.
func Bus(b interface{ Stats() bus.Stats }) prometheus.Collector { return nodes{b.Stats} }

type nodes struct{ stats func() bus.Stats }

var (
	busMessages   = describe("rowcall_bus_messages_total", "Messages between nodes: sent to others, heard from them, or lost, as they could not be sent.", "what")
	busReconnects = describe("rowcall_bus_reconnects_total", "Times that the connection to other nodes was made anew.")
)

// Describe implements prometheus.Collector.
func (n nodes) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(n, descs) }

// Collect implements prometheus.Collector.
func (n nodes) Collect(into chan<- prometheus.Metric) {
	s := n.stats()
	for what, count := range map[string]int64{"sent": s.Sent, "heard": s.Heard, "lost": s.Lost} {
		into <- prometheus.MustNewConstMetric(busMessages, prometheus.CounterValue, float64(count), what)
	}
	into <- prometheus.MustNewConstMetric(busReconnects, prometheus.CounterValue, float64(s.Reconnects))
}

// Documents returns what a hub of documents has counted.
func Documents(h *document.Hub) prometheus.Collector { return documents{h} }

type documents struct{ *document.Hub }

var (
	documentsOpen      = describe("rowcall_documents_open", "Documents that are in memory.")
	documentFollowers  = describe("rowcall_document_followers", "Followings of documents that are open.")
	documentCommits    = describe("rowcall_document_commits_total", "Commits of operations, each of all that waited.")
	documentOperations = describe("rowcall_document_operations_total", "Operations that were committed.")
	documentDelivered  = describe("rowcall_document_delivered_total", "Operations together, and presences, that were delivered, to all followers together.")
	documentSlow       = describe("rowcall_document_slow_total", "Followings that ended because their followers fell behind.")
	documentSnapshots  = describe("rowcall_document_snapshots_total", "Snapshots that were made.")
)

// Describe implements prometheus.Collector.
func (d documents) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(d, descs) }

// Collect implements prometheus.Collector.
func (d documents) Collect(into chan<- prometheus.Metric) {
	s := d.Stats()
	into <- prometheus.MustNewConstMetric(documentsOpen, prometheus.GaugeValue, float64(s.Rooms))
	into <- prometheus.MustNewConstMetric(documentFollowers, prometheus.GaugeValue, float64(s.Followers))
	for desc, value := range map[*prometheus.Desc]int64{
		documentCommits: s.Commits, documentOperations: s.Operations, documentDelivered: s.Delivered, documentSlow: s.Slow, documentSnapshots: s.Compactions,
	} {
		into <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value))
	}
}
