package main

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/store"
)

var (
	queueDesc = prometheus.NewDesc("tandem_queue_deliveries", "Parts of answers by state of their delivery.",
		[]string{"state"}, nil)
	oldestDesc = prometheus.NewDesc("tandem_queue_oldest_timestamp_seconds",
		"When the oldest queued part was written, 0 for none.", nil, nil)
)

// queueMetrics asks the database for the queue when somebody looks; while it is away they are missing.
type queueMetrics struct{ db *store.Store }

func (q queueMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueDesc
	ch <- oldestDesc
}

func (q queueMetrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	stats, err := q.db.Queue(ctx)
	if err != nil {
		return
	}
	for state, n := range map[string]int64{
		"queued": stats.Queued, "sending": stats.Sending, "failed": stats.Failed, "unknown": stats.Unknown,
	} {
		ch <- prometheus.MustNewConstMetric(queueDesc, prometheus.GaugeValue, float64(n), state)
	}
	oldest := 0.0
	if stats.Oldest != nil {
		oldest = float64(stats.Oldest.UnixMilli()) / 1000
	}
	ch <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, oldest)
}
