-- What later versions stand on: exclusion constraints over ranges, the seat, the key ring, and the audit trail.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- The right to act as the Hub. One row; the epoch grows with every taking of the seat, and background work is refused
-- when it carries an older one.
CREATE TABLE seat (
    only_row    boolean PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    epoch       bigint NOT NULL DEFAULT 0,
    holder      text NOT NULL DEFAULT '',
    taken_at    timestamptz NOT NULL DEFAULT now()
);
INSERT INTO seat DEFAULT VALUES;

CREATE FUNCTION refuse_older_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <= OLD.epoch THEN
        RAISE EXCEPTION 'the epoch of the seat only grows (% to %)', OLD.epoch, NEW.epoch USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER seat_epoch_grows BEFORE UPDATE ON seat FOR EACH ROW EXECUTE FUNCTION refuse_older_epoch();

-- Secrets of the Hub (certificate authority, cookie keys), each encrypted with the secret key, which is not in the database.
CREATE TABLE key_ring (
    name        text PRIMARY KEY,
    content     bytea NOT NULL,
    created     timestamptz NOT NULL DEFAULT now()
);

-- Who did what. Written in the transaction of the change itself.
CREATE TABLE audit_lines (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    subject     text NOT NULL,
    detail      text NOT NULL DEFAULT ''
);
CREATE INDEX audit_lines_subject ON audit_lines (subject, at);
