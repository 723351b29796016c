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

-- Whose counters an old row is in: when a host is renamed, its counters are renamed too, and nothing moves.
CREATE FUNCTION host_of(old_host text, new_host text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN new_host IS NULL OR old_host = new_host OR EXISTS (SELECT FROM hosts WHERE id = old_host)
        THEN old_host ELSE new_host END
$$;
CREATE OR REPLACE FUNCTION count_vms() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts vm_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        parts := (SELECT array_agg(taken_by(email, host, deleted, dollars_per_month, vcpus, memory_mb, disk_gb, 1, 1))
            FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        parts := (SELECT array_agg(taken_by(email, host, deleted, dollars_per_month, vcpus, memory_mb, disk_gb, -1, 1))
            FROM old_rows);
    ELSE
        -- Nearly every change of a VM is a report that changes nothing here.
        parts := (WITH both_sides AS (
            SELECT o.email AS o_email, o.host AS o_host, o.deleted AS o_deleted, o.dollars_per_month AS o_dollars,
                o.vcpus AS o_vcpus, o.memory_mb AS o_memory, o.disk_gb AS o_disk,
                n.email, n.host, n.deleted, n.dollars_per_month, n.vcpus, n.memory_mb, n.disk_gb
            FROM old_rows o FULL JOIN new_rows n USING (id)
            WHERE (o.email, o.host, o.deleted, o.dollars_per_month, o.vcpus, o.memory_mb, o.disk_gb, o.name, o.size,
                    o.image, o.state, o.observed, o.problem, o.ssh_host, o.ssh_port)
                IS DISTINCT FROM (n.email, n.host, n.deleted, n.dollars_per_month, n.vcpus, n.memory_mb, n.disk_gb,
                    n.name, n.size, n.image, n.state, n.observed, n.problem, n.ssh_host, n.ssh_port))
            SELECT array_agg(p) FROM (
                SELECT taken_by(email, host, deleted, dollars_per_month, vcpus, memory_mb, disk_gb, 1, 1) AS p
                FROM both_sides WHERE email IS NOT NULL
                UNION ALL
                SELECT taken_by(account_of(o_email, email), host_of(o_host, host), o_deleted, o_dollars, o_vcpus, o_memory, o_disk, -1,
                    (o_email IS DISTINCT FROM email)::integer)
                FROM both_sides WHERE o_email IS NOT NULL) AS p);
    END IF;
    IF parts IS NULL THEN RETURN NULL; END IF;
    PERFORM FROM hosts WHERE id IN (SELECT p.host FROM unnest(parts) AS p GROUP BY p.host
        HAVING sum(p.vms) <> 0 OR sum(p.vcpus) <> 0 OR sum(p.memory_mb) <> 0 OR sum(p.disk_gb) <> 0)
    ORDER BY id FOR NO KEY UPDATE;
    UPDATE hosts h SET vms = h.vms + s.vms, vcpus_used = h.vcpus_used + s.vcpus,
        memory_used_mb = h.memory_used_mb + s.memory_mb, disk_used_gb = h.disk_used_gb + s.disk_gb
    FROM (SELECT p.host, sum(p.vms) AS vms, sum(p.vcpus) AS vcpus, sum(p.memory_mb) AS memory_mb,
            sum(p.disk_gb) AS disk_gb
        FROM unnest(parts) AS p GROUP BY p.host) AS s
    WHERE h.id = s.host AND (s.vms <> 0 OR s.vcpus <> 0 OR s.memory_mb <> 0 OR s.disk_gb <> 0);
    PERFORM lock_account_totals((SELECT array_agg(DISTINCT p.email) FROM unnest(parts) AS p));
    UPDATE account_totals t SET vms = t.vms + s.vms, dollars_per_month = t.dollars_per_month + s.dollars_per_month,
        changes = t.changes + s.changes
    FROM (SELECT p.email, sum(p.vms) AS vms, sum(p.dollars_per_month) AS dollars_per_month, sum(p.changes) AS changes
        FROM unnest(parts) AS p GROUP BY p.email) AS s
    WHERE t.email = s.email;
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
