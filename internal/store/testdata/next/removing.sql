-- What a later version does once none that uses it runs any more: it takes something away, and says so.

-- +goose Up

UPDATE schema_compat SET oldest = 1000;
DROP INDEX messages_later;
ALTER TABLE messages DROP COLUMN later;
