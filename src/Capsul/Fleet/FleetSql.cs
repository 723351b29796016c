namespace Capsul.Fleet;

/// <summary>What the database says about a fleet.</summary>
/// <param name="Online">Hosts that are online.</param>
/// <param name="Reported">VMs reported to be on and ready (phase READY) under their latest wanted state.</param>
/// <param name="Changed">VMs that are no longer running.</param>
public sealed record FleetStateRow(int Online, int Reported, int Changed);

/// <summary>Counters of the database server since some fixed moment.</summary>
/// <param name="Generations">Changes of wanted states.</param>
/// <param name="Wal">Bytes of write-ahead log.</param>
/// <param name="MultiXacts">Locks shared by several transactions.</param>
/// <param name="Commits">Transactions of this database.</param>
/// <param name="Backend">Process ID of the server's end of this connection.</param>
public sealed record FleetCountersRow(long Generations, long Wal, long MultiXacts, long Commits, int Backend);

/// <summary>
/// Fills an empty database with the rows that the Hub's own statements would have left, had it created each VM and then
/// lost sight of its host: running, charged until the last report, and unknown since. Set-based, some thousand VMs a
/// statement. Everything is written by <c>capsul fleet</c> only.
/// </summary>
public static class FleetSql
{
    public const string IsEmpty = """
        -- FleetSql.IsEmpty
        SELECT NOT EXISTS (SELECT FROM hosts) AND NOT EXISTS (SELECT FROM vms) AND NOT EXISTS (SELECT FROM accounts)
        """;

    public const string AddImage = """
        -- FleetSql.AddImage
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        VALUES (@id, @title, @loginUser, @minDiskGb, @minMemoryMb)
        """;

    public const string AddAccounts = """
        -- FleetSql.AddAccounts
        INSERT INTO accounts (email, created) SELECT email, @created FROM unnest(@emails::text[]) AS a (email)
        """;

    public const string AddPayments = """
        -- FleetSql.AddPayments
        INSERT INTO payments (created, email, dollars, method)
        SELECT @created, email, 1000000, 'cash' FROM unnest(@emails::text[]) AS a (email)
        """;

    public const string AddKeys = """
        -- FleetSql.AddKeys
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, @name, 'ssh-ed25519', key, fingerprint, @created
        FROM unnest(@emails::text[], @keys::text[], @fingerprints::text[]) AS a (email, key, fingerprint)
        """;

    public const string AddAddresses = """
        -- FleetSql.AddAddresses
        INSERT INTO addresses (host, address, mac)
        SELECT h.id, a.address::inet, a.mac::macaddr
        FROM unnest(@hosts::text[]) AS h (id) CROSS JOIN unnest(@addresses::text[], @macs::text[]) AS a (address, mac)
        """;

    public const string AddVms = """
        -- FleetSql.AddVms
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed, observed_generation, observed_at,
            phase, ssh_host, ssh_port, has_run)
        SELECT v.id, v.email, v.name, s.id, i.id, @sha256, i.login_user, v.host, @created, s.dollars_per_month,
            s.vcpus, s.memory_mb, s.disk_gb, 'running', 'on', v.generation, 'unknown', v.generation, @seen,
            6, @sshHost, v.port, TRUE
        FROM unnest(@ids::text[], @emails::text[], @names::text[], @hosts::text[], @generations::bigint[],
                @ports::integer[]) AS v (id, email, name, host, generation, port)
            JOIN sizes s ON s.id = @size JOIN images i ON i.id = @image
        """;

    public const string TakeAddresses = """
        -- FleetSql.TakeAddresses
        UPDATE addresses a SET vm = v.id
        FROM unnest(@ids::text[], @hosts::text[], @addresses::text[]) AS v (id, host, address)
        WHERE a.host = v.host AND a.address = v.address::inet
        """;

    public const string AddVmKeys = """
        -- FleetSql.AddVmKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT v.id, k.name, k.type, k.key FROM vms v JOIN ssh_keys k ON k.email = v.email WHERE v.id = ANY(@ids)
        """;

    public const string AddHostKeys = """
        -- FleetSql.AddHostKeys
        INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint)
        SELECT id, 'ssh-ed25519', key, fingerprint
        FROM unnest(@ids::text[], @keys::text[], @fingerprints::text[]) AS v (id, key, fingerprint)
        """;

    public const string AddOperations = """
        -- FleetSql.AddOperations
        WITH done AS (
            INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished)
            SELECT @kind, id, email, @step, 'done', @ran, created, created + interval '5 minutes', @ran
            FROM vms WHERE id = ANY(@ids) RETURNING id, vm, created)
        INSERT INTO operation_events (operation, at, step, message)
        SELECT done.id, CASE WHEN line.n = 1 THEN done.created ELSE @ran END, line.step,
            CASE WHEN line.n = 1 THEN line.message || v.host ELSE line.message END
        FROM done JOIN vms v ON v.id = done.vm
            CROSS JOIN unnest(@steps::text[], @messages::text[]) WITH ORDINALITY AS line (step, message, n)
        ORDER BY done.id, line.n
        """;

    public const string AddUsage = """
        -- FleetSql.AddUsage
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT id, email, tstzrange(@ran, @seen), dollars_per_month FROM vms WHERE id = ANY(@ids)
        """;

    public const string AddAudit = """
        -- FleetSql.AddAudit
        INSERT INTO audit_lines (at, actor, action, subject, detail)
        SELECT created, email, @kind, id, size || ' ' || image || ' on ' || host FROM vms WHERE id = ANY(@ids)
        """;

    public const string SetGenerations = """
        -- FleetSql.SetGenerations
        UPDATE hosts SET generation = @generation WHERE id = ANY(@hosts)
        """;

    /// <summary>Reads every VM: not for a display that goes on for hours.</summary>
    public const string State = """
        -- FleetSql.State
        SELECT (SELECT count(*) FROM hosts WHERE online)::integer AS online,
            count(*) FILTER (WHERE observed = 'on' AND observed_generation >= wanted_generation
                AND phase = 6)::integer AS reported,
            count(*) FILTER (WHERE state <> 'running')::integer AS changed
        FROM vms WHERE deleted IS NULL
        """;

    public const string Counters = """
        -- FleetSql.Counters
        SELECT (SELECT coalesce(sum(generation), 0) FROM hosts)::bigint AS generations,
            pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal, mxid_age('1'::xid)::bigint AS multi_xacts,
            (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits,
            pg_backend_pid() AS backend
        """;
}
