package test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/inbox"
	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/status"
	"tandem/internal/testenv"
)

// sendsInFlight is how many deliveries the bot has at Telegram at the same time, at most.
const sendsInFlight = 8

// TestKillsLoseNothing kills the bot, web (with it init, which the test starts again as Docker would) and the
// database at random while messages go both ways. TANDEM_SEED repeats a run's choices.
func TestKillsLoseNothing(t *testing.T) {
	kills, perChat := 100, 100
	if testing.Short() {
		kills, perChat = 10, 20
	}
	seed := testenv.Seed(t)
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		chaos(t, newRig(t, "sqlite"), nil, kills, perChat, seed)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg := pgtest.Server(t, "fsync=on")
		chaos(t, newRig(t, pg.URL()), pg, kills, perChat, seed)
	})
}

func chaos(t *testing.T, r *rig, pg *pgtest.Instance, kills, perChat int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	const chats = 10
	r.start().waitWeb().waitPolling()
	var conversations [chats]inbox.Conversation
	for i := range conversations {
		r.tg.Customer(chatID(i), "in 0")
		conversations[i] = r.conversation(chatID(i))
	}

	// The customers and the operators write, whatever happens.
	done := make(chan struct{})
	var writers sync.WaitGroup
	for i, c := range conversations {
		writers.Go(func() {
			pace := rand.New(rand.NewPCG(seed, uint64(i)))
			for n := 1; n < perChat; n++ {
				time.Sleep(time.Duration(pace.IntN(kills*40)) * time.Millisecond / time.Duration(perChat/10)) // spreads the load
				if _, err := r.tg.CustomerWrites(chatID(i), fmt.Sprintf("in %d", n)); err != nil {
					t.Errorf("customer %d: %v", i, err)
					return
				}
				if !r.answerUntilTaken(c.ID, fmt.Sprintf("out %d", n), fmt.Sprintf("%d-%d", i, n)) {
					return
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()

	targets := 2
	if pg != nil {
		targets = 3
	}
	killed := map[string]int{}
	for n := range kills {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		switch random.IntN(targets) {
		case 0:
			killed["bot"]++
			if p, ok := r.Find(r.process("bot").PID); ok && p.NSPID > 1 {
				kill(t, p.PID, syscall.SIGKILL)
			}
		case 1:
			killed["web"]++
			proctest.Eventually(t, soon, "web runs", func() bool { return r.process("web").State == status.Running })
			if p, ok := r.Find(r.process("web").PID); ok {
				kill(t, p.PID, syscall.SIGKILL)
			}
			if end := r.Wait(soon); end.Code != 137 {
				t.Errorf("kill %d: init ended with %d after web was killed, want 137", n, end.Code)
			}
			r.start()
		case 2:
			killed["database"]++
			pg.Kill()
			pg.Start()
		}
	}
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatal("the writers do not come to an end")
	}
	r.waitWeb().waitPolling()
	t.Logf("killed: %v", killed)

	// Let what is queued go out.
	proctest.Eventually(t, 2*time.Minute, "nothing is queued or being sent any more", func() bool {
		return r.allDelivered(conversations[:])
	})
	unknown := 0
	for i, c := range conversations {
		unknown += checkChat(t, r, i, c, perChat, true)
	}
	if limit := kills * sendsInFlight; unknown > limit {
		t.Errorf("%d answers are unknown, want at most %d", unknown, limit)
	}
	t.Logf("unknown: %d of %d answers", unknown, chats*(perChat-1))
	for _, d := range r.tg.Duplicates() {
		t.Errorf("sent twice by itself: %+v", d)
	}
	neverTwo(t, r.tg)

	// An unknown one can be sent again by a person.
	for _, c := range conversations {
		for _, m := range r.messages(c.ID) {
			if m.Delivery == inbox.Unknown {
				if code, body := r.api("POST", fmt.Sprintf("/messages/%d/retry", m.ID), nil, nil); code != 202 {
					t.Fatalf("retry: %d %s", code, body)
				}
				r.waitDelivery(m, inbox.Sent)
			}
		}
	}
	r.stop()
}

func chatID(i int) int64 { return int64(1000 + i) }

// answerUntilTaken repeats an answer under one idempotency key until web has said that it has it.
func (r *rig) answerUntilTaken(conversationID int64, text, key string) bool {
	return answerAt(r.t, func() *rig { return r }, conversationID, text, key)
}

// answerAt is the same at the web that is named for each try.
func answerAt(t *testing.T, web func() *rig, conversationID int64, text, key string) (taken bool) {
	const patience = 4 * time.Minute
	refused := false
	if !proctest.Within(patience, func() bool {
		code, body, err := web().tryAPI("POST", fmt.Sprintf("/conversations/%d/messages", conversationID),
			map[string]string{"text": text}, nil, "Idempotency-Key", key)
		taken, refused = err == nil && code == 202, err == nil && code != 202 && code != 503
		if refused {
			t.Errorf("answering %q: %d %s", text, code, body)
		}
		return taken || refused
	}) {
		t.Errorf("%q was not taken within %s", text, patience)
	}
	return taken
}

// checkChat sees every message of one customer once and in order, and every answer once or unknown. It returns how many
// are unknown. Those may be out of order where unknownInOrder is false: what a host had given to its kernel before it
// was cut off may arrive after the next host's answers.
func checkChat(t *testing.T, r *rig, i int, c inbox.Conversation, perChat int, unknownInOrder bool) (unknown int) {
	t.Helper()
	var in []string
	for n := range perChat {
		in = append(in, fmt.Sprintf("in %d", n))
	}
	if got := r.texts(c.ID, inbox.In); strings.Join(got, "|") != strings.Join(in, "|") {
		t.Errorf("chat %d: the inbox has\n%v", i, got)
	}
	var accepted []string
	arrived, anyOrder := map[string]bool{}, map[string]bool{}
	for _, s := range r.tg.Sent() {
		if s.ChatID == chatID(i) {
			accepted = append(accepted, s.Text)
			arrived[s.Text] = true
		}
	}
	var inOrder []string
	answers := 0
	for _, m := range r.messages(c.ID) {
		if m.Direction != inbox.Out {
			continue
		}
		answers++
		switch m.Delivery {
		case inbox.Sent:
			if !arrived[m.Text] {
				t.Errorf("chat %d: %q is said to be sent and did not arrive", i, m.Text)
			}
		case inbox.Unknown:
			unknown++
			anyOrder[m.Text] = !unknownInOrder
		default:
			t.Errorf("chat %d: %q is %s (%s)", i, m.Text, m.Delivery, m.Error)
		}
		if arrived[m.Text] && !anyOrder[m.Text] {
			inOrder = append(inOrder, m.Text)
		}
	}
	if answers != perChat-1 {
		t.Errorf("chat %d: %d answers are stored, want %d", i, answers, perChat-1)
	}
	accepted = slices.DeleteFunc(accepted, func(text string) bool { return anyOrder[text] })
	if strings.Join(accepted, "|") != strings.Join(inOrder, "|") {
		t.Errorf("chat %d: the customer got\n%v\nthe inbox has\n%v", i, accepted, inOrder)
	}
	return unknown
}
