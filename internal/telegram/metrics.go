package telegram

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/inbox"
)

// metrics are what the operations port shows of the bot. No label holds anything of a customer or the token.
type metrics struct {
	updates     *prometheus.CounterVec
	problems    prometheus.Counter
	storeErrors prometheus.Counter
	polls       *prometheus.CounterVec
	sends       *prometheus.CounterVec
	sendSeconds prometheus.Histogram
	inFlight    prometheus.Gauge
	files       *prometheus.CounterVec
	fileBytes   prometheus.Counter
	health      *health
}

var (
	stateDesc = prometheus.NewDesc("tandem_bot_state", "1 for the state the bot is in.", []string{"state"}, nil)
	pollDesc  = prometheus.NewDesc("tandem_bot_last_poll_timestamp_seconds",
		"When Telegram last answered a poll, 0 for never.", nil, nil)
)

func newMetrics(h *health) *metrics {
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	m := &metrics{
		updates: prometheus.NewCounterVec(counter("tandem_bot_updates_stored_total",
			"Updates committed to the database, by kind."), []string{"kind"}),
		problems: prometheus.NewCounter(counter("tandem_bot_updates_problem_total",
			"Updates that were kept without being understood as a whole.")),
		storeErrors: prometheus.NewCounter(counter("tandem_bot_store_errors_total",
			"Attempts to store updates that failed and were repeated.")),
		polls: prometheus.NewCounterVec(counter("tandem_bot_polls_total",
			"Calls of getUpdates that ended, by outcome."), []string{"outcome"}),
		sends: prometheus.NewCounterVec(counter("tandem_bot_sends_total",
			"Attempts to deliver a part of an answer, by outcome."), []string{"outcome"}),
		sendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tandem_bot_send_seconds", Help: "Duration of attempts to deliver.",
			Buckets: []float64{.02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tandem_bot_sends_in_flight", Help: "Deliveries under way."}),
		files: prometheus.NewCounterVec(counter("tandem_bot_files_total",
			"Attempts to fetch a file of a customer, by the state that it has then."), []string{"state"}),
		fileBytes: prometheus.NewCounter(counter("tandem_bot_file_bytes_total", "Bytes of files that were fetched.")),
		health:    h,
	}
	for _, state := range []inbox.FileState{inbox.FileStored, inbox.FileWaiting, inbox.FileTooBig, inbox.FileGone,
		inbox.FileFailed} {
		m.files.WithLabelValues(string(state)) // there from the beginning, also where no customer sends a file
	}
	return m
}

// stored counts an update. Kinds that are not ours to know are one label, whatever Telegram calls them.
func (m *metrics) stored(u inbox.Update) {
	kind := "other"
	if slices.Contains(allowedUpdates, u.Kind) {
		kind = u.Kind
	}
	m.updates.WithLabelValues(kind).Inc()
	if u.Problem != "" {
		m.problems.Inc()
	}
}

func (m *metrics) parts() []prometheus.Collector {
	return []prometheus.Collector{m.updates, m.problems, m.storeErrors, m.polls, m.sends, m.sendSeconds, m.inFlight,
		m.files, m.fileBytes}
}

// Describe and Collect make the metrics a prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, p := range m.parts() {
		p.Describe(ch)
	}
	ch <- stateDesc
	ch <- pollDesc
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, p := range m.parts() {
		p.Collect(ch)
	}
	state, _, standby := m.health.get()
	if standby {
		state = "standby"
	}
	for _, s := range append(slices.Clone(inbox.BotStates), "standby") {
		value := 0.0
		if s == state {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(stateDesc, prometheus.GaugeValue, value, string(s))
	}
	at := 0.0
	m.health.mu.Lock()
	if !m.health.lastPoll.IsZero() {
		at = float64(m.health.lastPoll.UnixMilli()) / 1000
	}
	m.health.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(pollDesc, prometheus.GaugeValue, at)
}

// Metrics is what /metrics shows of the bot.
func (b *Bot) Metrics() prometheus.Collector { return b.metrics }
