-- Answers that are kept to be used again: an operator's own, and those that all share. And answers that are to be sent
-- later: they have no deliveries until they are due, so an older bot cannot send them early.

-- +goose Up

CREATE TABLE canned (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL,
    folder   TEXT NOT NULL,
    text     TEXT NOT NULL,
    shared   BOOLEAN NOT NULL,
    owner_id BIGINT NOT NULL, -- an operator, 0 for a program
    then_do  TEXT NOT NULL    -- what follows an answer with it, as JSON
);

CREATE TABLE scheduled (
    message_id      BIGINT PRIMARY KEY REFERENCES messages (id),
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    due             BIGINT NOT NULL,
    silent          BOOLEAN NOT NULL
);
CREATE INDEX scheduled_of_conversation ON scheduled (conversation_id);
CREATE INDEX scheduled_due ON scheduled (due);
