-- The index of words (docs/adr/0095), by the ids of messages and of conversations. The triggers note what is new or has
-- changed, also for programs that know no index. Whoever knows it reads words_todo and brings the index up to date. Ids
-- from messages_from and names_from on are in the index or noted; those below are yet to be read. FTS5 keeps the pieces
-- that the program has cut, and no text.

-- +goose Up

CREATE VIRTUAL TABLE message_words USING fts5(pieces, content='', contentless_delete=1, tokenize='ascii');
CREATE VIRTUAL TABLE name_words USING fts5(pieces, content='', contentless_delete=1, tokenize='ascii');

CREATE TABLE words_todo (
    n               INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id      BIGINT NOT NULL, -- 0 for names
    conversation_id BIGINT NOT NULL  -- 0 for a message
);

CREATE TABLE words_state (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    messages_from BIGINT NOT NULL,
    names_from    BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE TRIGGER messages_words_new AFTER INSERT ON messages BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER messages_words_changed AFTER UPDATE OF kind, text, details, edit_seen, content, content_of, forward_name
ON messages BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER messages_words_gone AFTER DELETE ON messages BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (OLD.id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attachments_words_new AFTER INSERT ON attachments WHEN NEW.name <> '' BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.message_id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attachments_words_changed AFTER UPDATE OF name, message_id ON attachments BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.message_id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attachments_words_gone AFTER DELETE ON attachments WHEN OLD.name <> '' BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (OLD.message_id, 0);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER conversations_words_new AFTER INSERT ON conversations BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (0, NEW.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER conversations_words_changed
AFTER UPDATE OF customer_id, customer_name, customer_username, former_names ON conversations BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (0, NEW.id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER conversations_words_gone AFTER DELETE ON conversations BEGIN
    INSERT INTO words_todo (message_id, conversation_id) VALUES (0, OLD.id);
END;
-- +goose StatementEnd

-- Where an insert has a trigger, SQLite looks for rows that already refer to the new one.
CREATE INDEX files_of_conversation ON files (conversation_id);

INSERT INTO words_state (id, messages_from, names_from)
    SELECT 1, COALESCE((SELECT MAX(id) FROM messages), 0) + 1, COALESCE((SELECT MAX(id) FROM conversations), 0) + 1;
