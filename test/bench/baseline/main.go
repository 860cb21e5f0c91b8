// Baseline is the least that a Go programmer would write for the same job: telebot's own poller and net/http
// in one process, one commit an update, no lock, no outbox, no events. `make bench` measures Tandem beside it.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	tele "gopkg.in/telebot.v3"
	_ "modernc.org/sqlite"
)

type conversation struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
	Text string `json:"text"`
	At   string `json:"at"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	const pragmas = "?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)"
	db, err := sql.Open("sqlite", os.Getenv("BASELINE_DB")+pragmas)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := db.Exec(`
		CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, chat BIGINT, name TEXT, text TEXT, at TEXT);
		CREATE INDEX IF NOT EXISTS messages_chat ON messages (chat, id);
		CREATE TABLE IF NOT EXISTS conversations (chat BIGINT PRIMARY KEY, last BIGINT);
		CREATE INDEX IF NOT EXISTS conversations_last ON conversations (last)`); err != nil {
		log.Fatal(err)
	}

	bot, err := tele.NewBot(tele.Settings{
		URL: os.Getenv("TELEGRAM_API_URL"), Token: os.Getenv("TELEGRAM_BOT_TOKEN"),
		Poller: &tele.LongPoller{Timeout: 50 * time.Second}, Synchronous: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	bot.Handle(tele.OnText, func(c tele.Context) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		m := c.Message()
		result, err := tx.Exec("INSERT INTO messages (chat, name, text, at) VALUES (?, ?, ?, ?)",
			m.Chat.ID, m.Sender.FirstName, m.Text, m.Time().Format(time.RFC3339))
		if err != nil {
			return err
		}
		id, _ := result.LastInsertId()
		if _, err := tx.Exec(`INSERT INTO conversations VALUES (?, ?)
			ON CONFLICT (chat) DO UPDATE SET last = excluded.last`, m.Chat.ID, id); err != nil {
			return err
		}
		return tx.Commit()
	})
	go bot.Start()

	http.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	http.HandleFunc("GET /conversations", func(w http.ResponseWriter, r *http.Request) {
		rows, err := db.QueryContext(r.Context(), `SELECT c.chat, m.name, m.text, m.at FROM conversations c
			JOIN messages m ON m.id = c.last ORDER BY c.last DESC LIMIT 50`)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer rows.Close()
		list := []conversation{}
		for rows.Next() {
			var c conversation
			if err := rows.Scan(&c.ID, &c.Name, &c.Text, &c.At); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			list = append(list, c)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	})
	server := &http.Server{Addr: os.Getenv("BASELINE_ADDR")}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = server.Shutdown(grace)
}
