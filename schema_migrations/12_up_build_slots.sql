-- capsul: no transaction
-- A host builds a limited number of VMs at a time; the others wait in a queue, in turns between accounts.

-- How many at a time; null: the setting of the Hub.
ALTER TABLE hosts ADD COLUMN build_slots integer;
ALTER TABLE hosts ADD CONSTRAINT hosts_build_slots_check CHECK (build_slots BETWEEN 1 AND 1000) NOT VALID;
ALTER TABLE hosts VALIDATE CONSTRAINT hosts_build_slots_check;

-- Since when it waits for a build slot: until then its host is not told of it.
ALTER TABLE vms ADD COLUMN queued timestamptz;
-- Its place in the order in which the VMs of a host are built.
ALTER TABLE vms ADD COLUMN build_turn bigint NOT NULL DEFAULT 0;
ALTER TABLE vms ADD CONSTRAINT vms_queued_is_creating CHECK (queued IS NULL OR state = 'creating') NOT VALID;
ALTER TABLE vms VALIDATE CONSTRAINT vms_queued_is_creating;
CREATE INDEX CONCURRENTLY vms_building ON vms (host, email) WHERE state = 'creating';

-- Also who waits for a build slot: it may have become free meanwhile.
CREATE OR REPLACE FUNCTION tell_new_vms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(id), '{}') FROM after));
    PERFORM announce('capsul_accounts', (SELECT coalesce(array_agg(DISTINCT email), '{}') FROM after));
    PERFORM announce('capsul_builds',
        (SELECT coalesce(array_agg(DISTINCT host), '{}') FROM after WHERE queued IS NOT NULL));
    RETURN NULL;
END $$;

-- Also hosts on which a build has ended while others wait.
CREATE OR REPLACE FUNCTION tell_vms() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
    emails text[];
    free text[];
BEGIN
    SELECT coalesce(array_agg(a.id), '{}'), coalesce(array_agg(DISTINCT a.email), '{}'),
        coalesce(array_agg(DISTINCT a.host) FILTER (WHERE b.state = 'creating' AND a.state <> 'creating'), '{}')
    INTO ids, emails, free
    FROM after a JOIN before b ON b.id = a.id
    WHERE (a.email, a.name, a.state, a.wanted, a.observed, a.phase, a.problem, a.ssh_host, a.ssh_port, a.host,
            a.deleted, a.queued)
        IS DISTINCT FROM (b.email, b.name, b.state, b.wanted, b.observed, b.phase, b.problem, b.ssh_host, b.ssh_port,
            b.host, b.deleted, b.queued);
    PERFORM announce('capsul_vms', ids);
    PERFORM announce('capsul_accounts', emails);
    IF free <> '{}' THEN
        PERFORM announce('capsul_builds', (SELECT coalesce(array_agg(DISTINCT host), '{}') FROM vms
            WHERE host = ANY(free) AND state = 'creating' AND queued IS NOT NULL));
    END IF;
    RETURN NULL;
END $$;
