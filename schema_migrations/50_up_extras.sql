-- What VMs cost besides their size: further public IPv4 addresses, so far.

-- One thing of a VM with a price of its own, charged while the VM is. Lines of prices have its kind as their size.
CREATE TABLE vm_extras (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vm                text NOT NULL REFERENCES vms ON DELETE CASCADE,
    kind              text NOT NULL CONSTRAINT vm_extras_kind_check CHECK (kind = 'ipv4-address'),
    dollars_per_month numeric(8,2) NOT NULL CONSTRAINT vm_extras_dollars_per_month_check CHECK (dollars_per_month >= 0),
    -- Since when the line is in force from which it has its price. NULL: it has a price of its own.
    price_from        timestamptz,
    added             timestamptz NOT NULL,
    -- From then on it costs nothing. The row stays, because charged time refers to it.
    removed           timestamptz,
    CONSTRAINT vm_extras_of_vm UNIQUE (id, vm)
);
CREATE INDEX vm_extras_vm ON vm_extras (vm);
CREATE INDEX vm_extras_price ON vm_extras (kind, price_from) WHERE removed IS NULL;

-- Prices are of sizes, and of kinds of extras.
ALTER TABLE sizes ADD CONSTRAINT sizes_id_is_no_extra CHECK (id <> 'ipv4-address') NOT VALID;
ALTER TABLE sizes VALIDATE CONSTRAINT sizes_id_is_no_extra;
ALTER TABLE prices DROP CONSTRAINT prices_size_fkey;
-- lint: accept rewrite because a price list has few lines
ALTER TABLE prices ADD COLUMN of_size text GENERATED ALWAYS AS (CASE WHEN size <> 'ipv4-address' THEN size END) STORED;
ALTER TABLE prices ADD CONSTRAINT prices_of_size_fkey FOREIGN KEY (of_size) REFERENCES sizes NOT VALID;
ALTER TABLE prices VALIDATE CONSTRAINT prices_of_size_fkey;

-- Charged time of an extra, which is of the same VM. NULL: of the VM itself.
ALTER TABLE usage_spans ADD COLUMN extra bigint;
ALTER TABLE usage_spans ADD CONSTRAINT usage_spans_extra_of_vm FOREIGN KEY (extra, vm) REFERENCES vm_extras (id, vm)
    NOT VALID;
ALTER TABLE usage_spans VALIDATE CONSTRAINT usage_spans_extra_of_vm;
-- A VM and each of its extras are charged once at a time. Expressions that no query has: decision 16.
-- lint: accept index-locks because nothing may be charged while there is no constraint
ALTER TABLE usage_spans DROP CONSTRAINT usage_spans_no_overlap, ADD CONSTRAINT usage_spans_no_overlap
    EXCLUDE USING gist ((vm || coalesce('+' || extra::text, '')) WITH =, (span * '(,)'::tstzrange) WITH &&);

-- The further addresses that a VM has; NULL: its first one.
ALTER TABLE addresses ADD COLUMN extra bigint;
ALTER TABLE addresses ADD CONSTRAINT addresses_extra_of_vm FOREIGN KEY (extra, vm) REFERENCES vm_extras (id, vm)
    NOT VALID;
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_extra_of_vm;
ALTER TABLE addresses ADD CONSTRAINT addresses_extra_is_some_vms CHECK (extra IS NULL OR vm IS NOT NULL) NOT VALID;
ALTER TABLE addresses VALIDATE CONSTRAINT addresses_extra_is_some_vms;
-- On each host a VM has one first address, and one for each extra.
-- lint: accept index-locks because hosts have few addresses
DROP INDEX addresses_one_on_a_host;
-- lint: accept index-locks because hosts have few addresses
CREATE UNIQUE INDEX addresses_one_on_a_host ON addresses (vm, host, coalesce(extra, 0));

-- Whether its Spoke lets a VM have more than one IPv4 address.
ALTER TABLE hosts ADD COLUMN gives_more_addresses boolean NOT NULL DEFAULT FALSE;

-- What the extras of a VM cost together.
ALTER TABLE vms ADD COLUMN extras_per_month numeric(10,2) NOT NULL DEFAULT 0;

CREATE FUNCTION sum_extras() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_vm text;
BEGIN
    of_vm := CASE WHEN TG_OP = 'DELETE' THEN OLD.vm ELSE NEW.vm END;
    UPDATE vms SET extras_per_month = coalesce((SELECT sum(x.dollars_per_month) FROM vm_extras x
        WHERE x.vm = of_vm AND x.removed IS NULL), 0) WHERE id = of_vm;
    RETURN NULL;
