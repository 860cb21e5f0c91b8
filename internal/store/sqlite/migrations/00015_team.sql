-- A team's day: whose turn a conversation is, who has read what, what was said among us (docs/adr/0098, 0099). Programs
-- that know none of it go on writing beside those that do. So triggers keep what follows from messages: who waits, what
-- a message wakes, and how many conversations each view has.

-- +goose Up

ALTER TABLE conversations ADD COLUMN assignee_id BIGINT NOT NULL DEFAULT 0;   -- of an operator, 0 for nobody
ALTER TABLE conversations ADD COLUMN tags TEXT NOT NULL DEFAULT '';           -- as a JSON list
ALTER TABLE conversations ADD COLUMN snoozed_until BIGINT NOT NULL DEFAULT 0; -- 0 for not snoozed
ALTER TABLE conversations ADD COLUMN woken_at BIGINT NOT NULL DEFAULT 0;      -- until it is answered
ALTER TABLE conversations ADD COLUMN waiting_from BIGINT NOT NULL DEFAULT 0;  -- the oldest message without answer
ALTER TABLE conversations ADD COLUMN waiting_since BIGINT NOT NULL DEFAULT 0; -- its created_at
ALTER TABLE conversations ADD COLUMN banned BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE conversations ADD COLUMN came_from TEXT NOT NULL DEFAULT '';      -- payload of the first /start with one
ALTER TABLE events ADD COLUMN note_id BIGINT NOT NULL DEFAULT 0;

-- An operator has read what was there when he was added, but for what waits for an answer.
ALTER TABLE operators ADD COLUMN seen_from BIGINT NOT NULL DEFAULT 0;
UPDATE operators SET seen_from = (SELECT last_message FROM counters WHERE id = 1);

CREATE TABLE reads (
    operator_id     BIGINT NOT NULL,
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    message_id      BIGINT NOT NULL, -- up to this one
    PRIMARY KEY (operator_id, conversation_id)
);
CREATE INDEX reads_of_conversation ON reads (conversation_id);

CREATE TABLE tags (
    folded TEXT PRIMARY KEY,
    name   TEXT NOT NULL
);
CREATE TABLE conversation_tags (
    folded          TEXT NOT NULL REFERENCES tags (folded),
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    PRIMARY KEY (folded, conversation_id)
);
CREATE INDEX conversation_tags_of_conversation ON conversation_tags (conversation_id);

-- What operators say to each other. Nothing here is ever sent. after_message is the newest message of all when it was
-- written, which is its place in the thread.
CREATE TABLE notes (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    after_message   BIGINT NOT NULL,
    text            TEXT NOT NULL,
    author_kind     TEXT NOT NULL,
    author_id       TEXT NOT NULL,
    author_name     TEXT NOT NULL,
    mentions        TEXT NOT NULL, -- as a JSON list
    created_at      BIGINT NOT NULL
);
CREATE INDEX notes_of_conversation ON notes (conversation_id, id);
CREATE TABLE note_mentions (
    operator_id BIGINT NOT NULL,
    note_id     BIGINT NOT NULL REFERENCES notes (id),
    PRIMARY KEY (operator_id, note_id)
);
CREATE INDEX note_mentions_of_note ON note_mentions (note_id);

