-- The bytes of files, in chunks, and what is to be fetched. Rows of attachments are removed by programs that know no
-- files, so nothing here refers to them: what is left over is pruned.

-- +goose Up

ALTER TABLE attachments ADD COLUMN width BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attachments ADD COLUMN height BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attachments ADD COLUMN duration BIGINT NOT NULL DEFAULT 0;        -- seconds
ALTER TABLE attachments ADD COLUMN preview_id TEXT NOT NULL DEFAULT '';       -- file_id of what the thread shows
ALTER TABLE attachments ADD COLUMN preview_size BIGINT NOT NULL DEFAULT 0;

-- Bytes that were kept once, however many files have them. hash is NULL while they come, and while they are removed.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       BLOB,            -- SHA-256
    size       BIGINT NOT NULL, -- of the chunks that are there
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX blobs_by_hash ON blobs (hash) WHERE hash IS NOT NULL;

CREATE TABLE chunks (
    blob_id BIGINT NOT NULL REFERENCES blobs (id),
    n       BIGINT NOT NULL, -- from 0; all but the last have the same size
    data    BLOB NOT NULL,
    PRIMARY KEY (blob_id, n)
);

-- What is to be fetched, or was: of an attachment the file, and what the thread shows of it. While it comes blob_id has
-- what is there of it.
CREATE TABLE files (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    bot_id          BIGINT NOT NULL REFERENCES bots (id),
    conversation_id BIGINT NOT NULL REFERENCES conversations (id),
    attachment_id   BIGINT NOT NULL,
    preview         BOOLEAN NOT NULL,
    file_id         TEXT NOT NULL,
    size            BIGINT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'paused', 'stored', 'too_big', 'gone', 'failed')),
    error           TEXT NOT NULL,
    attempt         BIGINT NOT NULL,
    not_before      BIGINT NOT NULL,
    blob_id         BIGINT REFERENCES blobs (id),
    media_type      TEXT NOT NULL, -- as its content says
    stored_at       BIGINT,
    created_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX files_of_attachment ON files (attachment_id, preview);
CREATE INDEX files_open ON files (conversation_id, attachment_id) WHERE state IN ('waiting', 'paused');
CREATE INDEX files_oldest ON files (created_at) WHERE state IN ('waiting', 'paused');
CREATE INDEX files_of_blob ON files (blob_id) WHERE blob_id IS NOT NULL;
CREATE INDEX files_age ON files (stored_at) WHERE state = 'stored';

-- Customers take turns, and each has so many bytes a day. due is when the next of a customer's files may be fetched,
-- NULL for none.
CREATE TABLE file_turns (
    conversation_id BIGINT PRIMARY KEY REFERENCES conversations (id),
    bot_id          BIGINT NOT NULL REFERENCES bots (id),
    due             BIGINT,
    served_at       BIGINT NOT NULL,
    day             BIGINT NOT NULL, -- days since 1970, UTC
    bytes           BIGINT NOT NULL  -- that were stored on that day
);
CREATE INDEX file_turns_next ON file_turns (bot_id, served_at) WHERE due IS NOT NULL;

ALTER TABLE bots ADD COLUMN files_paused TEXT NOT NULL DEFAULT ''; -- why nothing is fetched, '' while it is
