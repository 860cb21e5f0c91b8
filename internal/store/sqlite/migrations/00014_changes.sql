-- What is wanted of an answer that was sent, until Telegram has taken it: its words, or its deletion. Deliveries have
-- an operation for each part, which goes when Telegram has answered. And which answers make no sound at the customer's.

-- +goose Up

CREATE TABLE changes (
    message_id BIGINT PRIMARY KEY REFERENCES messages (id),
    operation  TEXT NOT NULL CHECK (operation IN ('edit', 'delete')),
    text       TEXT NOT NULL, -- what it is to say
    state      TEXT NOT NULL CHECK (state IN ('queued', 'sending', 'failed', 'unknown')),
    error      TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
ALTER TABLE deliveries ADD COLUMN silent BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX deliveries_changing ON deliveries (bot_id, id) WHERE operation <> 'send';
