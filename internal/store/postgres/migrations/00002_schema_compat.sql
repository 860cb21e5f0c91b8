-- Versions of the program side by side; see docs/adr/0016. A later migration may take something away that older
-- programs use. It says here which version of the schema a program must know to go on.

-- +goose Up

CREATE TABLE schema_compat (
    id     BIGINT PRIMARY KEY CHECK (id = 1),
    oldest BIGINT NOT NULL
);
INSERT INTO schema_compat (id, oldest) VALUES (1, 2);
