package simulator

// State is what the server holds, for people and for the page. It has no token in it.
type State struct {
	Bots   []BotState   `json:"bots"`
	Faults []FaultState `json:"faults"`
}

// BotState is one bot with its chats.
type BotState struct {
	Bot
	Polls    PollStats   `json:"polls"`
	Webhook  string      `json:"webhook,omitempty"`
	Allowed  []string    `json:"allowed_updates"` // null is Telegram's default
	Chats    []ChatState `json:"chats"`
	LastPoll int64       `json:"last_poll"` // Unix seconds, 0 for never
}

// ChatState is one chat and its last message.
type ChatState struct {
	Chat
	LanguageCode string   `json:"language_code,omitempty"`
	Blocked      bool     `json:"blocked"`
	Deactivated  bool     `json:"deactivated"`
	NotStarted   bool     `json:"not_started"`
	Typing       bool     `json:"typing"` // the bot shows that it types
	NextMessage  int64    `json:"next_message"`
	Last         *Message `json:"last,omitempty"`
}

// State is a snapshot of all bots, chats and faults.
func (s *Server) State() State {
	out := State{Bots: []BotState{}, Faults: s.Faults()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bots {
		bs := BotState{Bot: Bot{ID: b.ID, Username: b.Username}, Polls: b.pollStats(), Webhook: b.Webhook,
			Allowed: b.Allowed, Chats: []ChatState{}}
		if !b.lastPoll.IsZero() {
			bs.LastPoll = b.lastPoll.Unix()
		}
		for _, ch := range b.Chats {
			cs := ChatState{Chat: ch.Chat, LanguageCode: ch.LanguageCode, Blocked: ch.Blocked,
				Deactivated: ch.Deactivated, NotStarted: ch.NotStarted, Typing: s.now().Before(ch.typingUntil),
				NextMessage: ch.NextMessage}
			if n := len(ch.Messages); n > 0 {
				last := *ch.Messages[n-1]
				cs.Last = &last
			}
			bs.Chats = append(bs.Chats, cs)
		}
		out.Bots = append(out.Bots, bs)
	}
	return out
}
