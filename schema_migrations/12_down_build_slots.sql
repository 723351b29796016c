-- capsul: no transaction
CREATE OR REPLACE FUNCTION tell_vms() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION tell_new_vms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce('capsul_vms', (SELECT coalesce(array_agg(id), '{}') FROM after));
    PERFORM announce('capsul_accounts', (SELECT coalesce(array_agg(DISTINCT email), '{}') FROM after));
    RETURN NULL;
END $$;

DROP INDEX CONCURRENTLY vms_building;
ALTER TABLE vms DROP COLUMN build_turn;
ALTER TABLE vms DROP COLUMN queued;
ALTER TABLE hosts DROP COLUMN build_slots;
