package changelog

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"rowcall/modules/store"
)

// Pruner prunes a database from time to time. It is a prometheus.Collector.
type Pruner struct {
	db   *store.DB
	keep Retention
	log  *zap.Logger

	runs                         *prometheus.CounterVec
	entries, mutations, replicas prometheus.Counter
	succeeded                    prometheus.Gauge
}

// NewPruner returns a Pruner.
func NewPruner(db *store.DB, keep Retention, log *zap.Logger) *Pruner {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Pruner{
		db: db, keep: keep, log: log,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rowcall_prune_runs_total", Help: "Runs of the pruning, by their result: ok, failed, or busy if another node was at it.",
		}, []string{"result"}),
		entries:   counter("rowcall_pruned_entries_total", "Entries of the change log that were pruned."),
		mutations: counter("rowcall_pruned_mutations_total", "Answers to mutations that were forgotten."),
		replicas:  counter("rowcall_pruned_replicas_total", "Replicas whose lease had ended."),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rowcall_prune_last_success_timestamp_seconds", Help: "When this node pruned without an error last; 0 for never.",
		}),
	}
}

// Run prunes at once, and again whenever the time has passed, until ctx ends. Of the nodes of a database one prunes at a time.
func (p *Pruner) Run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		p.prune(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (p *Pruner) prune(ctx context.Context) {
	start := time.Now()
	done, err := Prune(ctx, p.db, p.keep)
	p.entries.Add(float64(done.Entries))
	p.mutations.Add(float64(done.Mutations))
	p.replicas.Add(float64(done.Replicas))
	switch {
	case errors.Is(err, ErrPruning):
		p.runs.WithLabelValues("busy").Inc()
	case err != nil && ctx.Err() == nil:
		p.runs.WithLabelValues("failed").Inc()
		p.log.Error("the change log could not be pruned", zap.Error(err))
	case err == nil:
		p.runs.WithLabelValues("ok").Inc()
		p.succeeded.SetToCurrentTime()
	}
	if done != (PruneStats{}) {
		p.log.Info("pruned", zap.Int64("entries", done.Entries), zap.Int("tenants", done.Tenants), zap.Int("files", done.Archived),
			zap.Int64("mutations", done.Mutations), zap.Int64("replicas", done.Replicas), zap.Duration("took", time.Since(start)))
	}
}

func (p *Pruner) collectors() []prometheus.Collector {
	return []prometheus.Collector{p.runs, p.entries, p.mutations, p.replicas, p.succeeded}
}

// Describe implements prometheus.Collector.
func (p *Pruner) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range p.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (p *Pruner) Collect(ch chan<- prometheus.Metric) {
	for _, c := range p.collectors() {
		c.Collect(ch)
	}
}
