-- capsul: no transaction
-- A guest that its host has paused, because the host's disk is full: it is on, but costs nothing.
ALTER TABLE vms ADD COLUMN paused boolean NOT NULL DEFAULT FALSE;
CREATE INDEX CONCURRENTLY vms_paused ON vms (host) WHERE paused;
