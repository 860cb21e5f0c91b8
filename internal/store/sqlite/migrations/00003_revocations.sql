-- Rights that end (docs/adr/0052). A session carries the generation of its operator, and ends when that is raised. A
-- session that an older program began counts as of generation 0. Everything that ends a right raises revocations, so
-- that streams are looked at.

-- +goose Up

ALTER TABLE operators ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN revocations BIGINT NOT NULL DEFAULT 0;
