DROP INDEX alerts_cleared;
DROP INDEX mails_given_up;
DROP INDEX vms_in_between;
DROP TABLE quarantine;
DROP TABLE unknown_vms;

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
                SELECT taken_by(account_of(o_email, email), o_host, o_deleted, o_dollars, o_vcpus, o_memory, o_disk, -1,
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
DROP FUNCTION host_of(text, text);

CREATE OR REPLACE FUNCTION tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.generation < OLD.generation THEN
        RAISE EXCEPTION 'the generation of host % only grows', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.generation > OLD.generation OR NEW.state <> OLD.state THEN
        PERFORM announce('capsul_hosts', ARRAY[NEW.id]);
    END IF;
    RETURN NULL;
END $$;

ALTER TABLE hosts DROP COLUMN certificate_ends;
ALTER TABLE hosts DROP COLUMN rebooted;
ALTER TABLE hosts DROP COLUMN drain_reason;
UPDATE hosts SET state = 'revoked' WHERE state = 'removed';
ALTER TABLE hosts DROP CONSTRAINT hosts_state_check, ADD CONSTRAINT hosts_state_check
    CHECK (state IN ('invited', 'joined', 'revoked'));

ALTER TABLE vms DROP CONSTRAINT vms_host_fkey,
    ADD CONSTRAINT vms_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE addresses DROP CONSTRAINT addresses_host_fkey,
    ADD CONSTRAINT addresses_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE host_images DROP CONSTRAINT host_images_host_fkey,
    ADD CONSTRAINT host_images_host_fkey FOREIGN KEY (host) REFERENCES hosts;
ALTER TABLE join_tokens DROP CONSTRAINT join_tokens_host_fkey,
    ADD CONSTRAINT join_tokens_host_fkey FOREIGN KEY (host) REFERENCES hosts;
