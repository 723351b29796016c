-- Serial consoles in the browser and in a terminal. A token opens one console once, within a minute. One that was made
-- for a browser counts only together with its session, and ends with it.
CREATE TABLE console_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    vm         text NOT NULL REFERENCES vms ON DELETE CASCADE,
    -- Who opens it, for the audit line.
    actor      text NOT NULL,
    session    bytea REFERENCES sessions ON DELETE CASCADE,
    expires    timestamptz NOT NULL
);
CREATE INDEX console_tokens_vm ON console_tokens (vm);
CREATE INDEX console_tokens_session ON console_tokens (session);
CREATE INDEX console_tokens_expires ON console_tokens (expires);
