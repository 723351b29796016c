namespace Capsul.Bench;

/// <summary>Statements of the benches of the ledger and of metering.</summary>
static class LedgerBenchSql
{
    public const string AddCustomers = """
        -- LedgerBenchSql.AddCustomers
        WITH added AS (
            INSERT INTO accounts (email) SELECT 'customer' || n || '@example.org' FROM generate_series(1, @count) AS n
            RETURNING email)
        INSERT INTO ledger_accounts (type, email) SELECT 'customer', email FROM added
        """;

    /// <summary>What a posting is, without any rule: the same columns and primary keys.</summary>
    public const string MakeBare = """
        -- LedgerBenchSql.MakeBare
        CREATE TABLE bare_transactions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL,
            kind text NOT NULL, entries integer NOT NULL);
        CREATE TABLE bare_entries (transaction bigint NOT NULL, line integer NOT NULL, account bigint NOT NULL,
            amount numeric NOT NULL, PRIMARY KEY (transaction, line));
        CREATE TABLE bare_totals (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL,
            posted numeric NOT NULL)
        """;

    /// <summary>
    /// For pgbench: as many rows in one transaction as a posting writes, which also changes one; as pgbench's own
    /// scripts are.
    /// </summary>
    public const string BareScript = """
        \set n random(1000, 1999)
        BEGIN;
        INSERT INTO bare_transactions (at, kind, entries) VALUES (now(), 'adjustment', 2);
        INSERT INTO bare_entries VALUES (currval('bare_transactions_id_seq'), 1, 2, 5),
            (currval('bare_transactions_id_seq'), 2, :n, -5);
        INSERT INTO bare_totals (email, posted) VALUES ('customer' || :n || '@example.org', 5);
        COMMIT;

        """;

    /// <summary>For pgbench: the same rows in the ledger, in one statement, as the program posts.</summary>
    public const string PostScript = """
        \set n random(1000, 1999)
        WITH added AS (
            INSERT INTO ledger_transactions (at, kind, entries) VALUES (now(), 'adjustment', 2) RETURNING id)
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT id, 1, 2, 2, 5 FROM added UNION ALL SELECT id, 2, 2, :n, -5 FROM added;

        """;

    /// <summary>For pgbench: a payment, which the database posts; a row and some counters more.</summary>
    public const string PayScript = """
        \set n random(1, 1000)
        INSERT INTO payments (email, dollars, method) VALUES ('customer' || :n || '@example.org', 5, 'cash');

        """;

    public const string CopyTransactions = """
        COPY ledger_transactions (id, at, kind, entries) FROM STDIN (FORMAT binary)
        """;

    public const string CopyEntries = """
        COPY ledger_entries (transaction, line, entries, account, amount, hour) FROM STDIN (FORMAT binary)
        """;

    public const string Customers = """
        -- LedgerBenchSql.Customers
        SELECT id, email FROM ledger_accounts WHERE email IS NOT NULL ORDER BY id
        """;

    /// <summary>VMs that are charged, one for each account, without hosts to look for them.</summary>
    public const string AddMetered = """
        -- LedgerBenchSql.AddMetered
        INSERT INTO accounts (email) SELECT 'metered' || n || '@example.org' FROM generate_series(1, @count) AS n;
        INSERT INTO hosts (id, state, online, last_seen) VALUES ('bench', 'joined', TRUE, now() + interval '1 year');
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('bench', 'B', 'u', 1, 64);
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed, observed_at)
        SELECT 'capsul-' || lpad(n::text, 10, 'm'), 'metered' || n || '@example.org', 'm', 'f1-s', 'bench', 'x', 'u',
            'bench', @began, 15, 1, 1024, 25, 'running', 'on', 1, 'on', now()
        FROM generate_series(1, @count) AS n;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT id, email, tstzrange(@began, NULL), dollars_per_month FROM vms
        """;

    /// <summary>
    /// Two accounts of one VM that is on: one that is new, and one with ten years of spans twice a day, payments, and
    /// posted hours.
    /// </summary>
    public const string AddAges = """
        -- LedgerBenchSql.AddAges
        INSERT INTO accounts (email) VALUES ('old@example.org'), ('new@example.org');
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', now() FROM accounts WHERE email ~ '^(old|new)@';
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed, observed_at)
        SELECT 'capsul-' || name || '0000000', name || '@example.org', name, 'f1-s', 'bench', 'x', 'u', 'bench',
            now() - CASE name WHEN 'old' THEN interval '10 years' ELSE interval '4 days' END, 7.5, 1, 1024, 25,
            'running', 'on', 1, 'on', now()
        FROM unnest(ARRAY['old', 'new']) AS a (name);
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT 'capsul-old0000000', 'old@example.org', tstzrange(t, t + interval '5 hours'), 7.5
        FROM generate_series(now() - interval '10 years', now() - interval '4 days', interval '12 hours') AS t;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT id, email, tstzrange(now() - interval '3 days', NULL), 7.5 FROM vms WHERE email ~ '^(old|new)@';
        INSERT INTO payments (created, email, dollars, method)
        SELECT t, 'old@example.org', 10, 'cash'
        FROM generate_series(now() - interval '10 years', now(), interval '3 days') AS t;
        INSERT INTO payments (email, dollars, method)
        SELECT 'new@example.org', 10, 'cash' FROM generate_series(1, 30);
        -- A row that is changed 87,600 times in one transaction takes minutes.
        ALTER TABLE ledger_entries DISABLE TRIGGER USER;
        WITH hours AS (
            SELECT date_trunc('hour', now()) - interval '1 hour' * n AS hour, n FROM generate_series(87600, 4, -1) AS n
        ), added AS (
            INSERT INTO ledger_transactions (at, kind, entries) SELECT hour, 'usage', CASE WHEN n > 96 THEN 2 ELSE 3 END
            FROM hours ORDER BY n DESC RETURNING id, at, entries
        )
        INSERT INTO ledger_entries (transaction, line, entries, account, amount, hour)
        SELECT id, 1, entries, (SELECT id FROM ledger_accounts WHERE type = 'usage_income'), 0.01 - 0.01 * entries, NULL
        FROM added
        UNION ALL
        SELECT id, 2, entries, (SELECT id FROM ledger_accounts WHERE email = 'old@example.org'), 0.01, at FROM added
        UNION ALL
        SELECT id, 3, entries, (SELECT id FROM ledger_accounts WHERE email = 'new@example.org'), 0.01, at FROM added
        WHERE entries = 3;
        ALTER TABLE ledger_entries ENABLE TRIGGER USER
        """;
}
