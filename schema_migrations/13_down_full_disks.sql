DROP INDEX vms_paused;
ALTER TABLE vms DROP COLUMN paused;
