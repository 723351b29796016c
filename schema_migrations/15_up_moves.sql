-- capsul: no transaction
-- Moving VMs between hosts. While one moves, and until its old copy is removed, two hosts have something of it.

-- moving: an operator's move is going on.
ALTER TABLE vms DROP CONSTRAINT IF EXISTS vms_state_check, ADD CONSTRAINT vms_state_check
    CHECK (state IN ('creating', 'running', 'stopped', 'starting', 'stopping', 'restarting', 'moving', 'deleting',
        'deleted', 'failed')) NOT VALID;
ALTER TABLE vms VALIDATE CONSTRAINT vms_state_check;
-- How often it has changed hosts. A host that was told a higher number than the database has does not run it.
ALTER TABLE vms ADD COLUMN moves integer NOT NULL DEFAULT 0;

-- Whether its Spoke can send and receive disks.
ALTER TABLE hosts ADD COLUMN moves_disks boolean NOT NULL DEFAULT FALSE;
-- All its VMs are to be moved away; to this host, or (empty) to any.
ALTER TABLE hosts ADD COLUMN evacuating boolean NOT NULL DEFAULT FALSE;
ALTER TABLE hosts ADD COLUMN evacuate_to text NOT NULL DEFAULT '';

-- A VM has an address on each host that has something of it.
CREATE UNIQUE INDEX CONCURRENTLY addresses_one_on_a_host ON addresses (vm, host);
ALTER TABLE addresses DROP CONSTRAINT IF EXISTS addresses_one_for_a_vm;

-- A move, and the copy of the VM on the host that it is not on: at first what arrives at the target; once the VM is
-- there, what is left at the source. The copy outlives the move until its host has confirmed that it is gone.
CREATE TABLE moves (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vm                       text NOT NULL REFERENCES vms,
    operation                bigint REFERENCES operations ON DELETE SET NULL,
    from_host                text NOT NULL REFERENCES hosts ON UPDATE CASCADE,
    to_host                  text NOT NULL REFERENCES hosts ON UPDATE CASCADE,
    -- Names the transfer to both Spokes; random, so that a database that was restored never repeats one.
    transfer                 text NOT NULL UNIQUE CHECK (transfer ~ '^[0-9a-f]{32}$'),
    -- The VM's state before, which it has again afterwards.
    was                      text NOT NULL CHECK (was IN ('running', 'stopped')),
    started                  timestamptz NOT NULL,
    -- The VM is at the target since.
    switched                 timestamptz,
    ended                    timestamptz,
    -- It has been on at the target: what it has written there must not be lost, so it cannot return.
    ran                      boolean NOT NULL DEFAULT FALSE,
    copy_host                text REFERENCES hosts ON UPDATE CASCADE,
    -- receive: it arrives; off: it is kept, in case the VM has to return; gone: it is removed.
    copy_wanted              text NOT NULL DEFAULT 'receive' CHECK (copy_wanted IN ('receive', 'off', 'gone')),
    copy_generation          bigint NOT NULL,
    copy_observed            text NOT NULL DEFAULT 'unknown' CHECK (copy_observed IN ('unknown', 'off', 'on', 'gone')),
    copy_observed_generation bigint NOT NULL DEFAULT 0,
    bytes_done               bigint NOT NULL DEFAULT 0 CHECK (bytes_done >= 0),
    bytes_total              bigint NOT NULL DEFAULT 0 CHECK (bytes_total >= 0),
    -- Of the disk that has arrived and was verified; empty before.
    sha256                   text NOT NULL DEFAULT '',
    problem                  text NOT NULL DEFAULT '',
    problem_final            boolean NOT NULL DEFAULT FALSE,
    -- What the copy takes on its host: as much as the VM.
    vcpus                    integer NOT NULL,
    memory_mb                integer NOT NULL,
    disk_gb                  integer NOT NULL,
    CHECK (from_host <> to_host),
    CONSTRAINT moves_open_has_copy CHECK (ended IS NOT NULL OR copy_host IS NOT NULL)
);
CREATE UNIQUE INDEX moves_one_for_a_vm ON moves (vm) WHERE ended IS NULL;
CREATE UNIQUE INDEX moves_one_copy_on_a_host ON moves (vm, copy_host) WHERE copy_host IS NOT NULL;
CREATE INDEX moves_copies ON moves (copy_host, copy_generation) WHERE copy_host IS NOT NULL;
CREATE INDEX moves_from ON moves (from_host, ended);
CREATE INDEX moves_operation ON moves (operation);

