-- People, how they sign in, their keys, the money that came in, and the mails that go out.

-- E-mail addresses are compared without case by keeping them in lower case.
CREATE TABLE accounts (
    email       text PRIMARY KEY CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    created     timestamptz NOT NULL DEFAULT now(),
    max_vms     integer CHECK (max_vms >= 0)
);

-- A mailed link. The token itself is only in the mail; here lies its SHA-256.
CREATE TABLE sign_in_tokens (
    token_hash  bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    email       text NOT NULL CHECK (email = lower(email)),
    ip          inet NOT NULL,
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    used        timestamptz
);
CREATE INDEX sign_in_tokens_email ON sign_in_tokens (email, created);
CREATE INDEX sign_in_tokens_ip ON sign_in_tokens (ip, created);

-- A signed-in browser. The cookie carries the id; here lies its SHA-256, so that a read of the table signs nobody in.
CREATE TABLE sessions (
    id_hash     bytea PRIMARY KEY CHECK (length(id_hash) = 32),
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL
);
CREATE INDEX sessions_email ON sessions (email);

CREATE TABLE ssh_keys (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    name        text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    type        text NOT NULL,
    key         text NOT NULL,
    fingerprint text NOT NULL,
    created     timestamptz NOT NULL,
    CONSTRAINT ssh_keys_name_once UNIQUE (email, name),
    CONSTRAINT ssh_keys_key_once UNIQUE (email, fingerprint)
);

-- Money that came in. Set invalidated when it did not stay (a chargeback).
CREATE TABLE payments (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created     timestamptz NOT NULL DEFAULT now(),
    email       text NOT NULL REFERENCES accounts ON UPDATE CASCADE,
    dollars     numeric(12,2) NOT NULL CHECK (dollars > 0),
    method      text NOT NULL CHECK (method IN ('cash', 'play', 'stripe', 'btcpay')),
    invalidated boolean NOT NULL DEFAULT FALSE,
    note        text NOT NULL DEFAULT ''
);
CREATE INDEX payments_email ON payments (email);

-- Mails to send, in the transaction of what they speak of. Sent by the seat holder, retried until they are sent or given up.
CREATE TABLE mails (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient   text NOT NULL,
    subject     text NOT NULL,
    body        text NOT NULL,
    created     timestamptz NOT NULL,
    run_at      timestamptz NOT NULL,
    attempt     integer NOT NULL DEFAULT 0,
    sent        timestamptz,
    given_up    timestamptz,
    problem     text,
    CHECK (sent IS NULL OR given_up IS NULL)
);
CREATE INDEX mails_due ON mails (run_at) WHERE sent IS NULL AND given_up IS NULL;
CREATE FUNCTION tell_mails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('capsul_mails', '');
    RETURN NULL;
END $$;
CREATE TRIGGER mails_told AFTER INSERT ON mails FOR EACH STATEMENT EXECUTE FUNCTION tell_mails();
