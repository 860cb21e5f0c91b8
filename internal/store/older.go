package store

import "tandem/internal/inbox"

// turnsOfOlder gives those their turn that waited for a bot which can do what they need. A trigger in the schema keeps
// a turn from what the bot cannot do; see docs/adr/0091.
func (l *ledger) turnsOfOlder(botID int64) error {
	conversations, err := all(l.tx, oneID, `SELECT DISTINCT conversation_id FROM deliveries
		WHERE bot_id = $1 AND needs > 0 AND state = 'queued' ORDER BY conversation_id`, botID)
	if err != nil {
		return err
	}
	if len(conversations) == 0 {
		return nil
	}
	if err := l.giveTurn(conversations...); err != nil {
		return err
	}
	for _, c := range conversations[:min(len(conversations), waitsAtOnce)] {
		// Whether they wait now or not, what they say of it is another.
		if err := l.waitsChanged(`d.conversation_id = $1`, c); err != nil {
			return err
		}
	}
	return nil
}

// askOlder asks which conversations have nothing that is next because their bot cannot do the oldest that is queued.
func askOlder(t tx, heads map[int64]*head, conversations values) error {
	return among(t, `SELECT d.conversation_id, d.message_id, b.retry_at, b.state, b.heartbeat_at
		FROM deliveries d JOIN bots b ON b.id = d.bot_id
		WHERE d.needs > 0 AND d.state = 'queued'
			AND d.needs > CASE WHEN b.knows_epoch = b.epoch THEN b.knows ELSE 0 END
			AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.conversation_id = d.conversation_id AND o.id < d.id
				AND o.state IN ('queued', 'sending'))
			AND d.conversation_id IN `, conversations, func(scan func(...any) error) error {
		h := &head{older: true}
		var conversation int64
		err := scan(&conversation, &h.message, &h.retryAt, &h.state, &h.beat)
		heads[conversation] = h
		return err
	})
}

// waitsForNewer is why an answer waits for another bot: one that is next, or that comes behind such a one.
func waitsForNewer(next bool) *inbox.Waits {
	if next {
		return &inbox.Waits{Reason: inbox.WaitsBotOlder,
			Text: "The bot is older than this page; this is kept until it has been updated"}
	}
	return &inbox.Waits{Reason: inbox.WaitsBehind,
		Text: "An earlier answer has to go first, and waits: the bot is older than this page"}
}
