-- What providers have against what is here, a ladder of dunning that can be changed, and limits that people set for
-- themselves.

-- How what a payment provider has compares with what is here, as of the last time that somebody asked.
CREATE TABLE provider_totals (
    provider      text PRIMARY KEY CHECK (provider IN ('stripe', 'btcpay')),
    -- When it was asked, and why it gave no answer; empty: it did.
    tried         timestamptz NOT NULL,
    problem       text NOT NULL DEFAULT '' CHECK (length(problem) <= 500),
    -- When they were compared, and since when what was compared; NULL: they never were.
    at            timestamptz,
    since         timestamptz,
    -- Payments that were paid, as they were asked for: there, and here.
    paid_there    numeric NOT NULL DEFAULT 0,
    paid_here     numeric NOT NULL DEFAULT 0,
    -- Our part of what was sent to the bank: there, and in the ledger.
    sent_there    numeric NOT NULL DEFAULT 0,
    sent_here     numeric NOT NULL DEFAULT 0,
    -- Payments and refunds that differ, and payouts that do.
    differences   bigint NOT NULL DEFAULT 0 CHECK (differences >= 0),
    unbooked      bigint NOT NULL DEFAULT 0 CHECK (unbooked >= 0),
    -- Since when payments or refunds differ; NULL: they do not.
    differs_since timestamptz,
    CONSTRAINT provider_totals_compared CHECK (num_nonnulls(at, since) IN (0, 2)),
    CONSTRAINT provider_totals_never_compared CHECK (at IS NOT NULL OR (paid_there = 0 AND paid_here = 0
        AND sent_there = 0 AND sent_here = 0 AND differences = 0 AND unbooked = 0 AND differs_since IS NULL)),
    CONSTRAINT provider_totals_differ CHECK
        ((differs_since IS NOT NULL) = (paid_there <> paid_here OR differences > 0))
);

-- Steps of dunning come and go, and have other numbers when one comes between them. An account stays at the step that
-- it has taken: it goes along when the number changes, and is at the step before when its own goes. Nobody has taken
-- a step that is new, so none is skipped; whoever is past a new one that stops or deletes goes back to before it,
-- unless their VMs are stopped already.
UPDATE dunning d SET step = n.step, told = CASE WHEN n.step > 0 THEN d.told
    ELSE coalesce(d.told, (SELECT seconds FROM dunning_clock)) END
FROM (SELECT o.email, coalesce((SELECT max(s.step) FROM dunning_steps s WHERE s.step <= o.step), 0) AS step
    FROM dunning o) AS n
WHERE n.email = d.email AND n.step <> d.step;
CREATE FUNCTION lock_dunning_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('capsul dunning steps', 0));
    RETURN NULL;
END $$;
CREATE TRIGGER dunning_steps_one_at_a_time BEFORE INSERT OR UPDATE OR DELETE ON dunning_steps
    FOR EACH STATEMENT EXECUTE FUNCTION lock_dunning_steps();
CREATE FUNCTION follow_dunning_steps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone smallint := CASE TG_OP WHEN 'DELETE' THEN OLD.step ELSE NEW.step END;
    earlier smallint := coalesce((SELECT max(step) FROM dunning_steps WHERE step < gone), 0);
BEGIN
    -- Step 0 has no email that could still be delivered.
    UPDATE dunning SET step = earlier, told = CASE WHEN earlier > 0 THEN told
        ELSE coalesce(told, (SELECT seconds FROM dunning_clock)) END
    WHERE step = gone;
    IF TG_OP <> 'DELETE' AND NEW.action <> 'mail' THEN
        UPDATE dunning d SET step = earlier, told = CASE WHEN earlier > 0 THEN d.told
            ELSE coalesce(d.told, (SELECT seconds FROM dunning_clock)) END
        WHERE d.step > NEW.step AND (TG_OP = 'INSERT' OR d.step < OLD.step) AND (NEW.action = 'delete'
            OR NOT EXISTS (SELECT FROM dunning_steps s
                WHERE s.action <> 'mail' AND s.step <= d.step AND s.step <> NEW.step));
    END IF;
    IF TG_OP = 'UPDATE' THEN
        UPDATE dunning SET step = NEW.step WHERE step = OLD.step;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER dunning_steps_followed AFTER INSERT OR DELETE ON dunning_steps
    FOR EACH ROW EXECUTE FUNCTION follow_dunning_steps();
