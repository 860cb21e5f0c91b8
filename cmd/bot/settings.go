package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/http/httpproxy"

	"tandem/internal/config"
	"tandem/internal/logging"
	"tandem/internal/ops"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
	"tandem/internal/store"
	"tandem/internal/telegram"
)

// allSettings are what -help prints, and what the documents are compared with.
var allSettings = []config.Setting{
	{Name: "TELEGRAM_BOT_TOKEN", Secret: true, Says: "the token of the bot, from @BotFather"},
	{Name: "TELEGRAM_API_URL", Default: "https://api.telegram.org",
		Says: "the Bot API, also on a server of your own (http or https)"},
	{Name: "HTTPS_PROXY", Says: "a proxy on the way to an https address, like http://HOST:PORT or socks5://HOST:PORT, " +
		"with USER:PASSWORD@ in front of HOST where it wants them. This and the next three may be lower-case as well"},
	{Name: "HTTP_PROXY", Says: "the same for an http address"},
	{Name: "ALL_PROXY", Says: "the same for whichever of the two is not set"},
	{Name: "NO_PROXY", Says: "hosts that are asked without a proxy, separated by commas; loopback addresses always are"},
	{Name: "DATABASE_URL", Secret: true, Says: "postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH"},
	{Name: "BOT_LOCK_DATABASE_URL", Secret: true, Unset: "DATABASE_URL",
		Says: "the direct address of PostgreSQL for the polling lock, where DATABASE_URL is that of a " +
			"connection pooler like PgBouncer"},
	{Name: "BOT_PACE", Default: "true", Says: "keep below what Telegram lets a bot send: 30 messages a second, " +
		"and one a second to a customer. false is for a server that has no such limits, like a simulator"},
	{Name: "BOT_OPS_ADDR", Default: ":9091", Says: "where /healthz, /readyz and /metrics are served; off switches it off"},
	{Name: "BOT_FILE_LIMIT", Default: "20MB",
		Says: "larger files of customers stay at Telegram; up to 2GB with a Bot API server of your own"},
	{Name: "BOT_FILES_DIR",
		Says: "the folder in which a Bot API server with --local keeps files, as the bot sees it; unset: its files " +
			"are refused"},
	{Name: "FILES_MIN_FREE", Default: "1GB",
		Says: "no file of a customer is fetched while less of the disk is free (with SQLite)"},
	{Name: "FILES_MAX", Unset: "no limit", Says: "no file is fetched while files take so much in all"},
	{Name: "POLL_LOCK_FILE", Unset: "$RUN_DIR/bot.lock",
		Says: "one bot at a time polls with a lock on this file; others stand by"},
	{Name: "RUN_DIR", Unset: config.RunDirs,
		Says: "for the lock, and for the last words that init and web read"},
	config.LogLevel,
	config.LogFormat,
	{Name: "POLL_LOCK_FD", By: "init", Says: "the number of the open file on which it holds the lock for the bot"},
	{Name: "NOTIFY_SOCKET", By: "init or systemd", Says: "where the bot says that it is ready, stands by or stops"},
	{Name: "WATCHDOG_USEC", By: "init or systemd", Says: "within how many microseconds it says that it is alive"},
	{Name: "WATCHDOG_PID", By: "systemd", Says: "the process that WATCHDOG_USEC is for"},
}

// help is made when somebody asks for it: a process that serves does without.
func help() string {
	return `bot takes customers' messages from Telegram into the inbox and delivers the answers.

It runs alone or beside web under init. Settings are environment variables; an empty one counts as not set:

` + config.Help(allSettings) + `
Options: -version, -help. SIGTERM, SIGINT and SIGQUIT stop it: what is in hand is finished within a few seconds.

Exit codes:

  0   stopped, as asked
  75  cannot run now: another program polls with the token, a webhook is set, or the lock file was replaced
  78  cannot run as configured: a setting is missing or wrong, or Telegram refuses the token
  64  wrong arguments
  1   any other error
`
}

// settings of the bot. They may be used only if reading them left no problem.
type settings struct {
	token      telegram.Token
	apiURL     string
	proxy      *url.URL // on the way to it, nil for none
	limits     telegram.Limits
	database   string
	lockURL    string // of the database for the polling lock; "" for the same
	opsAddr    string
	files      telegram.FileOptions
	lockFile   string
	runDir     string // "" where nobody named one
	lockFD     int    // -1 when there is none
	log        logging.Settings
	supervisor *sdnotify.Sender // who started the bot; nil when it does not listen
	secrets    []string         // for the logger, known as far as they could be read
}

// maxFD bounds POLL_LOCK_FD: init uses the first number that is free.
const maxFD = 1 << 20

