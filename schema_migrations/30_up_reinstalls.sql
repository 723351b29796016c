-- capsul: no transaction
-- Reinstalling VMs in place: each time it gets a disk with a higher number.

-- reinstalling: its disk is made anew, and the one before is kept.
ALTER TABLE vms DROP CONSTRAINT IF EXISTS vms_state_check, ADD CONSTRAINT vms_state_check
    CHECK (state IN ('creating', 'running', 'stopped', 'starting', 'stopping', 'restarting', 'reinstalling', 'moving',
        'deleting', 'deleted', 'failed')) NOT VALID;
ALTER TABLE vms VALIDATE CONSTRAINT vms_state_check;
-- Which disk it has; 0 the first. It is the time of the order in seconds, so that a database that was restored does
-- not use a number again.
ALTER TABLE vms ADD COLUMN disk bigint NOT NULL DEFAULT 0;
-- While it is on: the disk that it was started from.
ALTER TABLE vms ADD COLUMN observed_disk bigint NOT NULL DEFAULT 0;

-- Whether its Spoke can make disks anew.
ALTER TABLE hosts ADD COLUMN makes_disks_anew boolean NOT NULL DEFAULT FALSE;

-- A reinstall that is going on: what the VM is to become. Nothing of it is in vms before the new disk has booted, so to
-- undo it is to delete the row.
CREATE TABLE reinstalls (
    vm           text PRIMARY KEY REFERENCES vms ON DELETE CASCADE,
    -- The VM's state before, which it has again if it does not succeed.
    was          text NOT NULL CHECK (was IN ('running', 'stopped')),
    disk         bigint NOT NULL CHECK (disk > 0),
    image        text NOT NULL REFERENCES images,
    image_sha256 text NOT NULL,
    login_user   text NOT NULL,
    -- Lines: type and key of each; their names in the same order.
    keys         text NOT NULL,
    key_names    text NOT NULL
);

-- Of a VM that is gone nothing is kept, however it went.
CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    DELETE FROM sites WHERE vm = NEW.id;
    DELETE FROM reinstalls WHERE vm = NEW.id;
    RETURN NULL;
END $$;

-- For those that look for VMs whose operation was lost.
DROP INDEX CONCURRENTLY IF EXISTS vms_between_states;
CREATE INDEX CONCURRENTLY vms_between_states ON vms (id) WHERE deleted IS NULL
    AND state IN ('creating', 'starting', 'stopping', 'restarting', 'reinstalling', 'moving', 'deleting');
