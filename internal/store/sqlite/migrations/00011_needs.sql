-- What an older bot cannot do never reaches it (docs/adr/0091). needs is what a bot must be able to do for a delivery
-- (inbox.Skill), 0 for a text. A bot says what it can do, knows, beside the epoch for which it says so. A bot of a
-- version before this one raises the epoch and leaves both. A delivery that the bot cannot do never has its turn,
-- whichever program of whichever version gives it one. So nothing behind it in its conversation has, either.

-- +goose Up

ALTER TABLE deliveries ADD COLUMN needs BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bots ADD COLUMN knows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE bots ADD COLUMN knows_epoch BIGINT NOT NULL DEFAULT 0;
CREATE INDEX deliveries_needing ON deliveries (bot_id, conversation_id) WHERE needs > 0 AND state = 'queued';
CREATE INDEX deliveries_needing_in ON deliveries (conversation_id, id) WHERE needs > 0 AND state = 'queued';

-- +goose StatementBegin
CREATE TRIGGER deliveries_turn_added AFTER INSERT ON deliveries
WHEN NEW.turn AND NEW.needs > 0 AND NEW.needs >
    (SELECT CASE WHEN knows_epoch = epoch THEN knows ELSE 0 END FROM bots WHERE id = NEW.bot_id)
BEGIN
    UPDATE deliveries SET turn = FALSE WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_turn AFTER UPDATE OF turn ON deliveries
WHEN NEW.turn AND NEW.needs > 0 AND NEW.needs >
    (SELECT CASE WHEN knows_epoch = epoch THEN knows ELSE 0 END FROM bots WHERE id = NEW.bot_id)
BEGIN
    UPDATE deliveries SET turn = FALSE WHERE id = NEW.id;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER bots_epoch AFTER UPDATE OF epoch ON bots
BEGIN
    UPDATE deliveries SET turn = FALSE
        WHERE bot_id = NEW.id AND needs > 0 AND state = 'queued' AND turn
            AND needs > CASE WHEN NEW.knows_epoch = NEW.epoch THEN NEW.knows ELSE 0 END;
END;
-- +goose StatementEnd
