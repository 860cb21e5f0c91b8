-- Versions of the program side by side; see docs/adr/0016. A later migration that older programs cannot live with, as it
-- takes something away that they use, says here which version of the schema a program must know to go on.

-- +goose Up

CREATE TABLE schema_compat (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    oldest BIGINT NOT NULL
);
INSERT INTO schema_compat (id, oldest) VALUES (1, 2);
