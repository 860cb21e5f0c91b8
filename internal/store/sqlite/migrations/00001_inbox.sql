-- The inbox. The same in both dialects but for identity columns and the type of bytes; see docs/adr/0011.
-- Times are Unix microseconds. Ids of messages and numbers of events come from counters, in commit order.

-- +goose Up

CREATE TABLE counters (
    id           BIGINT PRIMARY KEY CHECK (id = 1),
    last_event   BIGINT NOT NULL,
    last_message BIGINT NOT NULL,
    pruned_event BIGINT NOT NULL, -- events up to here are gone
    probe        BIGINT NOT NULL  -- written to learn whether writing is possible
);
INSERT INTO counters (id, last_event, last_message, pruned_event, probe) VALUES (1, 0, 0, 0, 0);

CREATE TABLE bots (
    id           BIGINT PRIMARY KEY, -- the number in the token
    username     TEXT NOT NULL,
    name         TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    signed_off   BOOLEAN NOT NULL,
    next_offset  BIGINT NOT NULL,
    state        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    instance     TEXT NOT NULL,
    since        BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL
);

CREATE TABLE conversations (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    bot_id            BIGINT NOT NULL REFERENCES bots (id),
    chat_id           BIGINT NOT NULL,
    customer_id       BIGINT NOT NULL,
    customer_name     TEXT NOT NULL,
    customer_username TEXT NOT NULL,
    customer_language TEXT NOT NULL,
    search            TEXT NOT NULL, -- name and username, folded
    status            TEXT NOT NULL CHECK (status IN ('open', 'closed')),
    blocked           BOOLEAN NOT NULL,
    last_message_id   BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL,
    UNIQUE (bot_id, chat_id)
);
CREATE INDEX conversations_newest ON conversations (last_message_id);
CREATE INDEX conversations_by_status ON conversations (status, last_message_id);

CREATE TABLE messages (
    id                  BIGINT PRIMARY KEY,
    bot_id              BIGINT NOT NULL REFERENCES bots (id),
    conversation_id     BIGINT NOT NULL REFERENCES conversations (id),
    direction           TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    kind                TEXT NOT NULL,
    text                TEXT NOT NULL,
    search              TEXT NOT NULL, -- text, folded
    author_kind         TEXT NOT NULL,
    author_id           TEXT NOT NULL,
    author_name         TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    telegram_date       BIGINT,
    telegram_message_id BIGINT, -- of incoming ones; those of answers are in deliveries
    edited_at           BIGINT,
    edit_seen           BIGINT NOT NULL, -- date of the newest edit seen, also of one that changed nothing shown
    reply_to            BIGINT REFERENCES messages (id),
    thread_id           BIGINT NOT NULL,
    album_id            TEXT NOT NULL,
    delivery            TEXT NOT NULL, -- of the worst part; '' for incoming
    error               TEXT NOT NULL
);
CREATE INDEX messages_of_conversation ON messages (conversation_id, id);
CREATE UNIQUE INDEX messages_from_telegram ON messages (conversation_id, telegram_message_id)
    WHERE telegram_message_id IS NOT NULL;
CREATE INDEX messages_replied ON messages (reply_to) WHERE reply_to IS NOT NULL;

CREATE TABLE attachments (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    bot_id         BIGINT NOT NULL REFERENCES bots (id),
    message_id     BIGINT NOT NULL REFERENCES messages (id),
    kind           TEXT NOT NULL,
    name           TEXT NOT NULL,
    media_type     TEXT NOT NULL,
    size           BIGINT NOT NULL,
    file_id        TEXT NOT NULL,
    file_unique_id TEXT NOT NULL
);
CREATE INDEX attachments_of_message ON attachments (message_id);

-- What Telegram sent, as it sent it, and what it led to.
CREATE TABLE updates (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    bot_id          BIGINT NOT NULL REFERENCES bots (id),
    update_id       BIGINT NOT NULL,
    superseded      BOOLEAN NOT NULL, -- Telegram has used the id again for another update
    kind            TEXT NOT NULL,
    raw             BLOB NOT NULL,
    problem         TEXT NOT NULL,
    conversation_id BIGINT REFERENCES conversations (id),
    message_id      BIGINT REFERENCES messages (id),
    received_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX updates_current ON updates (bot_id, update_id) WHERE NOT superseded;
CREATE INDEX updates_of_conversation ON updates (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX updates_of_message ON updates (message_id) WHERE message_id IS NOT NULL;

-- One row for each thing that Telegram is to be asked to do with an answer, in the order of ids per conversation.
-- turn marks the one row of a conversation that is being sent or is next.
CREATE TABLE deliveries (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    bot_id              BIGINT NOT NULL REFERENCES bots (id),
    conversation_id     BIGINT NOT NULL REFERENCES conversations (id),
    message_id          BIGINT NOT NULL REFERENCES messages (id),
    operation           TEXT NOT NULL CHECK (operation IN ('send', 'edit', 'delete')),
    part                BIGINT NOT NULL,
    text                TEXT NOT NULL,
    state               TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'unknown')),
    turn                BOOLEAN NOT NULL,
    attempt             BIGINT NOT NULL,
    not_before          BIGINT NOT NULL,
    epoch               BIGINT NOT NULL, -- of the tenure that claimed it last
    telegram_message_id BIGINT,
    error               TEXT NOT NULL,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL
);
CREATE UNIQUE INDEX deliveries_of_message ON deliveries (message_id, operation, part) WHERE operation = 'send';
CREATE INDEX deliveries_all_of_message ON deliveries (message_id, part);
CREATE INDEX deliveries_of_conversation ON deliveries (conversation_id, id);
CREATE INDEX deliveries_open ON deliveries (conversation_id, state, id) WHERE state IN ('queued', 'sending');
CREATE UNIQUE INDEX deliveries_one_turn ON deliveries (conversation_id) WHERE turn;
CREATE INDEX deliveries_turn ON deliveries (bot_id, not_before, id) WHERE turn AND state = 'queued';
CREATE INDEX deliveries_sending ON deliveries (bot_id, id) WHERE state = 'sending';
CREATE INDEX deliveries_unsent ON deliveries (state, created_at) WHERE state <> 'sent';
CREATE INDEX deliveries_at_telegram ON deliveries (conversation_id, telegram_message_id)
    WHERE telegram_message_id IS NOT NULL;

-- Ids only, never text: erasing a customer erases him.
CREATE TABLE events (
    seq             BIGINT PRIMARY KEY,
    type            TEXT NOT NULL,
    bot_id          BIGINT NOT NULL,
    conversation_id BIGINT NOT NULL,
    message_id      BIGINT NOT NULL,
    at              BIGINT NOT NULL
);

CREATE TABLE idempotency_keys (
    author_kind  TEXT NOT NULL,
    author_id    TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    message_id   BIGINT NOT NULL REFERENCES messages (id),
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (author_kind, author_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_of_message ON idempotency_keys (message_id);

CREATE TABLE operators (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE signin_links (
    hash        BLOB PRIMARY KEY,
    operator_id BIGINT NOT NULL REFERENCES operators (id),
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);
CREATE INDEX signin_links_of_operator ON signin_links (operator_id);
CREATE INDEX signin_links_expiry ON signin_links (expires_at);

CREATE TABLE sessions (
    key        TEXT PRIMARY KEY,
    data       BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    hash       BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);
