-- The index of words (docs/adr/0095), by the ids of messages and of conversations. The triggers note what is new or has
-- changed, also for programs that know no index. Whoever knows it reads words_todo and brings the index up to date. Ids
-- from messages_from and names_from on are in the index or noted; those below are yet to be read. keys are numbers that
-- the program makes of the pieces that it has cut, words is the folded text.

-- +goose Up

CREATE TABLE message_words (
    id    BIGINT PRIMARY KEY,
    keys  INTEGER[] NOT NULL,
    words TEXT COLLATE "C" NOT NULL
);
-- What waits to be merged into the index is read by each search, so it is short.
CREATE INDEX message_words_keys ON message_words USING gin (keys) WITH (gin_pending_list_limit = 256);
CREATE TABLE name_words (
    id    BIGINT PRIMARY KEY,
    keys  INTEGER[] NOT NULL,
    words TEXT COLLATE "C" NOT NULL
);
CREATE INDEX name_words_keys ON name_words USING gin (keys) WITH (gin_pending_list_limit = 256);

CREATE TABLE words_todo (
    n               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id      BIGINT NOT NULL, -- 0 for names
    conversation_id BIGINT NOT NULL  -- 0 for a message
);

CREATE TABLE words_state (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    messages_from BIGINT NOT NULL,
    names_from    BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION words_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO words_todo (message_id, conversation_id) VALUES (OLD.id, 0);
    ELSE
        INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.id, 0);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION words_of_attachment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO words_todo (message_id, conversation_id) VALUES (OLD.message_id, 0);
    ELSE
        INSERT INTO words_todo (message_id, conversation_id) VALUES (NEW.message_id, 0);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION words_of_names() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO words_todo (message_id, conversation_id) VALUES (0, OLD.id);
    ELSE
        INSERT INTO words_todo (message_id, conversation_id) VALUES (0, NEW.id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER messages_words AFTER INSERT OR DELETE
    OR UPDATE OF kind, text, details, edit_seen, content, content_of, forward_name ON messages
    FOR EACH ROW EXECUTE FUNCTION words_of_message();
CREATE TRIGGER attachments_words AFTER INSERT OR DELETE OR UPDATE OF name, message_id ON attachments
    FOR EACH ROW EXECUTE FUNCTION words_of_attachment();
CREATE TRIGGER conversations_words AFTER INSERT OR DELETE
    OR UPDATE OF customer_id, customer_name, customer_username, former_names ON conversations
    FOR EACH ROW EXECUTE FUNCTION words_of_names();

-- The triggers keep everybody from writing until the commit, so nobody adds a row between them and this.
INSERT INTO words_state (id, messages_from, names_from)
    SELECT 1, COALESCE((SELECT MAX(id) FROM messages), 0) + 1, COALESCE((SELECT MAX(id) FROM conversations), 0) + 1;
