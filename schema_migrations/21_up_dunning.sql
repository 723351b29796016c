-- Dunning: what happens when an account's money runs low. An account takes the steps of a table one after another, each
-- with an email, and goes back when it has paid.

CREATE TABLE dunning_steps (
    step         smallint PRIMARY KEY CHECK (step BETWEEN 1 AND 20),
    action       text NOT NULL CHECK (action IN ('mail', 'stop', 'delete')),
    -- The email that is sent with it.
    template     text NOT NULL CHECK (template IN ('low_balance', 'used_up', 'stopped', 'last_notice', 'deleted')),
    -- Taken when the balance lasts no longer than this; 0: when nothing is left.
    runway_hours integer NOT NULL DEFAULT 0 CHECK (runway_hours BETWEEN 0 AND 8760),
    -- And not before the mail server has had the email of the step before for this long.
    after_hours  integer NOT NULL DEFAULT 0 CHECK (after_hours BETWEEN 0 AND 8760),
    CONSTRAINT dunning_steps_act_at_zero CHECK (action = 'mail' OR runway_hours = 0),
    CONSTRAINT dunning_steps_grace CHECK (action = 'mail' OR after_hours >= 24)
);

CREATE FUNCTION check_dunning_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM dunning_steps a JOIN dunning_steps b ON b.step > a.step
            WHERE b.runway_hours > a.runway_hours) THEN
        RAISE EXCEPTION 'a later step of dunning is not taken with more time left than an earlier one'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dunning_steps_in_order';
    ELSIF EXISTS (SELECT FROM dunning_steps a JOIN dunning_steps b ON b.step > a.step WHERE a.action = 'delete') THEN
        RAISE EXCEPTION 'nothing comes after the step of dunning that deletes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dunning_steps_delete_is_last';
    ELSIF EXISTS (SELECT FROM dunning_steps b WHERE b.action <> 'mail' AND NOT EXISTS (SELECT FROM dunning_steps a
            WHERE a.action = 'mail' AND a.runway_hours = 0 AND a.step < b.step)) THEN
        RAISE EXCEPTION 'before dunning stops or deletes anything it sends an email when nothing is left'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dunning_steps_notice';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER dunning_steps_checked AFTER INSERT OR UPDATE OR DELETE ON dunning_steps
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_dunning_steps();

INSERT INTO dunning_steps (step, action, template, runway_hours, after_hours) VALUES
    (1, 'mail', 'low_balance', 168, 0),
    (2, 'mail', 'low_balance', 24, 24),
    (3, 'mail', 'used_up', 0, 12),
    (4, 'stop', 'stopped', 0, 72),
    (5, 'mail', 'last_notice', 0, 168),
    (6, 'delete', 'deleted', 0, 72);

-- How long the Hub has been at work: what it was away for shortens no grace.
CREATE TABLE dunning_clock (
    one     boolean PRIMARY KEY DEFAULT TRUE CHECK (one),
    seconds bigint NOT NULL DEFAULT 0 CHECK (seconds >= 0),
    ticked  timestamptz,
    -- Why no account takes a step; empty: they do.
    paused  text NOT NULL DEFAULT ''
);
-- An upgrade stops nobody's VMs before an operator has seen what it would do.
INSERT INTO dunning_clock (paused)
SELECT CASE WHEN EXISTS (SELECT FROM accounts)
    THEN 'it is new here: look at its steps first, with capsul dunning show' ELSE '' END;

-- Where an account is. One that is not here has taken no step.
CREATE TABLE dunning (
    email text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    -- The last one taken.
    step  smallint NOT NULL,
    taken timestamptz NOT NULL,
    mail  bigint REFERENCES mails ON DELETE SET NULL,
    -- Of dunning_clock: since when the person knows. NULL: the mail server does not have the email.
    told  bigint
);
CREATE INDEX dunning_mail ON dunning (mail);

-- Accounts that take no step for now.
CREATE TABLE dunning_holds (
    email  text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    until  timestamptz NOT NULL,
    reason text NOT NULL,
    actor  text NOT NULL
);

-- VMs that dunning has stopped, and starts again when their account has paid.
CREATE TABLE dunning_stops (
    vm      text PRIMARY KEY REFERENCES vms,
    stopped timestamptz NOT NULL
);

-- When the money of accounts runs out, in seconds since 1970, while what they have goes on as now; a month has 2630016
-- seconds.
-- lint: accept index-locks because a row per account is little, and an upgrade cannot do without it
CREATE INDEX account_totals_runs_out ON account_totals (((paid * 2630016 - used + open_start) / open_rate))
    WHERE open_rate > 0;
