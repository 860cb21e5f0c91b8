-- Pauses that Telegram asks for, so that a page can say until when: of a delivery, of a bot's polling, of all that it
-- sends. 0 is none.

-- +goose Up

ALTER TABLE deliveries ADD COLUMN paused_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bots ADD COLUMN retry_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bots ADD COLUMN sends_at BIGINT NOT NULL DEFAULT 0;
