-- When an answer was taken back before it was sent. Its deliveries are gone then, so no program sends it.

-- +goose Up

ALTER TABLE messages ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;