CREATE TRIGGER dunning_steps_followed_on AFTER UPDATE ON dunning_steps
    FOR EACH ROW WHEN (NEW.step <> OLD.step) EXECUTE FUNCTION follow_dunning_steps();
CREATE FUNCTION refuse_dunning_action() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what step % of dunning does stays: accounts have taken it', OLD.step
        USING ERRCODE = 'check_violation', CONSTRAINT = 'dunning_steps_action_stays',
        HINT = 'Delete the step, and insert another one.';
END $$;
CREATE TRIGGER dunning_steps_action_stays BEFORE UPDATE ON dunning_steps
    FOR EACH ROW WHEN (NEW.action <> OLD.action) EXECUTE FUNCTION refuse_dunning_action();

-- What people set for themselves. A month is one of the calendar, UTC.
CREATE TABLE spending_limits (
    email         text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    -- Nothing is created that would make a month cost more. NULL: no cap.
    monthly_cap   numeric CHECK (monthly_cap > 0 AND monthly_cap < 10000000000),
    -- An email is sent when the balance falls below this, and when the usage of a month exceeds that. NULL: none is.
    balance_below numeric CHECK (balance_below > 0 AND balance_below < 10000000000),
    usage_above   numeric CHECK (usage_above > 0 AND usage_above < 10000000000),
    -- Since when the balance is known to be below; NULL: it is not.
    balance_told  timestamptz,
    -- The beginning of the last month whose usage is known to exceed it.
    usage_told    timestamptz,
    CONSTRAINT spending_limits_some CHECK (num_nonnulls(monthly_cap, balance_below, usage_above) > 0),
    CONSTRAINT spending_limits_told_of_balance CHECK (balance_told IS NULL OR balance_below IS NOT NULL),
    CONSTRAINT spending_limits_told_of_usage CHECK (usage_told IS NULL OR usage_above IS NOT NULL)
);
CREATE OR REPLACE FUNCTION forget_person(person text, pseudonym text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    subjects text[] := ARRAY(SELECT id FROM vms WHERE email = person
        UNION ALL SELECT 'payment ' || id FROM payments WHERE email = person
        UNION ALL SELECT 'provider payment ' || id FROM provider_payments WHERE email = person
        UNION ALL SELECT person);
BEGIN
    DELETE FROM sessions WHERE email = person;
    DELETE FROM sign_in_tokens WHERE email = person;
    DELETE FROM ssh_keys WHERE email = person;
    DELETE FROM vm_ssh_keys k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM key_changes k USING vms v WHERE v.id = k.vm AND v.email = person;
    DELETE FROM rescues r USING vms v WHERE v.id = r.vm AND v.email = person;
    DELETE FROM billing_addresses WHERE email = person;
    DELETE FROM account_references WHERE email = person;
    DELETE FROM dunning WHERE email = person;
    DELETE FROM dunning_holds WHERE email = person;
    DELETE FROM spending_limits WHERE email = person;
    DELETE FROM mails WHERE recipient = person;
    UPDATE sponsorships SET reason = '', ended = coalesce(ended, now()), short_since = NULL WHERE email = person;
    UPDATE sponsorships SET actor = pseudonym WHERE actor = person;
    UPDATE provider_events SET body = '' WHERE body <> ''
        AND payment IN (SELECT id FROM provider_payments WHERE email = person);
    UPDATE vms SET name = id, console_tail = '' WHERE email = person;
    UPDATE audit_lines SET actor = CASE actor WHEN person THEN pseudonym ELSE actor END,
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END,
        detail = without_person(detail, person, pseudonym)
    WHERE actor = person OR subject = ANY(subjects);
    UPDATE alerts SET message = without_person(message, person, pseudonym),
        subject = CASE subject WHEN person THEN pseudonym ELSE subject END
    WHERE strpos(message, person) > 0 OR subject = person;
    UPDATE accounts SET email = pseudonym WHERE email = person;
END $$;
