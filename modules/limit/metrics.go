package limit

import "github.com/prometheus/client_golang/prometheus"

// metrics has no label of a caller or a tenant, of which there may be any number.
type metrics struct {
	collectors  []prometheus.Collector
	buckets     [kinds][dimensions]prometheus.Counter
	concurrency prometheus.Counter
	streams     prometheus.Counter
}

func newMetrics(l *Limits) (m metrics) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rowcall_limit_refused_total",
		Help: "Requests, and calls of batches, that were refused, by whose limit it was and what it limits.",
	}, []string{"subject", "dimension"})
	for k := range m.buckets {
		for d := range m.buckets[k] {
			m.buckets[k][d] = refused.WithLabelValues(kindNames[k], dimensionNames[d])
		}
	}
	m.concurrency = refused.WithLabelValues("tenant", "concurrency")
	m.streams = refused.WithLabelValues("tenant", "streams")
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		opts := prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(opts, value))
	}
	gauge("rowcall_limit_running", "Requests that run under their tenant's limit of concurrency.", nil,
		func() float64 { return float64(l.tenants.running.Load()) })
	gauge("rowcall_limit_waiting", "Requests that wait for their tenant's turn.", nil,
		func() float64 { return float64(l.tenants.waiting.Load()) })
	gauge("rowcall_limit_streams", "Streams that are open: SSE and WebSocket.", nil,
		func() float64 { return float64(l.streams.open.Load()) })
	for k, t := range l.callers {
		gauge("rowcall_limit_buckets", "Callers whose buckets are in memory.", prometheus.Labels{"subject": kindNames[k]},
			func() float64 { return float64(t.len()) })
	}
	m.collectors = append(m.collectors, refused)
	return m
}

// Describe implements prometheus.Collector.
func (l *Limits) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range l.metrics.collectors {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (l *Limits) Collect(ch chan<- prometheus.Metric) {
	for _, c := range l.metrics.collectors {
		c.Collect(ch)
	}
}
