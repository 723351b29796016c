-- Sums that decisions and pages read, kept with the rows they are sums of: what an account has paid and used, and what
-- is taken on a host. So a balance is one row, whatever the age of the account. The triggers count every change, also
-- one made on the SQL command line; the reconciler CounterCheck compares the sums with the rows.

-- Usage is in dollars a month times seconds: a product of exact numbers, which is divided only when it is read. For
-- spans that are open it is a line through time: used until @now = used + open_rate * epoch(@now) - open_start.
CREATE TABLE account_totals (
    email               text PRIMARY KEY REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    -- Payments that count, and the number of all.
    paid                numeric NOT NULL DEFAULT 0 CHECK (paid >= 0),
    payments            bigint NOT NULL DEFAULT 0 CHECK (payments >= 0),
    -- Closed spans; then price, and price times epoch of the beginning, of the open ones.
    used                numeric NOT NULL DEFAULT 0 CHECK (used >= 0),
    open_rate           numeric NOT NULL DEFAULT 0 CHECK (open_rate >= 0),
    open_start          numeric NOT NULL DEFAULT 0,
    -- VMs that have a span; VMs that are not deleted, and their price.
    charged_vms         bigint NOT NULL DEFAULT 0 CHECK (charged_vms >= 0),
    vms                 bigint NOT NULL DEFAULT 0 CHECK (vms >= 0),
    dollars_per_month   numeric NOT NULL DEFAULT 0 CHECK (dollars_per_month >= 0),
    -- Grows with each change of a VM that the list of VMs shows.
    changes             bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- Closed spans of one VM, by the account that paid. Not in vms: that row is wide, and every change of it is told to
-- those who wait for it.
CREATE TABLE vm_totals (
    vm                  text NOT NULL REFERENCES vms ON DELETE CASCADE,
    email               text NOT NULL REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE,
    used                numeric NOT NULL DEFAULT 0 CHECK (used >= 0),
    -- Open ones included.
    spans               bigint NOT NULL DEFAULT 0 CHECK (spans >= 0),
    PRIMARY KEY (vm, email)
) WITH (fillfactor = 70);
CREATE INDEX vm_totals_email ON vm_totals (email);

-- Of VMs that are not deleted.
ALTER TABLE hosts ADD COLUMN vms integer NOT NULL DEFAULT 0 CHECK (vms >= 0);
ALTER TABLE hosts ADD COLUMN vcpus_used integer NOT NULL DEFAULT 0 CHECK (vcpus_used >= 0);
ALTER TABLE hosts ADD COLUMN memory_used_mb bigint NOT NULL DEFAULT 0 CHECK (memory_used_mb >= 0);
ALTER TABLE hosts ADD COLUMN disk_used_gb bigint NOT NULL DEFAULT 0 CHECK (disk_used_gb >= 0);

-- There is no arithmetic with an infinite time.
ALTER TABLE usage_spans ADD CONSTRAINT usage_spans_finite
    CHECK (isfinite(lower(span)) AND isfinite(coalesce(upper(span), lower(span)))) NOT VALID;

CREATE FUNCTION add_account_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_totals (email) VALUES (NEW.email) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

-- Whose totals an old row is in: when an account is renamed, its totals are renamed too, and nothing moves.
CREATE FUNCTION account_of(old_email text, new_email text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN new_email IS NULL OR old_email = new_email OR EXISTS (SELECT FROM accounts WHERE email = old_email)
        THEN old_email ELSE new_email END
$$;

-- In the order of email, so that two that lock several do not wait for each other.
CREATE FUNCTION lock_account_totals(emails text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM account_totals WHERE email = ANY(emails) ORDER BY email FOR NO KEY UPDATE;
END $$;

CREATE TYPE payment_change AS (email text, paid numeric, payments bigint);

-- What one payment adds; factor is -1 for one that is taken out.
CREATE FUNCTION paid_by(email text, invalidated boolean, dollars numeric, factor integer) RETURNS payment_change
    LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(email, CASE WHEN invalidated THEN 0 ELSE factor * dollars END, factor)::payment_change
$$;

CREATE FUNCTION count_payments() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts payment_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        parts := (SELECT array_agg(paid_by(email, invalidated, dollars, 1)) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        parts := (SELECT array_agg(paid_by(email, invalidated, dollars, -1)) FROM old_rows);
    ELSE
        parts := (SELECT array_agg(p) FROM (
            SELECT paid_by(n.email, n.invalidated, n.dollars, 1) AS p FROM new_rows n
            UNION ALL
            SELECT paid_by(account_of(o.email, n.email), o.invalidated, o.dollars, -1)
            FROM old_rows o LEFT JOIN new_rows n USING (id)) AS both_sides);
    END IF;
    parts := (SELECT array_agg(ROW(s.email, s.paid, s.payments)::payment_change) FROM (
        SELECT p.email, sum(p.paid) AS paid, sum(p.payments) AS payments FROM unnest(parts) AS p
        GROUP BY p.email HAVING sum(p.paid) <> 0 OR sum(p.payments) <> 0) AS s);
    IF parts IS NULL THEN RETURN NULL; END IF;
    PERFORM lock_account_totals((SELECT array_agg(p.email) FROM unnest(parts) AS p));
    UPDATE account_totals t SET paid = t.paid + p.paid, payments = t.payments + p.payments
    FROM unnest(parts) AS p WHERE t.email = p.email;
    RETURN NULL;
END $$;

CREATE TYPE usage_change AS (email text, vm text, used numeric, open_rate numeric, open_start numeric, spans bigint);

-- What one span adds.
CREATE FUNCTION usage_of(email text, vm text, span tstzrange, dollars_per_month numeric, factor integer)
    RETURNS usage_change LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(email, vm,
        CASE WHEN upper_inf(span) THEN 0
            ELSE factor * dollars_per_month * (extract(epoch FROM upper(span)) - extract(epoch FROM lower(span))) END,
        CASE WHEN upper_inf(span) THEN factor * dollars_per_month ELSE 0 END,
        CASE WHEN upper_inf(span) THEN factor * dollars_per_month * extract(epoch FROM lower(span)) ELSE 0 END,
        factor)::usage_change
$$;

CREATE FUNCTION count_usage() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    parts usage_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        parts := (SELECT array_agg(usage_of(email, vm, span, dollars_per_month, 1)) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        parts := (SELECT array_agg(usage_of(email, vm, span, dollars_per_month, -1)) FROM old_rows);
    ELSE
        parts := (SELECT array_agg(p) FROM (
            SELECT usage_of(n.email, n.vm, n.span, n.dollars_per_month, 1) AS p FROM new_rows n
            UNION ALL
            SELECT usage_of(account_of(o.email, n.email), o.vm, o.span, o.dollars_per_month, -1)
            FROM old_rows o LEFT JOIN new_rows n USING (id)) AS both_sides);
    END IF;
    parts := (SELECT array_agg(ROW(s.*)::usage_change) FROM (
        SELECT p.email, p.vm, sum(p.used) AS used, sum(p.open_rate) AS open_rate, sum(p.open_start) AS open_start,
            sum(p.spans)::bigint AS spans
        FROM unnest(parts) AS p GROUP BY p.email, p.vm) AS s
        WHERE s.used <> 0 OR s.open_rate <> 0 OR s.open_start <> 0 OR s.spans <> 0);
    IF parts IS NULL THEN RETURN NULL; END IF;
    -- The row of the account guards those of its VMs.
    PERFORM lock_account_totals((SELECT array_agg(DISTINCT p.email) FROM unnest(parts) AS p));
    WITH changed AS (
        UPDATE vm_totals t SET used = t.used + p.used, spans = t.spans + p.spans
        FROM unnest(parts) AS p WHERE t.vm = p.vm AND t.email = p.email
        RETURNING t.email, (t.spans > 0)::integer - (t.spans - p.spans > 0)::integer AS charged
    ), added AS (
        INSERT INTO vm_totals (vm, email, used, spans)
        SELECT p.vm, p.email, p.used, p.spans FROM unnest(parts) AS p
        WHERE NOT EXISTS (SELECT FROM vm_totals t WHERE t.vm = p.vm AND t.email = p.email)
        RETURNING email, (spans > 0)::integer AS charged
    ), sums AS (
        SELECT s.email, sum(s.used) AS used, sum(s.open_rate) AS open_rate, sum(s.open_start) AS open_start,
            sum(s.charged) AS charged
        FROM (
            SELECT p.email, p.used, p.open_rate, p.open_start, 0 AS charged FROM unnest(parts) AS p
            UNION ALL SELECT email, 0, 0, 0, charged FROM changed
            UNION ALL SELECT email, 0, 0, 0, charged FROM added) AS s
        GROUP BY s.email
    )
    UPDATE account_totals t SET used = t.used + s.used, open_rate = t.open_rate + s.open_rate,
        open_start = t.open_start + s.open_start, charged_vms = t.charged_vms + s.charged
    FROM sums s WHERE t.email = s.email;
    RETURN NULL;
END $$;

CREATE TYPE vm_change AS (email text, host text, vms integer, dollars_per_month numeric, vcpus integer,
    memory_mb integer, disk_gb integer, changes integer);

-- What one VM takes: nothing if it is deleted.
CREATE FUNCTION taken_by(email text, host text, deleted timestamptz, dollars_per_month numeric, vcpus integer,
    memory_mb integer, disk_gb integer, factor integer, changes integer) RETURNS vm_change LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN deleted IS NULL
        THEN ROW(email, host, factor, factor * dollars_per_month, factor * vcpus, factor * memory_mb, factor * disk_gb,
            changes)::vm_change
        ELSE ROW(email, host, 0, 0, 0, 0, 0, changes)::vm_change END
$$;

CREATE FUNCTION count_vms() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE FUNCTION clear_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'payments' THEN
        UPDATE account_totals SET paid = 0, payments = 0 WHERE payments <> 0;
    ELSIF TG_TABLE_NAME = 'usage_spans' THEN
        DELETE FROM vm_totals;
        UPDATE account_totals SET used = 0, open_rate = 0, open_start = 0, charged_vms = 0 WHERE charged_vms <> 0;
    ELSE
        UPDATE hosts SET vms = 0, vcpus_used = 0, memory_used_mb = 0, disk_used_gb = 0 WHERE vms <> 0;
        UPDATE account_totals SET vms = 0, dollars_per_month = 0, changes = changes + 1 WHERE vms <> 0;
    END IF;
    RETURN NULL;
END $$;

-- First the triggers: from then on nobody else can write to these tables until the sums are there.
CREATE TRIGGER accounts_totalled AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION add_account_totals();
CREATE TRIGGER vms_counted_insert AFTER INSERT ON vms REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_vms();
CREATE TRIGGER vms_counted_update AFTER UPDATE ON vms REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_vms();
CREATE TRIGGER vms_counted_delete AFTER DELETE ON vms REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_vms();
CREATE TRIGGER vms_counted_truncate AFTER TRUNCATE ON vms FOR EACH STATEMENT EXECUTE FUNCTION clear_totals();
CREATE TRIGGER usage_spans_counted_insert AFTER INSERT ON usage_spans REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_usage();
CREATE TRIGGER usage_spans_counted_update AFTER UPDATE ON usage_spans
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_usage();
CREATE TRIGGER usage_spans_counted_delete AFTER DELETE ON usage_spans REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_usage();
CREATE TRIGGER usage_spans_counted_truncate AFTER TRUNCATE ON usage_spans
    FOR EACH STATEMENT EXECUTE FUNCTION clear_totals();
CREATE TRIGGER payments_counted_insert AFTER INSERT ON payments REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_payments();
CREATE TRIGGER payments_counted_update AFTER UPDATE ON payments REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_payments();
CREATE TRIGGER payments_counted_delete AFTER DELETE ON payments REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_payments();
CREATE TRIGGER payments_counted_truncate AFTER TRUNCATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION clear_totals();

INSERT INTO vm_totals (vm, email, used, spans)
SELECT s.vm, s.email,
    coalesce(sum(s.dollars_per_month * (extract(epoch FROM upper(s.span)) - extract(epoch FROM lower(s.span))))
        FILTER (WHERE NOT upper_inf(s.span)), 0),
    count(*)
FROM usage_spans s GROUP BY s.vm, s.email;

INSERT INTO account_totals (email, paid, payments, used, open_rate, open_start, charged_vms, vms, dollars_per_month)
SELECT a.email, coalesce(p.paid, 0), coalesce(p.payments, 0), coalesce(c.used, 0), coalesce(o.open_rate, 0),
    coalesce(o.open_start, 0), coalesce(c.charged_vms, 0), coalesce(v.vms, 0), coalesce(v.dollars_per_month, 0)
FROM accounts a
    LEFT JOIN (SELECT email, coalesce(sum(dollars) FILTER (WHERE NOT invalidated), 0) AS paid, count(*) AS payments
        FROM payments GROUP BY email) AS p ON p.email = a.email
    LEFT JOIN (SELECT email, sum(used) AS used, count(*) AS charged_vms FROM vm_totals GROUP BY email) AS c
        ON c.email = a.email
    LEFT JOIN (SELECT email, sum(dollars_per_month) AS open_rate,
            sum(dollars_per_month * extract(epoch FROM lower(span))) AS open_start
        FROM usage_spans WHERE upper_inf(span) GROUP BY email) AS o ON o.email = a.email
    LEFT JOIN (SELECT email, count(*) AS vms, sum(dollars_per_month) AS dollars_per_month
        FROM vms WHERE deleted IS NULL GROUP BY email) AS v ON v.email = a.email;

UPDATE hosts h SET vms = s.vms, vcpus_used = s.vcpus, memory_used_mb = s.memory_mb, disk_used_gb = s.disk_gb
FROM (SELECT host, count(*) AS vms, sum(vcpus) AS vcpus, sum(memory_mb) AS memory_mb, sum(disk_gb) AS disk_gb
    FROM vms WHERE deleted IS NULL GROUP BY host) AS s
WHERE h.id = s.host;
