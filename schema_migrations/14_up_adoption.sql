-- capsul: no transaction
-- Machines that a host's libvirt has and Capsul did not make, and VMs that are made of them.
CREATE TABLE foreign_machines (
    host        text NOT NULL REFERENCES hosts ON UPDATE CASCADE,
    uuid        text NOT NULL CHECK (uuid ~ '^[0-9a-f-]{36}$'),
    name        text NOT NULL,
    power       text NOT NULL CHECK (power IN ('on', 'off', 'unknown')),
    vcpus       integer NOT NULL,
    memory_mb   integer NOT NULL,
    disk_gb     integer NOT NULL,
    disk_format text NOT NULL,
    -- Of its first network card; empty: it has none.
    mac         text NOT NULL,
    -- Why it cannot be adopted; empty: it can.
    refusal     text NOT NULL,
    PRIMARY KEY (host, uuid)
);

-- The foreign machine that a VM is made of; empty: none.
ALTER TABLE vms ADD COLUMN adopt text NOT NULL DEFAULT '';
-- The operation is done: it is Capsul's for good.
ALTER TABLE vms ADD COLUMN adopted boolean NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX CONCURRENTLY vms_adopt_once ON vms (host, adopt) WHERE adopt <> '' AND deleted IS NULL;
