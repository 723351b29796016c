namespace Capsul.Bench;

/// <summary>Statements of the benches: data that the program itself would take years to write, and counters.</summary>
static class BenchSql
{
    /// <summary>What the Hub makes of hosts that have been silent: the state of their VMs is unknown.</summary>
    public const string LoseSight = """
        -- BenchSql.LoseSight
        WITH closed AS (
            UPDATE usage_spans SET span = tstzrange(lower(span), greatest(@now, lower(span) + interval '1 ms'))
            WHERE upper_inf(span)),
        offline AS (UPDATE hosts SET online = FALSE)
        UPDATE vms SET observed = 'unknown' WHERE deleted IS NULL
        """;

    /// <summary>Hosts that nobody has to connect for: never silent, with all their addresses.</summary>
    public const string AddHosts = """
        -- BenchSql.AddHosts
        INSERT INTO hosts (id, state, online, last_seen, cpus, memory_mb, disk_free_mb, disk_mb, hypervisor, version)
        SELECT id, 'joined', TRUE, now() + interval '10 years', 64, 1048576, 10000000, 10000000, 'none', '0'
        FROM unnest(@hosts::text[]) AS h (id)
        """;

    public const string AddHostImages = """
        -- BenchSql.AddHostImages
        INSERT INTO host_images (host, image, sha256, title, login_user, min_disk_gb, min_memory_mb)
        SELECT id, @image, @sha256, @image, 'capsul', 1, 128 FROM hosts
        """;

    /// <summary>As if every host had reported every VM.</summary>
    public const string Observe = """
        -- BenchSql.Observe
        UPDATE vms SET observed = 'on', observed_at = now()
        """;

    public const string OpenUsage = """
        -- BenchSql.OpenUsage
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT id, email, tstzrange(now(), NULL), dollars_per_month FROM vms
        """;

    /// <summary>Ten years of ten VMs that were on twice a day, and of payments twice a week.</summary>
    public const string AddHistory = """
        -- BenchSql.AddHistory
        WITH spans AS (
            INSERT INTO usage_spans (vm, email, span, dollars_per_month)
            SELECT v.id, v.email, tstzrange(t, t + interval '5 hours'), 7.5
            FROM (SELECT id, email FROM vms WHERE email = @email ORDER BY id LIMIT 10) v,
                generate_series(now() - interval '10 years', now() - interval '2 days', interval '12 hours') t)
        INSERT INTO payments (created, email, dollars, method)
        SELECT t, @email, 100, 'cash'
        FROM generate_series(now() - interval '10 years', now() - interval '2 days', interval '3 days') t
        """;

    public const string AddOperations = """
        -- BenchSql.AddOperations
        INSERT INTO operations (kind, vm, email, step, run_at, created, deadline_at)
        SELECT @kind, id, email, @step, now(), now(), now() + interval '1 day' FROM vms
        """;

    public const string MakeJobs = """
        -- BenchSql.MakeJobs
        CREATE TABLE jobs (id bigint PRIMARY KEY, step integer NOT NULL, run_at timestamptz NOT NULL,
            finished timestamptz)
        """;

    public const string IndexJobs = """
        -- BenchSql.IndexJobs
        CREATE INDEX jobs_due ON jobs (run_at) WHERE finished IS NULL
        """;

    public const string AddJobs = """
        -- BenchSql.AddJobs
        INSERT INTO jobs SELECT n, 0, now() FROM generate_series(1, @count) n
        """;

    public const string TakeJob = """
        -- BenchSql.TakeJob
        SELECT id FROM jobs WHERE finished IS NULL AND run_at <= @now ORDER BY run_at, id LIMIT 1
        FOR UPDATE SKIP LOCKED
        """;

    public const string SaveJob = """
        -- BenchSql.SaveJob
        UPDATE jobs SET step = step + 1, run_at = @now, finished = CASE WHEN step + 1 >= @steps THEN @now END
        WHERE id = @id
        """;

