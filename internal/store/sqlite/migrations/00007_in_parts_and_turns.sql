-- An answer in parts, and chats that take turns (docs/adr/0083). held is the updated_at of a part that was held back
-- because one before it was not delivered: its state is failed then, which older programs leave alone. When one of them
-- changes the part after all, updated_at is another, and held means nothing any more.

-- +goose Up

ALTER TABLE deliveries ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
CREATE INDEX deliveries_in_turn ON deliveries (bot_id, not_before, updated_at, id) WHERE turn AND state = 'queued';
