-- A fence without row locks, notifications that do not serialize commits, and what Hubs and Spokes know of each other.

-- Background work calls this first. The lock is shared among all background transactions, and whoever takes the seat
-- holds it exclusively while the epoch is raised: so a transaction either commits before, or sees the new epoch. The
-- lock comes first, in its own statement: a snapshot from before the wait could still show the old epoch.
CREATE FUNCTION hold_seat(held bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'background work must run at isolation level read committed';
    END IF;
    PERFORM pg_advisory_xact_lock_shared(x'66656e63'::bigint);
    RETURN EXISTS (SELECT FROM seat WHERE epoch = held);
END $$;

-- Where Spokes reach the active Hub; empty if it does not say.
ALTER TABLE seat ADD COLUMN link_address text NOT NULL DEFAULT '';

-- Every Hub process that is, or lately was, on this database. A standby refers Spokes to the active one, and Spokes
-- store the addresses of all of them.
CREATE TABLE hubs (
    name            text PRIMARY KEY,
    link_address    text NOT NULL,
    seen            timestamptz NOT NULL
);

-- Notifies those who wait for a change. A transaction with NOTIFY holds a lock on all others while it commits, so
-- background work collects its changes in a setting of its transaction instead, and announces them after the commit.
CREATE FUNCTION announce(channel text, payloads text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    collected text := current_setting('capsul.changes', TRUE);
BEGIN
    IF coalesce(collected, '') = '' THEN
        PERFORM pg_notify(channel, payload) FROM unnest(payloads) AS p (payload);
    ELSIF payloads <> '{}' THEN
        PERFORM set_config('capsul.changes', collected || (
            SELECT string_agg(channel || ' ' || payload || E'\n', '') FROM unnest(payloads) AS p (payload)), TRUE);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.generation > OLD.generation OR NEW.state <> OLD.state THEN
        PERFORM announce('capsul_hosts', ARRAY[NEW.id]);
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tell_mails() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_mails', ARRAY['']);
    RETURN NULL;
END $$;

-- Only what a page shows: a VM that is observed again without a change wakes nobody.
DROP TRIGGER vms_told ON vms;
DROP FUNCTION tell_vm();
CREATE FUNCTION tell_new_vms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(id), '{}') FROM after));
    PERFORM announce('capsul_accounts', (SELECT coalesce(array_agg(DISTINCT email), '{}') FROM after));
    RETURN NULL;
END $$;
CREATE TRIGGER vms_told_new AFTER INSERT ON vms REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_new_vms();
CREATE FUNCTION tell_vms() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
    emails text[];
BEGIN
    SELECT coalesce(array_agg(a.id), '{}'), coalesce(array_agg(DISTINCT a.email), '{}') INTO ids, emails
    FROM after a JOIN before b ON b.id = a.id
    WHERE (a.email, a.name, a.state, a.wanted, a.observed, a.phase, a.problem, a.ssh_host, a.ssh_port, a.host, a.deleted)
        IS DISTINCT FROM
        (b.email, b.name, b.state, b.wanted, b.observed, b.phase, b.problem, b.ssh_host, b.ssh_port, b.host, b.deleted);
    PERFORM announce('capsul_vms', ids);
    PERFORM announce('capsul_accounts', emails);
    RETURN NULL;
END $$;
CREATE TRIGGER vms_told AFTER UPDATE ON vms REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_vms();

-- The runner is woken by every change of run_at; pages by what they show of an operation.
DROP TRIGGER operations_told ON operations;
DROP FUNCTION tell_operations();
CREATE FUNCTION tell_new_operations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_operations', ARRAY['']);
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(DISTINCT vm), '{}') FROM after));
    RETURN NULL;
END $$;
CREATE TRIGGER operations_told_new AFTER INSERT ON operations REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_new_operations();
CREATE FUNCTION tell_operations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM after a JOIN before b ON b.id = a.id WHERE a.run_at <> b.run_at AND a.finished IS NULL) THEN
        PERFORM announce('capsul_operations', ARRAY['']);
    END IF;
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(DISTINCT a.vm), '{}') FROM after a
        JOIN before b ON b.id = a.id
        WHERE (a.status, a.step, a.asked) IS DISTINCT FROM (b.status, b.step, b.asked)));
    RETURN NULL;
END $$;
CREATE TRIGGER operations_told AFTER UPDATE ON operations REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_operations();
CREATE FUNCTION tell_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(DISTINCT o.vm), '{}') FROM after a
        JOIN operations o ON o.id = a.operation));
    RETURN NULL;
END $$;
CREATE TRIGGER operation_events_told AFTER INSERT ON operation_events REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_events();

-- The machine's boot, as its kernel names it; empty for Spokes that do not say.
ALTER TABLE hosts ADD COLUMN boot_id text NOT NULL DEFAULT '';
-- Each connection gives the Spoke a token, which the next one must present: with a copy of its data folder, two Spokes
-- would act as one host. Both are SHA-256: the one that was presented last, and the one that was given then, which the
-- Spoke may not have stored. token_epoch: when they were last accepted; a restored database is far ahead of it.
ALTER TABLE hosts ADD COLUMN presented_token bytea;
ALTER TABLE hosts ADD COLUMN given_token bytea;
ALTER TABLE hosts ADD COLUMN token_epoch bigint NOT NULL DEFAULT 0;
-- How far the Spoke's clock is ahead of the Hub's.
ALTER TABLE hosts ADD COLUMN clock_skew_seconds integer NOT NULL DEFAULT 0;
-- The newest generation that the Spoke has acknowledged, for the current epoch.
ALTER TABLE hosts ADD COLUMN acknowledged bigint NOT NULL DEFAULT 0;
