-- Why a customer cannot be reached, '' where an older program has only found that he cannot, and when he was greeted
-- last (docs/adr/0083).

-- +goose Up

ALTER TABLE conversations ADD COLUMN unreachable TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN greeted_at BIGINT NOT NULL DEFAULT 0;