func readSettings(env *config.Env) settings {
	s := settings{log: logging.Read(env), lockFD: -1}
	s.supervisor = sdnotify.New(func(name string) string { return env.String(name, "") })
	s.readToken(env)
	s.apiURL = env.String("TELEGRAM_API_URL", "https://api.telegram.org")
	if rule := badAPIURL(s.apiURL); rule != "" {
		env.RejectSecret("TELEGRAM_API_URL", rule) // people paste the token along with it
	}
	s.readProxy(env)
	s.database = env.Secret("DATABASE_URL")
	s.checkDatabase(env)
	s.readLockURL(env)
	if env.Bool("BOT_PACE", true) {
		s.limits = telegram.TelegramLimits
	}
	s.opsAddr = env.Address("BOT_OPS_ADDR", ":9091", true)
	s.files = telegram.FileOptions{
		Limit:   env.Size("BOT_FILE_LIMIT", telegram.UsualFileLimit, config.KB, 2*config.GB),
		Dir:     env.String("BOT_FILES_DIR", ""),
		MinFree: env.Size("FILES_MIN_FREE", config.GB, 0, 1024*config.TB),
		Max:     env.Size("FILES_MAX", 0, config.MB, 1024*config.TB),
	}
	if s.files.Dir != "" && !filepath.IsAbs(s.files.Dir) {
		env.Reject("BOT_FILES_DIR", "want the path of a folder that begins with /")
	}
	s.lockFile, s.runDir = env.String("POLL_LOCK_FILE", ""), env.String("RUN_DIR", "")
	if s.lockFile == "" {
		dir, err := env.RunDir()
		if err != nil {
			env.Reject("RUN_DIR", err.Error())
		}
		s.lockFile = filepath.Join(dir, status.PollLock)
	}
	if v := env.String("POLL_LOCK_FD", ""); v != "" {
		fd, err := strconv.Atoi(v)
		if err != nil || fd < 3 || fd > maxFD {
			env.Reject("POLL_LOCK_FD", fmt.Sprintf(
				"want the number of an open descriptor, from 3 to %d; init sets it, leave it out", maxFD))
		}
		s.lockFD = fd
	}
	return s
}

// readProxy finds the proxy on the way to the Bot API. One for other addresses may be as wrong as it likes.
func (s *settings) readProxy(env *config.Env) {
	api, err := url.Parse(s.apiURL)
	if err != nil {
		return // which is said already
	}
	for _, name := range []string{strings.ToUpper(api.Scheme) + "_PROXY", "ALL_PROXY"} {
		given, called := "", ""
		for _, called = range []string{name, strings.ToLower(name)} {
			if given = strings.TrimSpace(env.String(called, "")); given != "" {
				break
			}
		}
		if given == "" {
			continue
		}
		proxy, ok := proxyAddress(given)
		if !ok {
			env.RejectSecret(called, "want the address of a proxy, like http://HOST:PORT or socks5://USER:PASSWORD@HOST:PORT, "+
				"with % and two digits for what is neither letter nor digit in the password")
			return
		}
		if password, ok := proxy.User.Password(); ok {
			s.secrets = append(s.secrets, given, password, url.QueryEscape(password), url.PathEscape(password))
		}
		rules := httpproxy.Config{HTTPProxy: given, HTTPSProxy: given,
			NoProxy: env.String("NO_PROXY", env.String("no_proxy", ""))}
		if used, err := rules.ProxyFunc()(api); err == nil && used != nil {
			s.proxy = proxy
		}
		return
	}
}

// proxyAddress reads the address of a proxy, which needs no scheme where that is http.
func proxyAddress(s string) (*url.URL, bool) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	// What comes after the host is most often the rest of a password.
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, false
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return u, true
	}
	return nil, false
}

func (s *settings) readToken(env *config.Env) {
	const from = "get one from @BotFather in Telegram (/newbot, or /mybots for a bot that is there)"
	given := env.Secret("TELEGRAM_BOT_TOKEN")
	if given != "" {
		s.secrets = append(s.secrets, given)
	}
	if given == "" {
		if env.String("TELEGRAM_BOT_TOKEN", "") == "" && env.String("TELEGRAM_BOT_TOKEN_FILE", "") == "" {
			env.RejectSecret("TELEGRAM_BOT_TOKEN", "not set: "+from)
		}
		return
	}
	token, err := telegram.ParseToken(given)
	if err != nil {
		env.RejectSecret("TELEGRAM_BOT_TOKEN", err.Error()+"; "+from)
		return
	}
	s.token = token
	s.secrets = append(s.secrets, token.Secrets()...)
}

func (s *settings) checkDatabase(env *config.Env) {
	if s.database == "" {
		if env.String("DATABASE_URL", "") == "" && env.String("DATABASE_URL_FILE", "") == "" {
			env.RejectSecret("DATABASE_URL", "not set: want postgres://USER:PASSWORD@HOST/DATABASE or sqlite:PATH")
		}
		return
	}
	if err := store.Check(s.database); err != nil {
		rule := err.Error()
		if bad := (*store.BadURL)(nil); errors.As(err, &bad) {
			rule = bad.Rule
		}
		env.RejectSecret("DATABASE_URL", rule)
	}
	s.secrets = append(s.secrets, store.Secrets(s.database)...)
}

// readLockURL reads the address for the polling lock, which only a PostgreSQL behind a pooler needs.
func (s *settings) readLockURL(env *config.Env) {
	if s.lockURL = env.Secret("BOT_LOCK_DATABASE_URL"); s.lockURL == "" {
		return
	}
	s.secrets = append(s.secrets, store.Secrets(s.lockURL)...)
	if store.Check(s.database) != nil { // which is said already
		return
	}
	db := store.Open(s.database, slog.New(slog.DiscardHandler))
	defer db.Close()
	if err := db.LockThrough(s.lockURL); err != nil {
		env.RejectSecret("BOT_LOCK_DATABASE_URL", err.Error())
	}
}

// badAPIURL says what is wrong with the address of a Bot API server. Plain http is what a server of one's own
// speaks (tdlib/telegram-bot-api has no TLS), so it is taken.
func badAPIURL(s string) string {
	const rule = "want the address of a Bot API server, like https://api.telegram.org or http://localhost:8081, " +
		"without the token"
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "/bot") {
		return rule
	}
	return ""
}

// routes are what the operations port serves.
func routes(bot *telegram.Bot, db *store.Store) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(bot.Metrics(), queueMetrics{db},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", ops.Healthz)
	mux.HandleFunc("GET /readyz", ops.Readyz(bot.Ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}