END $$;
CREATE TRIGGER vm_extras_summed AFTER INSERT OR DELETE OR UPDATE ON vm_extras
    FOR EACH ROW EXECUTE FUNCTION sum_extras();

-- Nothing is added to a VM that is going, nor while its account is being closed.
CREATE FUNCTION check_new_extra() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM vms v WHERE v.id = NEW.vm AND v.wanted <> 'gone' AND v.deleted IS NULL) THEN
        RAISE EXCEPTION 'the VM % is being deleted, or was', NEW.vm
            USING ERRCODE = 'check_violation', CONSTRAINT = 'vm_extras_of_living_vm';
    END IF;
    IF EXISTS (SELECT FROM account_closings c JOIN vms v ON v.email = c.email
        WHERE v.id = NEW.vm AND c.reopened IS NULL) THEN
        RAISE EXCEPTION 'the account of the VM % is being closed', NEW.vm
            USING ERRCODE = 'check_violation', CONSTRAINT = 'account_is_open';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vm_extras_of_living_vm BEFORE INSERT ON vm_extras FOR EACH ROW EXECUTE FUNCTION check_new_extra();

-- An extra stays what it is, and its VM's.
CREATE FUNCTION check_extra() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id <> OLD.id OR NEW.vm <> OLD.vm OR NEW.kind <> OLD.kind OR NEW.added <> OLD.added
        OR OLD.removed IS NOT NULL AND NEW.removed IS DISTINCT FROM OLD.removed THEN
        RAISE EXCEPTION 'an extra of a VM stays what it is, and what was removed stays removed'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'vm_extras_stay';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER vm_extras_stay BEFORE UPDATE ON vm_extras FOR EACH ROW EXECUTE FUNCTION check_extra();

-- Those of a VM that is gone end with it, however it went.
CREATE FUNCTION end_extras() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vm_extras SET removed = NEW.deleted WHERE vm = NEW.id AND removed IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER vms_end_extras AFTER UPDATE OF deleted ON vms
    FOR EACH ROW WHEN (NEW.deleted IS NOT NULL AND OLD.deleted IS NULL) EXECUTE FUNCTION end_extras();

-- What an account pays a month includes the extras of its VMs.
CREATE OR REPLACE FUNCTION count_vms() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts vm_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        parts := (SELECT array_agg(taken_by(email, host, deleted, dollars_per_month + extras_per_month, vcpus,
            memory_mb, disk_gb, 1, 1)) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        parts := (SELECT array_agg(taken_by(email, host, deleted, dollars_per_month + extras_per_month, vcpus,
            memory_mb, disk_gb, -1, 1)) FROM old_rows);
    ELSE
        -- Nearly every change of a VM is a report that changes nothing here.
        parts := (WITH both_sides AS (
            SELECT o.email AS o_email, o.host AS o_host, o.deleted AS o_deleted,
                o.dollars_per_month + o.extras_per_month AS o_dollars, o.vcpus AS o_vcpus,
                o.memory_mb AS o_memory, o.disk_gb AS o_disk,
                n.email, n.host, n.deleted, n.dollars_per_month + n.extras_per_month AS dollars_per_month, n.vcpus,
                n.memory_mb, n.disk_gb
            FROM old_rows o FULL JOIN new_rows n USING (id)
            WHERE (o.email, o.host, o.deleted, o.dollars_per_month, o.vcpus, o.memory_mb, o.disk_gb, o.name, o.size,
                    o.image, o.state, o.observed, o.problem, o.ssh_host, o.ssh_port, o.extras_per_month)
                IS DISTINCT FROM (n.email, n.host, n.deleted, n.dollars_per_month, n.vcpus, n.memory_mb, n.disk_gb,
                    n.name, n.size, n.image, n.state, n.observed, n.problem, n.ssh_host, n.ssh_port,
                    n.extras_per_month))
            SELECT array_agg(p) FROM (
                SELECT taken_by(email, host, deleted, dollars_per_month, vcpus, memory_mb, disk_gb, 1, 1) AS p
                FROM both_sides WHERE email IS NOT NULL
                UNION ALL
                SELECT taken_by(account_of(o_email, email), host_of(o_host, host), o_deleted, o_dollars, o_vcpus,
                    o_memory, o_disk, -1,
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
