-- What is ours to say of a message, and whose words were passed on, apart from what a customer wrote. Messages of older
-- versions have both in their text.

-- +goose Up

ALTER TABLE messages ADD COLUMN details TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN forward_kind TEXT NOT NULL DEFAULT ''; -- '' for the sender's own words
ALTER TABLE messages ADD COLUMN forward_name TEXT NOT NULL DEFAULT '';
