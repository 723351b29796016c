CREATE INDEX vms_in_between ON vms (id)
    WHERE deleted IS NULL AND state IN ('creating', 'starting', 'stopping', 'restarting', 'deleting');
DROP INDEX vms_between_states;
DROP TABLE move_refusals;
-- Counters of what copies take are given back by the trigger. Addresses of copies too: a host can confirm none of them
-- to a Hub of before.
UPDATE addresses a SET vm = NULL FROM vms v WHERE v.id = a.vm AND v.host <> a.host;
DELETE FROM moves;
DROP TABLE moves;
DROP FUNCTION tell_moves();
DROP FUNCTION count_copies();
ALTER TABLE addresses ADD CONSTRAINT addresses_one_for_a_vm UNIQUE (vm);
DROP INDEX addresses_one_on_a_host;
ALTER TABLE hosts DROP COLUMN evacuate_to, DROP COLUMN evacuating, DROP COLUMN moves_disks;
ALTER TABLE vms DROP COLUMN moves;
ALTER TABLE vms DROP CONSTRAINT IF EXISTS vms_state_check, ADD CONSTRAINT vms_state_check
    CHECK (state IN ('creating', 'running', 'stopped', 'starting', 'stopping', 'restarting', 'deleting', 'deleted',
        'failed'));
