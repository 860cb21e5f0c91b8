package store

import (
	"fmt"
	"strings"

	"tandem/internal/inbox"
)

// nameTopic keeps the name of a topic, if that is what the message tells.
func (l *ledger) nameTopic(conversationID int64, m inbox.IncomingMessage) error {
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

// topic is one of a conversation.
type topic struct{ conversation, thread int64 }

// addTopics gives messages the names of their topics: as it was told last, else as another message of the list has it.
func addTopics(t tx, list []inbox.Message) error {
	told, names := map[topic]string{}, map[topic]string{}
	var ids []any
	var marks []string
	asked := map[int64]bool{}
	for i := range list {
		m := &list[i]
		if m.ThreadID == 0 {
			continue
		}
		if m.Topic != "" {
			names[topic{m.ConversationID, m.ThreadID}] = m.Topic
		}
		if !asked[m.ConversationID] {
			asked[m.ConversationID] = true
			ids = append(ids, m.ConversationID)
			marks = append(marks, fmt.Sprintf("$%d", len(ids)))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := all(t, func(scan func(...any) error) (struct{}, error) {
		var of topic
		var name string
		err := scan(&of.conversation, &of.thread, &name)
		told[of] = name
		return struct{}{}, err
	}, `SELECT conversation_id, thread_id, name FROM topics WHERE conversation_id IN `+
		`(`+strings.Join(marks, ", ")+`)`, ids...)
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
	return err
}
