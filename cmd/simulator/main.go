// Command simulator runs a local Telegram: the Bot API of package simulator with its control API, and a page
// on which one plays the customers. `make demo` starts it; it is for one's own machine and for test networks.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/internal/buildinfo"
	"tandem/internal/exitcode"
	"tandem/internal/simulator"
)

const help = `simulator is a local Telegram: a Bot API server, and a page to play the customers on.

  simulator [-addr 127.0.0.1:8081] [-state FILE] [-token TOKEN]...

Set TELEGRAM_API_URL of the bot to the address it prints, and TELEGRAM_BOT_TOKEN to one of the tokens. The control
API under /control/ injects messages, makes calls fail and tells what was sent. SIGTERM and SIGINT end it.

Options:
`

const defaultToken = "123456789:AAF0simulated-token-for-make-demo-00"

// firstCustomer is the chat of the first customer, as on the page.
const firstCustomer = 1001

//go:embed page
var pageFiles embed.FS

type tokenList []string

func (l *tokenList) String() string     { return "" } // no token in a help text
func (l *tokenList) Set(v string) error { *l = append(*l, v); return nil }

type settings struct {
	addr              string
	state             string
	tokens            tokenList
	customers         []string
	expose            bool
	chatRate, botRate float64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(exitcode.Of(err))
	}
}

func readFlags(args []string, stdout, stderr io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&s.addr, "addr", "127.0.0.1:8081", "where to listen; the next free `port` when this one is taken")
	flags.StringVar(&s.state, "state", "", "a `file` that keeps chats, ids and pending updates")
	flags.Var(&s.tokens, "token", "a valid `token`; may be given several times; one is made up when there is none")
	flags.Func("customer", "the `name` of a customer who is there from the start; may be given several times",
		func(name string) error {
			s.customers = append(s.customers, name)
			return nil
		})
	flags.BoolVar(&s.expose, "expose", false,
		"listen on other addresses than loopback: anybody there can play the customer")
	flags.Float64Var(&s.chatRate, "chat-rate", 0, "messages a second that one chat takes before 429; 0 is no limit")
	flags.Float64Var(&s.botRate, "bot-rate", 0, "messages a second that a bot may send before 429; 0 is no limit")
	version := flags.Bool("version", false, "print the version")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return s, err
	case *version:
		fmt.Fprintln(stdout, "simulator", buildinfo.String())
		return s, flag.ErrHelp
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		return s, exitcode.With(exitcode.Usage, fmt.Errorf("%w; see simulator -help", err))
	}
	if len(s.tokens) == 0 {
		s.tokens = tokenList{defaultToken}
	}
	return s, nil
}

// run serves until ctx ends. It prints one line to stdout when it is ready.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := readFlags(args, stdout, stderr)
	if err != nil {
		return err
	}
	for _, token := range s.tokens {
		if err := simulator.CheckToken(token); err != nil {
			return exitcode.With(exitcode.Usage, fmt.Errorf("-token: %w", err))
		}
	}
	listener, err := listen(s.addr, s.expose)
	if err != nil {
		return err
	}
	defer listener.Close()
	logger := log.New(stderr, "simulator: ", 0)
	telegram, err := simulator.New(simulator.Options{
		StateFile: s.state, ChatRate: s.chatRate, BotRate: s.botRate,
		OnStateError: func(err error) { logger.Print(err) },
	})
	if err != nil {
		return exitcode.With(exitcode.Config, err)
	}
	for _, token := range s.tokens {
		telegram.AddBot(token)
	}
	if bots := telegram.State().Bots; len(bots[0].Chats) == 0 {
		for i, name := range s.customers {
			if err := telegram.Put(simulator.Customer{ChatID: firstCustomer + int64(i), FirstName: name}); err != nil {
				return err
			}
		}
	}
	server := &http.Server{
		Handler: handler(telegram), ErrorLog: logger,
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "simulator ready: http://%s/\n", listener.Addr())

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	err = errors.Join(err, telegram.Close()) // ends what waits, so that the shutdown does not
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close() // whoever is still there has had his second
	}
	return err
}

// triedPorts is how many ports are tried from the one that was asked for.
const triedPorts = 50

// listen takes the address, or the next free port. Only a loopback address will do unless expose says otherwise.
func listen(addr string, expose bool) (net.Listener, error) {
	host, service, err := net.SplitHostPort(addr)
	port, perr := strconv.Atoi(service)
	if err != nil || perr != nil || port < 0 || port > 65535 {
		return nil, exitcode.With(exitcode.Usage, fmt.Errorf("-addr %q: want host:port, like 127.0.0.1:8081", addr))
	}
	if ip := net.ParseIP(host); !expose && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, exitcode.With(exitcode.Usage,
			fmt.Errorf("-addr %q is not a loopback address: "+
				"add -expose if everybody who can reach it may play the customer", addr))
	}
	for last := min(port+triedPorts, 65535); ; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || port >= last {
			return l, err
		}
	}
}

// handler serves the page, and everything else from the simulator.
func handler(telegram *simulator.Server) http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	page := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := strings.TrimPrefix(r.URL.Path, "/"); name != "" && !isPage(files, name) {
			telegram.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "+
			"img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-cache")
		page.ServeHTTP(w, r)
	})
}

func isPage(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}
