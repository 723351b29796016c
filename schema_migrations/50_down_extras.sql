-- The older program knows one price of a VM: what extras have cost is given back, and their addresses are free.
DELETE FROM usage_spans WHERE extra IS NOT NULL;
DROP TRIGGER vms_end_extras ON vms;
DROP FUNCTION end_extras();
DROP TRIGGER vm_extras_of_living_vm ON vm_extras;
DROP FUNCTION check_new_extra();
DROP TRIGGER vm_extras_stay ON vm_extras;
DROP FUNCTION check_extra();
UPDATE vm_extras SET removed = now() WHERE removed IS NULL;
DROP TRIGGER vm_extras_summed ON vm_extras;
DROP FUNCTION sum_extras();
UPDATE addresses SET vm = NULL, extra = NULL, freed = now() WHERE extra IS NOT NULL;
DROP INDEX addresses_one_on_a_host;
ALTER TABLE addresses DROP COLUMN extra;
CREATE UNIQUE INDEX addresses_one_on_a_host ON addresses (vm, host);
ALTER TABLE usage_spans DROP CONSTRAINT usage_spans_no_overlap;
ALTER TABLE usage_spans DROP COLUMN extra;
ALTER TABLE usage_spans ADD CONSTRAINT usage_spans_no_overlap
    EXCLUDE USING gist ((vm || '') WITH =, (span * '(,)'::tstzrange) WITH &&);
ALTER TABLE prices DISABLE TRIGGER prices_stay;
DELETE FROM prices WHERE size = 'ipv4-address';
ALTER TABLE prices ENABLE TRIGGER prices_stay;
ALTER TABLE prices DROP COLUMN of_size;
ALTER TABLE prices ADD CONSTRAINT prices_size_fkey FOREIGN KEY (size) REFERENCES sizes;
ALTER TABLE sizes DROP CONSTRAINT sizes_id_is_no_extra;
ALTER TABLE hosts DROP COLUMN gives_more_addresses;
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
ALTER TABLE vms DROP COLUMN extras_per_month;
DROP TABLE vm_extras;
