package store

import "tandem/internal/inbox"

// nameTopic keeps the name of a topic, if that is what the message tells.
func (l *ledger) nameTopic(conversationID int64, m inbox.IncomingMessage) error {
	if m.ThreadID != 0 && !inbox.Blank(m.Content.Topic) {
		return l.nameNewTopic(conversationID, m.ThreadID, inbox.CleanText(m.Content.Topic))
	}
	if m.Kind != "forum_topic_created" && m.Kind != "forum_topic_edited" || inbox.Blank(m.Details) {
		return nil
	}
	thread := m.ThreadID
	if thread == 0 {
		thread = m.MessageID // the line that makes a topic gives it its number
	}
	n, err := l.exec(`UPDATE topics SET name = $1 WHERE conversation_id = $2 AND thread_id = $3`,
		m.Details, conversationID, thread)
	if err == nil && n == 0 {
		err = l.later(`INSERT INTO topics (conversation_id, thread_id, name) VALUES ($1, $2, $3)`,
			conversationID, thread, m.Details)
	}
	return err
}

// nameNewTopic keeps the name of a topic of which nobody has told one. A message says how its topic was called first.
func (l *ledger) nameNewTopic(conversationID, thread int64, name string) error {
	var known int64
	found, err := l.row(to(&known), `SELECT thread_id FROM topics WHERE conversation_id = $1 AND thread_id = $2`,
		conversationID, thread)
	if err != nil || found {
		return err
	}
	return l.later(`INSERT INTO topics (conversation_id, thread_id, name) VALUES ($1, $2, $3)`,
		conversationID, thread, name)
}

// topic is one of a conversation.
type topic struct{ conversation, thread int64 }

// askTopics asks for the names of messages' topics. tell gives them: as a topic was named last, else as another message
// of the list has it.
func askTopics(t tx, list []inbox.Message) (tell func() error, err error) {
	told := map[topic]string{}
	var conversations values
	for i := range list {
		if list[i].ThreadID != 0 {
			conversations.add(list[i].ConversationID)
		}
	}
	err = among(t, `SELECT conversation_id, thread_id, name FROM topics WHERE conversation_id IN `, conversations,
		func(scan func(...any) error) error {
			var of topic
			var name string
			err := scan(&of.conversation, &of.thread, &name)
			told[of] = name
			return err
		})
	return func() error {
		names := map[topic]string{}
		for _, m := range list {
			if m.ThreadID != 0 && m.Topic != "" {
				names[topic{m.ConversationID, m.ThreadID}] = m.Topic
			}
		}
		for i := range list {
			m := &list[i]
			of := topic{m.ConversationID, m.ThreadID}
			switch {
			case m.ThreadID == 0:
			case told[of] != "":
				m.Topic = told[of]
			case m.Topic == "":
				m.Topic = names[of]
			}
		}
		return nil
	}, err
}
