-- capsul: no transaction
-- What operators do with hosts, and what the Hub finds out about itself: hosts can be renamed, drained and removed; VMs
-- that a host has and the database does not know are remembered; so is what was put into quarantine.

-- A host's name may change. Each constraint is replaced in one step, and checked while others write.
ALTER TABLE join_tokens DROP CONSTRAINT join_tokens_host_fkey,
    ADD CONSTRAINT join_tokens_host_fkey FOREIGN KEY (host) REFERENCES hosts ON UPDATE CASCADE NOT VALID;
ALTER TABLE join_tokens VALIDATE CONSTRAINT join_tokens_host_fkey;
ALTER TABLE host_images DROP CONSTRAINT host_images_host_fkey,
    ADD CONSTRAINT host_images_host_fkey FOREIGN KEY (host) REFERENCES hosts ON UPDATE CASCADE NOT VALID;
ALTER TABLE host_images VALIDATE CONSTRAINT host_images_host_fkey;
ALTER TABLE addresses DROP CONSTRAINT addresses_host_fkey,
    ADD CONSTRAINT addresses_host_fkey FOREIGN KEY (host) REFERENCES hosts ON UPDATE CASCADE NOT VALID;
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_host_fkey;
ALTER TABLE vms DROP CONSTRAINT vms_host_fkey,
    ADD CONSTRAINT vms_host_fkey FOREIGN KEY (host) REFERENCES hosts ON UPDATE CASCADE NOT VALID;
ALTER TABLE vms VALIDATE CONSTRAINT vms_host_fkey;

-- removed: gone for good; the row stays while VMs that were on it are remembered, and its name may be invited again.
ALTER TABLE hosts DROP CONSTRAINT IF EXISTS hosts_state_check, ADD CONSTRAINT hosts_state_check
    CHECK (state IN ('invited', 'joined', 'revoked', 'removed')) NOT VALID;
ALTER TABLE hosts VALIDATE CONSTRAINT hosts_state_check;
-- Why it accepts no new VMs.
ALTER TABLE hosts ADD COLUMN drain_reason text NOT NULL DEFAULT '';
-- When another boot_id was first reported: the machine was rebooted before that.
ALTER TABLE hosts ADD COLUMN rebooted timestamptz;
-- End of validity of the newest certificate; null until it is known.
ALTER TABLE hosts ADD COLUMN certificate_ends timestamptz;

-- A host that is renamed is announced under both names: the connection under the old one ends.
CREATE OR REPLACE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.generation > OLD.generation OR NEW.state <> OLD.state THEN
        PERFORM announce('capsul_hosts', CASE WHEN NEW.id = OLD.id THEN ARRAY[NEW.id] ELSE ARRAY[NEW.id, OLD.id] END);
    END IF;
    RETURN NULL;
END $$;

-- Machines that a host has and the database does not know. They are left alone.
CREATE TABLE unknown_vms (
    host        text NOT NULL REFERENCES hosts ON UPDATE CASCADE,
    vm          text NOT NULL,
    power       text NOT NULL CHECK (power IN ('on', 'off', 'unknown')),
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    PRIMARY KEY (host, vm)
);

-- What `capsul fsck` found and an operator confirmed once. Only what is in here may be released by a later plan.
CREATE TABLE quarantine (
    kind        text NOT NULL,
    subject     text NOT NULL,
    plan        text NOT NULL,
    since       timestamptz NOT NULL,
    PRIMARY KEY (kind, subject)
);

-- For those that look for VMs whose operation was lost.
CREATE INDEX CONCURRENTLY vms_in_between ON vms (id)
    WHERE deleted IS NULL AND state IN ('creating', 'starting', 'stopping', 'restarting', 'deleting');
-- Emails that nobody got.
CREATE INDEX CONCURRENTLY mails_given_up ON mails (given_up) WHERE given_up IS NOT NULL;
-- Alerts that were cleared, newest first.
CREATE INDEX CONCURRENTLY alerts_cleared ON alerts (cleared) WHERE cleared IS NOT NULL;