    public const string Vacuum = """
        -- BenchSql.Vacuum
        VACUUM (ANALYZE)
        """;

    /// <summary>The one query of a bare page.</summary>
    public const string Names = """
        -- BenchSql.Names
        SELECT name FROM vms WHERE email = @email AND deleted IS NULL ORDER BY created DESC, id
        """;

    /// <summary>A change that owners see, of VMs with these IDs.</summary>
    public const string Change = """
        -- BenchSql.Change
        UPDATE vms SET problem = @problem WHERE id = ANY(@ids)
        """;

    /// <summary>Rows that were read of the tables behind a list of VMs, ever.</summary>
    public const string Reads = """
        -- BenchSql.Reads
        SELECT coalesce(sum(seq_scan + idx_scan), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'vms'
        """;

    /// <summary>One operation that is due now.</summary>
    public const string Wake = """
        -- BenchSql.Wake
        UPDATE operations SET run_at = @now WHERE id = @id
        """;

    public const string IsStepped = """
        -- BenchSql.IsStepped
        SELECT run_at > @woken FROM operations WHERE id = @id
        """;

    public const string OpenOperation = """
        -- BenchSql.OpenOperation
        SELECT id FROM operations WHERE vm = @vm AND finished IS NULL
        """;

    public const string CountPayments = """
        -- BenchSql.CountPayments
        SELECT count(*)::integer FROM payments WHERE method = 'play' AND dollars = @dollars AND email LIKE 'payer-%'
        """;

    /// <summary>A host that is online and never answers, with an image that only it has.</summary>
    public const string AddSilentHost = """
        -- BenchSql.AddSilentHost
        INSERT INTO hosts (id, state, online, last_seen, cpus, memory_mb, disk_free_mb, disk_mb, hypervisor, version)
        VALUES (@host, 'joined', TRUE, now() + interval '10 years', 4, 4096, 100000, 100000, 'none', '0');
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        VALUES (@host, @host, 'capsul', 1, 128);
        INSERT INTO host_images (host, image, sha256) VALUES (@host, @host, repeat('a', 64));
        INSERT INTO addresses (host, address, mac) VALUES (@host, '10.99.0.2', '52:54:0a:63:00:02')
        """;

    /// <summary>Operations that are not finished, except one.</summary>
    public const string CountOpen = """
        -- BenchSql.CountOpen
        SELECT count(*)::integer FROM operations WHERE finished IS NULL AND id <> @operation
        """;

    /// <summary>Those of these VMs that do not have one create, which is done, one address, one charge.</summary>
    public const string CountWrongVms = """
        -- BenchSql.CountWrongVms
        SELECT count(*)::integer FROM unnest(@ids::text[]) AS i (id) WHERE NOT EXISTS (
            SELECT FROM vms v WHERE v.id = i.id AND v.state = 'running'
                AND (SELECT count(*) FROM operations o WHERE o.vm = v.id AND o.kind = 'create_vm') = 1
                AND (SELECT count(*) FROM operations o WHERE o.vm = v.id AND o.status = 'done') = 1
                AND (SELECT count(*) FROM addresses a WHERE a.vm = v.id) = 1
                AND (SELECT count(*) FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span)) = 1)
        """;

    /// <summary>Running VMs that are not charged exactly once, and others that are charged.</summary>
    public const string CountWrongCharges = """
        -- BenchSql.CountWrongCharges
        SELECT count(*)::integer FROM vms v WHERE (v.state = 'running')::integer
            <> (SELECT count(*) FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))
        """;

    public const string Accounts = """
        -- BenchSql.Accounts
        SELECT email FROM accounts
        """;

    /// <summary>VMs, at most @each of an account.</summary>
    public const string SomeVms = """
        -- BenchSql.SomeVms
        SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY email ORDER BY id) AS n FROM vms) AS v
        WHERE n <= @each ORDER BY id LIMIT @limit
        """;
}