-- What was done with a conversation, and by whom.
CREATE TABLE activities (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    after_message   BIGINT NOT NULL,
    kind            TEXT NOT NULL,
    detail          TEXT NOT NULL,
    author_kind     TEXT NOT NULL,
    author_id       TEXT NOT NULL,
    author_name     TEXT NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE INDEX activities_of_conversation ON activities (conversation_id, id);

-- Who waits already.
UPDATE conversations SET waiting_from = (SELECT m.id FROM messages m
    WHERE m.conversation_id = conversations.id AND m.direction = 'in' AND m.kind <> 'callback_query'
        AND m.id > COALESCE((SELECT o.id FROM messages o
            WHERE o.conversation_id = conversations.id AND o.direction = 'out' AND o.author_kind <> 'bot'
                AND o.deleted_at = 0
            ORDER BY o.id DESC LIMIT 1), 0)
    ORDER BY m.id LIMIT 1)
WHERE status = 'open' AND EXISTS (SELECT 1 FROM messages m WHERE m.id = conversations.last_message_id
        AND (m.direction = 'in' OR m.author_kind = 'bot'))
    AND EXISTS (SELECT 1 FROM messages m
        WHERE m.conversation_id = conversations.id AND m.direction = 'in' AND m.kind <> 'callback_query'
            AND m.id > COALESCE((SELECT o.id FROM messages o
                WHERE o.conversation_id = conversations.id AND o.direction = 'out' AND o.author_kind <> 'bot'
                    AND o.deleted_at = 0
                ORDER BY o.id DESC LIMIT 1), 0));
UPDATE conversations SET waiting_since = (SELECT m.created_at FROM messages m WHERE m.id = conversations.waiting_from)
WHERE waiting_from > 0;

CREATE INDEX conversations_of_assignee ON conversations
    (assignee_id, status, (CASE WHEN moved > last_message_id THEN moved ELSE last_message_id END));
CREATE INDEX conversations_waiting ON conversations (status, waiting_from) WHERE waiting_from > 0;
CREATE INDEX conversations_snoozed ON conversations (snoozed_until) WHERE snoozed_until > 0;

-- How many conversations are in each place, by whose they are. Each is in one place.
CREATE TABLE tallies (
    assignee_id BIGINT NOT NULL,
    place       TEXT NOT NULL,
    n           BIGINT NOT NULL,
    PRIMARY KEY (assignee_id, place)
);
INSERT INTO tallies (assignee_id, place, n)
    SELECT 0, CASE WHEN last_message_id = 0 THEN '' WHEN banned THEN 'banned' WHEN status = 'closed' THEN 'closed'
        WHEN snoozed_until > 0 THEN 'snoozed' WHEN waiting_from > 0 THEN 'waiting' ELSE 'open' END, COUNT(*)
    FROM conversations GROUP BY 2;

-- +goose StatementBegin
CREATE TRIGGER conversation_moves AFTER UPDATE OF last_message_id ON conversations
WHEN NEW.last_message_id > OLD.last_message_id
BEGIN
    UPDATE conversations SET waiting_from = NEW.last_message_id,
        waiting_since = (SELECT created_at FROM messages WHERE id = NEW.last_message_id)
    WHERE id = NEW.id AND waiting_from = 0
        AND EXISTS (SELECT 1 FROM messages WHERE id = NEW.last_message_id AND direction = 'in');
    UPDATE conversations SET snoozed_until = 0,
        woken_at = (SELECT created_at FROM messages WHERE id = NEW.last_message_id)
    WHERE id = NEW.id AND snoozed_until > 0
        AND EXISTS (SELECT 1 FROM messages WHERE id = NEW.last_message_id AND direction = 'in');
    UPDATE conversations SET came_from = (SELECT TRIM(SUBSTR(text, 8, 64)) FROM messages WHERE id = NEW.last_message_id)
    WHERE id = NEW.id AND came_from = '' AND EXISTS (SELECT 1 FROM messages
        WHERE id = NEW.last_message_id AND direction = 'in' AND text LIKE '/start %');
    UPDATE conversations SET waiting_from = 0, waiting_since = 0, woken_at = 0
    WHERE id = NEW.id AND (waiting_from > 0 OR woken_at > 0) AND EXISTS (SELECT 1 FROM messages
        WHERE id = NEW.last_message_id AND direction = 'out' AND author_kind <> 'bot');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER conversation_closes AFTER UPDATE OF status ON conversations
WHEN NEW.status = 'closed' AND OLD.status <> 'closed'
BEGIN
    UPDATE conversations SET waiting_from = 0, waiting_since = 0, snoozed_until = 0, woken_at = 0
    WHERE id = NEW.id AND (waiting_from > 0 OR snoozed_until > 0 OR woken_at > 0);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER conversation_comes AFTER INSERT ON conversations
BEGIN
    INSERT INTO tallies (assignee_id, place, n) VALUES (NEW.assignee_id,
        CASE WHEN NEW.last_message_id = 0 THEN '' WHEN NEW.banned THEN 'banned' WHEN NEW.status = 'closed' THEN 'closed'
        WHEN NEW.snoozed_until > 0 THEN 'snoozed' WHEN NEW.waiting_from > 0 THEN 'waiting' ELSE 'open' END, 1)
        ON CONFLICT (assignee_id, place) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER conversation_goes AFTER DELETE ON conversations
BEGIN
    UPDATE tallies SET n = n - 1 WHERE assignee_id = OLD.assignee_id AND place =
        CASE WHEN OLD.last_message_id = 0 THEN '' WHEN OLD.banned THEN 'banned' WHEN OLD.status = 'closed' THEN 'closed'
        WHEN OLD.snoozed_until > 0 THEN 'snoozed' WHEN OLD.waiting_from > 0 THEN 'waiting' ELSE 'open' END;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER conversation_changes_place
AFTER UPDATE OF assignee_id, last_message_id, banned, status, snoozed_until, waiting_from ON conversations
WHEN OLD.assignee_id <> NEW.assignee_id OR
        CASE WHEN OLD.last_message_id = 0 THEN '' WHEN OLD.banned THEN 'banned' WHEN OLD.status = 'closed' THEN 'closed'
        WHEN OLD.snoozed_until > 0 THEN 'snoozed' WHEN OLD.waiting_from > 0 THEN 'waiting' ELSE 'open' END
        <> CASE WHEN NEW.last_message_id = 0 THEN '' WHEN NEW.banned THEN 'banned'
        WHEN NEW.status = 'closed' THEN 'closed' WHEN NEW.snoozed_until > 0 THEN 'snoozed'
        WHEN NEW.waiting_from > 0 THEN 'waiting' ELSE 'open' END
BEGIN
    UPDATE tallies SET n = n - 1 WHERE assignee_id = OLD.assignee_id AND place =
        CASE WHEN OLD.last_message_id = 0 THEN '' WHEN OLD.banned THEN 'banned' WHEN OLD.status = 'closed' THEN 'closed'
        WHEN OLD.snoozed_until > 0 THEN 'snoozed' WHEN OLD.waiting_from > 0 THEN 'waiting' ELSE 'open' END;
    INSERT INTO tallies (assignee_id, place, n) VALUES (NEW.assignee_id,
        CASE WHEN NEW.last_message_id = 0 THEN '' WHEN NEW.banned THEN 'banned' WHEN NEW.status = 'closed' THEN 'closed'
        WHEN NEW.snoozed_until > 0 THEN 'snoozed' WHEN NEW.waiting_from > 0 THEN 'waiting' ELSE 'open' END, 1)
        ON CONFLICT (assignee_id, place) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER operator_comes AFTER INSERT ON operators
BEGIN
    UPDATE operators SET seen_from = (SELECT last_message FROM counters WHERE id = 1) WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER operator_goes AFTER DELETE ON operators
BEGIN
    UPDATE conversations SET assignee_id = 0, updated_at = updated_at + 1 WHERE assignee_id = OLD.id;
    DELETE FROM reads WHERE operator_id = OLD.id;
    DELETE FROM note_mentions WHERE operator_id = OLD.id;
END;
-- +goose StatementEnd
