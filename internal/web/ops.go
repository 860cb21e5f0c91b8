package web

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tandem/internal/buildinfo"
	"tandem/internal/inbox"
	"tandem/internal/ops"
)

// scrapeTimeout is how long a scrape or a look at /status waits for the database.
const scrapeTimeout = 2 * time.Second

type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	givenUp  *prometheus.CounterVec
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tandem_web_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tandem_web_request_duration_seconds", Help: "Time to answer, without streams.",
			Buckets: prometheus.ExponentialBuckets(.001, 4, 8),
		}, []string{"route"}),
	}
	m.givenUp = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tandem_web_given_up_total", Help: "Requests that took too long, or found the database busy, by kind.",
	}, []string{"kind"})
	for _, kind := range []inbox.Kind{inbox.TooLong, inbox.Busy} {
		m.givenUp.WithLabelValues(string(kind)) // which is 0 until it happens, and not absent
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tandem_build_info", Help: "1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"process": "web", "version": buildinfo.Version, "commit": buildinfo.Commit}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.givenUp, build, databaseCollector{s},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tandem_web_streams", Help: "Open event streams."},
			func() float64 { return float64(s.streams.count()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) request(rt route, code int, took time.Duration) {
	m.requests.WithLabelValues(rt.method, rt.path, strconv.Itoa(code)).Inc()
	if rt.as != stream {
		m.duration.WithLabelValues(rt.path).Observe(took.Seconds())
	}
}

var (
	databaseUp = prometheus.NewDesc("tandem_database_up", "1 while the database can be used.", nil, nil)
	botUp      = prometheus.NewDesc("tandem_bot_up", "1 while a bot reports to the database.", nil, nil)
	queueSize  = prometheus.NewDesc("tandem_queue_messages",
		"Parts of answers that are not delivered, by state.", []string{"state"}, nil)
	queueAge = prometheus.NewDesc("tandem_queue_oldest_seconds",
		"Age of the oldest part that is queued, 0 when there is none.", nil, nil)
)

var (
	filesWaiting = prometheus.NewDesc("tandem_files_waiting", "Files that are to be fetched.", nil, nil)
	filesAge     = prometheus.NewDesc("tandem_files_oldest_seconds",
		"Age of the oldest file that is to be fetched, 0 when there is none.", nil, nil)
	filesBytes  = prometheus.NewDesc("tandem_files_bytes", "Bytes of all files in the database.", nil, nil)
	filesPaused = prometheus.NewDesc("tandem_files_paused", "1 while a limit of ours keeps files from being fetched.",
		nil, nil)
)

// databaseCollector reads what it tells when it is asked; without a database it tells only that.
type databaseCollector struct{ s *Server }

func (databaseCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{databaseUp, botUp, queueSize, queueAge,
		filesWaiting, filesAge, filesBytes, filesPaused} {
		out <- d
	}
}

func (c databaseCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(scraping(context.Background()), scrapeTimeout)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(databaseUp, one(c.s.store.Ready() == nil))
	if !inbox.CanRead(c.s.store.Ready()) {
		return
	}
	if v, err := c.s.botView(ctx); err == nil {
		gauge(botUp, one(v.alive()))
	}
	if q, err := c.s.store.Queue(ctx); err == nil {
		gauge(queueSize, float64(q.Queued), string(inbox.Queued))
		gauge(queueSize, float64(q.Sending), string(inbox.Sending))
		gauge(queueSize, float64(q.Failed), string(inbox.Failed))
		gauge(queueSize, float64(q.Unknown), string(inbox.Unknown))
		age := 0.0
		if q.Oldest != nil {
			age = time.Since(*q.Oldest).Seconds()
		}
		gauge(queueAge, age)
	}
	if f, err := c.s.store.FileStats(ctx); err == nil {
		age := 0.0
		if f.Oldest != nil {
			age = time.Since(*f.Oldest).Seconds()
		}
		gauge(filesWaiting, float64(f.Waiting))
		gauge(filesAge, age)
		gauge(filesBytes, float64(f.Bytes))
		gauge(filesPaused, one(f.Paused != ""))
	}
}

// scraping makes all who look at the operations port one reader.
func scraping(ctx context.Context) context.Context {
	return context.WithValue(ctx, whoKey{}, principal{identity: identity{kind: "operations"}})
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// OpsHandler serves the operations port: /metrics, /status, /healthz and /readyz.
func (s *Server) OpsHandler() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	m.HandleFunc("GET /status", s.status)
	m.HandleFunc("GET /healthz", ops.Healthz)
	m.HandleFunc("GET /readyz", ops.Readyz(s.ready))
	return m
}

type statusResponse struct {
	Web struct {
		Version   string    `json:"version"`
		StartedAt time.Time `json:"started_at"`
		Streams   int       `json:"streams"`
	} `json:"web"`
	Bot      *statusBot `json:"bot"` // null when nothing is known of any
	Database struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason,omitempty"`
	} `json:"database"`
	Queue *statusQueue `json:"queue"` // null while the database cannot be asked
	Files *statusFiles `json:"files"` // the same
	// Anew is there while messages of an older version are being read anew.
	Anew *statusAnew `json:"reading_anew,omitempty"`
	// Search is there while the index of words is behind.
	Search *statusSearch `json:"search,omitempty"`
}

