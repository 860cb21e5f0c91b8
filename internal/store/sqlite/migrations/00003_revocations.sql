-- Rights that end (docs/adr/0052). A session carries the generation of its operator and ends when that is raised; one of a program
-- from before counts as of generation 0. revocations is raised by everything that ends a right, for streams to be looked at.

-- +goose Up

ALTER TABLE operators ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN revocations BIGINT NOT NULL DEFAULT 0;
