-- What operators do by hand, and what keeps the database safe: statements, backups, alerts.

-- Statements that changed something and came from `capsul sql`. Written in the transaction of the change; only added to.
CREATE TABLE operator_statements (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    operator    text NOT NULL,
    statement   text NOT NULL,
    -- How many it changed; null where that has no meaning (DDL).
    rows        bigint CHECK (rows >= 0)
);
CREATE INDEX operator_statements_at ON operator_statements (at);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is only added to', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER operator_statements_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON operator_statements
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Backups that were taken, or failed to be. Proved means: restored into a scratch database, with the same rows and sums.
CREATE TABLE backups (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason          text NOT NULL CHECK (reason IN ('asked', 'scheduled', 'upgrade', 'downgrade', 'restore')),
    started         timestamptz NOT NULL,
    finished        timestamptz,
    file            text NOT NULL,
    format          text NOT NULL CHECK (format IN ('plain', 'custom')),
    encrypted_to    text NOT NULL DEFAULT '',
    schema_version  integer NOT NULL,
    bytes           bigint CHECK (bytes > 0),
    proved          timestamptz,
    proof           text NOT NULL DEFAULT '',
    problem         text NOT NULL DEFAULT '',
    -- Deleted by retention.
    removed         timestamptz,
    CONSTRAINT backups_proved_is_finished CHECK (proved IS NULL OR (finished IS NOT NULL AND problem = ''))
);
CREATE INDEX backups_started ON backups (started);

-- What an operator must look at. Open until it is cleared; one open alert for one thing.
CREATE TABLE alerts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL CHECK (kind ~ '^[a-z_]+$'),
    subject     text NOT NULL DEFAULT '',
    message     text NOT NULL,
    raised      timestamptz NOT NULL,
    cleared     timestamptz,
    CHECK (cleared >= raised)
);
CREATE UNIQUE INDEX alerts_open_once ON alerts (kind, subject) WHERE cleared IS NULL;