type statusSearch struct {
	Behind   int64 `json:"behind"`              // changes that cannot be found yet; more than 10,000 count as that
	LeftFrom int64 `json:"left_from,omitempty"` // older messages, whose ids are below this, are yet to be indexed
}

type statusAnew struct {
	Left int64 `json:"left"` // messages
}

type statusBot struct {
	Running     bool       `json:"running"`
	Username    string     `json:"username,omitempty"`
	State       string     `json:"state,omitempty"` // its own word
	Reason      string     `json:"reason,omitempty"`
	Instance    string     `json:"instance,omitempty"`
	HeartbeatAt *time.Time `json:"heartbeat_at,omitempty"`
	Init        string     `json:"init,omitempty"` // init's word
	InWords     string     `json:"in_words,omitempty"`
}

type statusFiles struct {
	Waiting int64      `json:"waiting"`
	Oldest  *time.Time `json:"oldest,omitempty"`
	Bytes   int64      `json:"bytes"`            // that all files take
	Paused  string     `json:"paused,omitempty"` // why none is fetched
}

type statusQueue struct {
	Queued  int64      `json:"queued"`
	Sending int64      `json:"sending"`
	Failed  int64      `json:"failed"`
	Unknown int64      `json:"unknown"`
	Oldest  *time.Time `json:"oldest,omitempty"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(scraping(r.Context()), scrapeTimeout)
	defer cancel()
	var a statusResponse
	a.Web.Version, a.Web.StartedAt, a.Web.Streams = buildinfo.String(), s.started, s.streams.count()
	err := s.store.Ready()
	a.Database.Ready = err == nil
	if inbox.CanRead(err) {
		var failed error
		a.Queue, a.Bot, failed = s.statusOfData(ctx)
		if left, err := s.store.Unread(ctx); err == nil && left > 0 {
			a.Anew = &statusAnew{left}
		}
		if p, err := s.store.WordsProgress(ctx); err == nil && p != (inbox.WordsProgress{}) {
			a.Search = &statusSearch{p.Behind, p.LeftFrom}
		}
		if f, failed := s.store.FileStats(ctx); failed == nil {
			a.Files = &statusFiles{f.Waiting, f.Oldest, f.Bytes, f.Paused}
		}
		err = cmp.Or(err, failed) // one that has no time for this question now is well
	}
	if err != nil {
		a.Database.Reason = err.Error()
	}
	if err != nil && a.Queue == nil {
		if p, since := s.initSays(); p != nil {
			a.Bot = statusOfBot(botView{now: time.Now(), init: p, since: since})
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	_ = writeJSON(w, http.StatusOK, a)
}

func (s *Server) statusOfData(ctx context.Context) (*statusQueue, *statusBot, error) {
	q, err := s.store.Queue(ctx)
	if err != nil {
		return nil, nil, err
	}
	v, err := s.botView(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &statusQueue{q.Queued, q.Sending, q.Failed, q.Unknown, q.Oldest}, statusOfBot(v), nil
}

func statusOfBot(v botView) *statusBot {
	if v.word == nil && v.init == nil {
		return nil
	}
	b := &statusBot{Running: v.alive()}
	if v.word != nil {
		b.Username, b.State, b.Reason = v.word.Username, string(v.word.State), v.word.Reason
		b.Instance, b.HeartbeatAt = v.word.Instance, &v.word.HeartbeatAt
	}
	if v.init != nil {
		b.Init = string(v.init.State)
	}
	if say := v.banner(); say != nil {
		b.InWords = say.Title + ". " + say.Text
	}
	return b
}
