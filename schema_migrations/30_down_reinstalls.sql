-- capsul: no transaction
DROP INDEX CONCURRENTLY IF EXISTS vms_between_states;
CREATE INDEX CONCURRENTLY vms_between_states ON vms (id) WHERE deleted IS NULL
    AND state IN ('creating', 'starting', 'stopping', 'restarting', 'moving', 'deleting');
-- What was going on ends as it began: no Hub of the version before knows it.
UPDATE vms SET state = r.was, wanted = CASE r.was WHEN 'running' THEN 'on' ELSE 'off' END
FROM reinstalls r WHERE r.vm = vms.id AND vms.state = 'reinstalling';
ALTER TABLE vms DROP CONSTRAINT IF EXISTS vms_state_check, ADD CONSTRAINT vms_state_check
    CHECK (state IN ('creating', 'running', 'stopped', 'starting', 'stopping', 'restarting', 'moving', 'deleting',
        'deleted', 'failed')) NOT VALID;
ALTER TABLE vms VALIDATE CONSTRAINT vms_state_check;
CREATE OR REPLACE FUNCTION close_ports() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ports WHERE vm = NEW.id;
    DELETE FROM sites WHERE vm = NEW.id;
    RETURN NULL;
END $$;
DROP TABLE reinstalls;
ALTER TABLE hosts DROP COLUMN makes_disks_anew;
ALTER TABLE vms DROP COLUMN observed_disk;
ALTER TABLE vms DROP COLUMN disk;