-- Why a VM of a host that is being evacuated was not moved when that was last tried.
CREATE TABLE move_refusals (
    vm      text PRIMARY KEY REFERENCES vms ON DELETE CASCADE,
    at      timestamptz NOT NULL,
    problem text NOT NULL
);

-- A copy takes as much of its host as the VM, so that there is room when it changes hosts, either way.
CREATE FUNCTION count_copies() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts vm_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        parts := (SELECT array_agg(taken_by('', copy_host, NULL, 0, vcpus, memory_mb, disk_gb, 1, 0))
            FROM new_rows WHERE copy_host IS NOT NULL);
    ELSIF TG_OP = 'DELETE' THEN
        parts := (SELECT array_agg(taken_by('', copy_host, NULL, 0, vcpus, memory_mb, disk_gb, -1, 0))
            FROM old_rows WHERE copy_host IS NOT NULL);
    ELSE
        parts := (SELECT array_agg(p) FROM (
            SELECT taken_by('', n.copy_host, NULL, 0, n.vcpus, n.memory_mb, n.disk_gb, 1, 0) AS p
            FROM new_rows n JOIN old_rows o USING (id)
            WHERE n.copy_host IS DISTINCT FROM o.copy_host AND n.copy_host IS NOT NULL
            UNION ALL
            SELECT taken_by('', host_of(o.copy_host, n.copy_host), NULL, 0, o.vcpus, o.memory_mb, o.disk_gb, -1, 0)
            FROM new_rows n JOIN old_rows o USING (id)
            WHERE n.copy_host IS DISTINCT FROM o.copy_host AND o.copy_host IS NOT NULL) AS both_sides);
    END IF;
    IF parts IS NULL THEN RETURN NULL; END IF;
    PERFORM FROM hosts WHERE id IN (SELECT p.host FROM unnest(parts) AS p) ORDER BY id FOR NO KEY UPDATE;
    UPDATE hosts h SET vms = h.vms + s.vms, vcpus_used = h.vcpus_used + s.vcpus,
        memory_used_mb = h.memory_used_mb + s.memory_mb, disk_used_gb = h.disk_used_gb + s.disk_gb
    FROM (SELECT p.host, sum(p.vms) AS vms, sum(p.vcpus) AS vcpus, sum(p.memory_mb) AS memory_mb,
            sum(p.disk_gb) AS disk_gb
        FROM unnest(parts) AS p GROUP BY p.host HAVING sum(p.vms) <> 0) AS s
    WHERE h.id = s.host;
    RETURN NULL;
END $$;
CREATE TRIGGER moves_counted_insert AFTER INSERT ON moves REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_copies();
CREATE TRIGGER moves_counted_update AFTER UPDATE ON moves REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_copies();
CREATE TRIGGER moves_counted_delete AFTER DELETE ON moves REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_copies();

-- Pages show how far the disk is.
CREATE FUNCTION tell_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(DISTINCT a.vm), '{}') FROM after a
        JOIN before b ON b.id = a.id WHERE a.ended IS NULL AND (a.bytes_done, a.bytes_total, a.problem)
            IS DISTINCT FROM (b.bytes_done, b.bytes_total, b.problem)));
    RETURN NULL;
END $$;
CREATE TRIGGER moves_told AFTER UPDATE ON moves REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tell_moves();

-- For those that look for VMs whose operation was lost.
CREATE INDEX CONCURRENTLY vms_between_states ON vms (id) WHERE deleted IS NULL
    AND state IN ('creating', 'starting', 'stopping', 'restarting', 'moving', 'deleting');
DROP INDEX CONCURRENTLY vms_in_between;
