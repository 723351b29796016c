using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Dapper;

namespace Capsul.Tests.House;

/// <summary>
/// The cost of a statement follows what it returns, not the history, nor other people's VMs: with 10,000 living VMs and
/// ten years of one account, no statement reads a whole table that grows, and those of the main pages and the link read
/// about as much for that account as for a new one.
/// </summary>
public sealed partial class StatementCostTests
{
    const string Old = "old@example.org", OldVm = "capsul-old0000001", OldHost = "h1",
        New = "new@example.org", NewVm = "capsul-new0000001", NewHost = "h2";

    /// <summary>How much more may be read for ten years of history: an index can be a level deeper.</summary>
    const double Most = 1.5;

    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static readonly string[] Growing =
    [
        "vms", "usage_spans", "operations", "operation_events", "payments", "audit_lines", "mails", "addresses",
        "vm_ssh_keys", "vm_ssh_host_keys", "sessions", "sign_in_tokens", "operator_statements", "ssh_keys", "accounts",
        "account_totals", "vm_totals", "ledger_accounts", "ledger_transactions", "ledger_entries", "pools",
    ];

    /// <summary>Statements that may read all of a table, and why.</summary>
    static readonly Dictionary<string, string> Exceptions = new(StringComparer.Ordinal)
    {
        ["AccountSql.LockMany"] = "a lost database is rebuilt, a host at a time: its accounts may be all there are",
        ["RebuildSql.Contents"] = "only whether there is a row",
        ["BillingSql.AddMissing"] = "once an hour, all accounts are compared with their totals",
        ["BillingSql.CorrectAccounts"] = "the same; the planner takes a hundred of a thousand accounts for many",
        ["BillingSql.CorrectVms"] = "the same",
        ["MeteringSql.First"] = "once, before anything was ever posted",
        ["VerifyLedgerSql.Unbalanced"] = "once an hour, the whole ledger is compared with what it is made of",
        ["VerifyLedgerSql.Payments"] = "the same",
        ["VerifyLedgerSql.LostPayments"] = "the same",
        ["VerifyLedgerSql.Accounts"] = "the same",
        ["VerifyLedgerSql.Sums"] = "the same",
        ["VerifyLedgerSql.Counts"] = "the same",
        ["FleetSql.IsEmpty"] = "a rehearsal begins by making sure that there is nothing in the database",
        ["FleetSql.AddVmKeys"] = "a rehearsal fills the database: a thousand VMs at a time, all accounts in each",
        ["FleetSql.State"] = "a rehearsal shows what has become of all its VMs",
        ["HostChangeSql.DeleteUnused"] = "a host is removed rarely",
        ["OperationSql.LockOpenOnHost"] = "the same",
        ["VmRepairSql.LockOnHost"] = "a host is renamed rarely",
        ["VmRepairSql.DeletedButCharged"] = "once an hour, all spans of deleted VMs",
        ["VmRepairSql.DeletedButHeld"] = "once an hour, all addresses of deleted VMs",
        ["HostChangeSql.RaiseGeneration"] = "a repair of capsul fsck",
        ["RepairSql.Find"] = "capsul fsck compares everything, when somebody asks for it",
        ["HostSql.CorrectCounters"] = "once an hour, a hundred hosts are compared with their VMs",
    };

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Cost_follows_what_is_returned()
    {
        await using var database = await TestDatabase.CreateAsync();
        await FillAsync(database);
        await NoStatementReadsAWholeTableThatGrowsAsync(database.Db);
        await TenYearsCostNoMoreThanADayAsync(database.Db);
    }

    static async Task NoStatementReadsAWholeTableThatGrowsAsync(Db db)
    {
        // Pooled connections plan each statement for any value of its parameters.
        await using var connection = await db.OpenAsync(Cancel);
        var found = new List<string>();
        foreach (var (name, sql) in SqlTests.Statements()
            .Where(s => !SqlTests.CannotBePrepared.Contains(s.Name, StringComparer.Ordinal)))
        {
            var positional = SqlTests.Positional(sql);
            await connection.ExecuteAsync($"PREPARE s AS {positional}");
            var count = Position().Matches(positional).Select(m => int.Parse(m.ValueSpan[1..], NumberStyles.None,
                CultureInfo.InvariantCulture)).DefaultIfEmpty(0).Max();
            var nulls = count == 0 ? "" : $"({string.Join(", ", Enumerable.Repeat("NULL", count))})";
            var plan = string.Join('\n', await connection.QueryAsync<string>($"EXPLAIN EXECUTE s{nulls}"));
            await connection.ExecuteAsync("DEALLOCATE s");
            var whole = WholeTable().Matches(plan).Select(m => m.Groups["table"].Value)
                .Where(t => Growing.Contains(t, StringComparer.Ordinal)).Distinct(StringComparer.Ordinal).ToList();
            if (whole.Count > 0 && !Exceptions.ContainsKey(name))
                found.Add($"{name} reads all of {string.Join(", ", whole)}:\n{plan}\n");
        }
        found.ShouldBeEmpty();
        Exceptions.Keys.Except(SqlTests.Statements().Select(s => s.Name), StringComparer.Ordinal).ShouldBeEmpty();
    }

    static async Task TenYearsCostNoMoreThanADayAsync(Db db)
    {
        var costly = new List<string>();
        foreach (var (name, sql, old, young) in Pairs())
        {
            var (much, little) = (await BuffersAsync(db, sql, old), await BuffersAsync(db, sql, young));
            if (much > little * Most) costly.Add($"{name}: {much} for ten years, {little} for a day");
        }
        costly.ShouldBeEmpty();
    }

    /// <summary>Statements of the main pages and of the link, asked about the old and about the new.</summary>
    static IEnumerable<(string Name, string Sql, object Old, object New)> Pairs()
    {
        foreach (var sql in (string[])[BillingSql.Balance, BillingSql.CountAlive, BillingSql.CountPayments,
            BillingSql.Changes, BillingSql.CostOfVms, BillingSql.CountCosts, VmPageSql.ListByNewest,
            VmPageSql.ListByName, VmPageSql.ListByPrice])
            yield return (NameOf(sql), sql, OfAccount(Old), OfAccount(New));
        yield return (NameOf(PaymentSql.List), PaymentSql.List, new { email = Old, after = 0, limit = 5 },
            new { email = New, after = 0, limit = 5 });
        foreach (var sql in (string[])[LedgerPageSql.Posted, LedgerPageSql.Statement, LedgerPageSql.FindCustomer])
            yield return (NameOf(sql), sql, new { email = Old, after = 0L, limit = 10 },
                new { email = New, after = 0L, limit = 10 });
        foreach (var sql in (string[])[BillingSql.CostOfVm, VmSql.Find, VmPageSql.Version, VmSql.LockAny,
            VmSql.OpenUsage, VmSql.CloseUsage, VmSql.HostKeys, OperationSql.Newest, OperationSql.OpenOf,
            OperationSql.WakeFromHost])
            yield return (NameOf(sql), sql, OfVm(Old, OldVm, OldHost), OfVm(New, NewVm, NewHost));
        yield return (NameOf(HostSql.Wanted), HostSql.Wanted, new { host = OldHost, since = 0L },
            new { host = NewHost, since = 0L });
        foreach (var sql in (string[])[PlaceSql.FindBest, PlaceSql.LockFree])
            yield return (NameOf(sql), sql, Needs(Old), Needs(New));
    }

    static object OfAccount(string email) =>
        new { email, now = Now, search = "", state = "", after = "", limit = 5 };

    static object OfVm(string email, string vm, string host) =>
        new { id = vm, ids = new[] { vm }, vm, email, host, now = Now };

    static object Needs(string email) => new
    {
        email,
        image = "tiny",
        memoryMb = 512,
        diskGb = 25,
        vcpus = 1,
        diskFactor = 2m,
        buildSlots = (int?)null,
        not = Array.Empty<string>(),
        now = Now,
        limit = 16,
    };

    static string NameOf(string sql) => sql.TrimStart()[3..].Split('\n', 2)[0];

    /// <summary>Buffers that the statement touches, not counting the planner; nothing is kept.</summary>
    static async Task<long> BuffersAsync(Db db, string sql, object parameters)
    {
        await using var connection = await db.OpenAsync(Cancel);
        await using var transaction = await connection.BeginTransactionAsync(Cancel);
        var names = new List<string>();
        await connection.ExecuteAsync($"PREPARE s AS {SqlTests.Positional(sql, names)}");
        var values = string.Join(", ", names.Select(n => Literal(ValueOf(parameters, n[1..]))));
        var text = await connection.QuerySingleAsync<string>(
            $"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE s{(values.Length > 0 ? $"({values})" : "")}");
        await connection.ExecuteAsync("DEALLOCATE s");
        await transaction.RollbackAsync(Cancel);
        using var plan = JsonDocument.Parse(text);
        return Read(plan.RootElement[0].GetProperty("Plan"));
    }

    static object? ValueOf(object parameters, string name) => parameters.GetType().GetProperties()
        .Single(p => p.Name.Equals(name, StringComparison.OrdinalIgnoreCase)).GetValue(parameters);

    static string Literal(object? value) => value switch
    {
        null => "NULL",
        string text => $"'{text}'",
        string[] texts => $"'{{{string.Join(',', texts)}}}'",
        DateTime time => string.Create(CultureInfo.InvariantCulture, $"'{time:O}'"),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => throw new NotSupportedException($"{value.GetType()} as a literal"),
    };

    /// <summary>
    /// What a plan reads. Of a change that is what it reads to find the rows: what it writes depends on where there
    /// happens to be room.
    /// </summary>
    static long Read(JsonElement plan) => plan.GetProperty("Node Type").GetString() == "ModifyTable"
        ? plan.TryGetProperty("Plans", out var parts) ? parts.EnumerateArray().Sum(Read) : 0
        : plan.GetProperty("Shared Hit Blocks").GetInt64() + plan.GetProperty("Shared Read Blocks").GetInt64();

    static async Task FillAsync(TestDatabase database)
    {
        var db = database.Db;
        await using (var connection = await db.OpenAloneAsync("fill", Cancel))
        {
            await connection.ExecuteAsync(FillSql, new { now = Now }, commandTimeout: 300);
            await connection.ExecuteAsync("VACUUM (ANALYZE)", commandTimeout: 300);
        }
        var epoch = await db.FindAsync<long>("UPDATE seat SET epoch = epoch + 1 RETURNING epoch", null, Cancel);
        var settings = Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" });
        await new CounterCheck(database.Fence, settings, TimeProvider.System).LookAsync(epoch, Cancel);
        await db.ExecuteAsync("ANALYZE account_totals; ANALYZE vm_totals; ANALYZE hosts", null, Cancel);
    }

    /// <summary>
    /// Without triggers and foreign keys, and without the constraint on spans, which take most of the time; the
    /// counters are computed afterward.
    /// </summary>
    const string FillSql = """
        SET session_replication_role = replica;
        SET synchronous_commit = off;
        ALTER TABLE usage_spans DROP CONSTRAINT usage_spans_no_overlap;
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, 1000) AS n
            UNION ALL SELECT unnest(ARRAY['old@example.org', 'new@example.org']);
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'Tiny', 'u', 1, 64);
        INSERT INTO hosts (id, state, online, cpus, memory_mb, disk_free_mb, last_seen, certificate)
        SELECT 'h' || n, 'joined', TRUE, 64, 65536 + n, 1000000, @now, sha256(n::text::bytea)
        FROM generate_series(1, 200) AS n;
        INSERT INTO host_images (host, image, sha256) SELECT id, 'tiny', repeat('a', 64) FROM hosts;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, deleted,
            dollars_per_month, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed,
            observed_generation)
        SELECT id, email, name, 'f1-s', 'tiny', repeat('a', 64), 'u', host, created, deleted, 7.50, 1, 1024, 25,
            CASE WHEN deleted IS NULL THEN 'running' ELSE 'deleted' END,
            CASE WHEN deleted IS NULL THEN 'on' ELSE 'gone' END, generation,
            CASE WHEN deleted IS NULL THEN 'on' ELSE 'gone' END, generation
        FROM (
            SELECT 'capsul-' || lpad(n::text, 10, 'u') AS id, 'user' || (n % 1000 + 1) || '@example.org' AS email,
                'n' || n AS name, 'h' || (n % 200 + 1) AS host, @now - interval '1 hour' * n AS created,
                NULL::timestamptz AS deleted, n AS generation
            FROM generate_series(1, 10000) AS n
            UNION ALL
            SELECT 'capsul-old' || lpad(n::text, 7, '0'), 'old@example.org', 'old' || n,
                CASE WHEN n > 20 THEN 'h1' ELSE 'h' || (n + 10) END, @now - interval '17 hours' * n,
                CASE WHEN n > 20 THEN @now - interval '17 hours' * n + interval '1 hour' END, n
            FROM generate_series(1, 5000) AS n
            UNION ALL
            SELECT 'capsul-new' || lpad(n::text, 7, '0'), 'new@example.org', 'new' || n, 'h' || (n + 30),
                @now - interval '1 hour' * n, NULL, n
            FROM generate_series(1, 20) AS n) AS v;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(@now - interval '1 day' * (n + 1), @now - interval '1 day' * n), 7.50
        FROM vms v, generate_series(1, 17) AS n WHERE v.email LIKE 'user%'
        UNION ALL
        SELECT 'capsul-old0000001', 'old@example.org', tstzrange(@now - interval '6 hours' * (n + 1),
            @now - interval '6 hours' * n), 7.50 FROM generate_series(1, 14600) AS n
        UNION ALL
        SELECT v.id, v.email, tstzrange(v.created, v.deleted), 7.50 FROM vms v WHERE v.deleted IS NOT NULL
        UNION ALL
        SELECT v.id, v.email, tstzrange(@now - interval '1 hour', NULL), 7.50 FROM vms v WHERE v.deleted IS NULL;
        INSERT INTO operations (kind, vm, email, step, status, run_at, created, deadline_at, finished)
        SELECT 'start_vm', v.id, v.email, 'power', 'done', @now, @now, @now, @now
        FROM vms v, generate_series(1, 4) AS n
        UNION ALL
        SELECT 'start_vm', 'capsul-old0000001', 'old@example.org', 'power', 'done', @now, @now, @now, @now
        FROM generate_series(1, 5000) AS n;
        INSERT INTO operation_events (operation, at, step, message) SELECT id, @now, 'phase', 'Started' FROM operations;
        INSERT INTO payments (email, created, dollars, method)
        SELECT a.email, @now, 5, 'cash' FROM accounts a, generate_series(1, 20) AS n
        UNION ALL SELECT 'old@example.org', @now, 5, 'cash' FROM generate_series(1, 3000) AS n;
        INSERT INTO ledger_accounts (type, email) SELECT 'customer', email FROM accounts;
        INSERT INTO ledger_transactions (at, kind, entries, payment, turn)
        SELECT created, 'payment', 2, id, 1 FROM payments;
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT t.id, 1, 2, 2, p.dollars FROM ledger_transactions t JOIN payments p ON p.id = t.payment
        UNION ALL SELECT t.id, 2, 2, a.id, -p.dollars FROM ledger_transactions t JOIN payments p ON p.id = t.payment
            JOIN ledger_accounts a ON a.email = p.email;
        INSERT INTO ledger_transactions (at, kind, entries)
        SELECT date_trunc('hour', @now) - interval '1 hour' * n, 'usage', 3
        FROM generate_series(20000, 0, -1) AS n;
        INSERT INTO ledger_entries (transaction, line, entries, account, amount, hour)
        SELECT t.id, 1, 3, (SELECT id FROM ledger_accounts WHERE email = 'old@example.org'), 0.01, t.at
        FROM ledger_transactions t WHERE kind = 'usage'
        UNION ALL SELECT t.id, 2, 3, (SELECT id FROM ledger_accounts WHERE email = 'new@example.org'), 0.01, t.at
        FROM ledger_transactions t WHERE kind = 'usage' AND t.at > @now - interval '3 days'
        UNION ALL SELECT t.id, 3, 3, 1, -0.02, NULL FROM ledger_transactions t WHERE kind = 'usage';
        INSERT INTO addresses (host, address, mac, vm)
        SELECT h.id, '10.77.0.0'::inet + n, ('52:54:00:00:00:' || lpad(to_hex(n), 2, '0'))::macaddr, NULL
        FROM hosts h, generate_series(2, 101) AS n;
        INSERT INTO pools (host, family, network, gateway, first, last)
        SELECT id, 4, '10.77.0.0/24', '10.77.0.1', '10.77.0.2', '10.77.0.101' FROM hosts;
        UPDATE addresses a SET vm = v.id FROM (
            SELECT id, host, row_number() OVER (PARTITION BY host ORDER BY id) AS n FROM vms WHERE deleted IS NULL) AS v
        WHERE a.host = v.host AND a.address = '10.77.0.0'::inet + v.n + 1;
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, 'k' || n, 't', 'k', 'f' || n, @now FROM accounts, generate_series(1, 5) AS n;
        INSERT INTO vm_ssh_keys (vm, name, type, key) SELECT id, 'k', 't', 'k' FROM vms;
        INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint) SELECT id, 't', 'k', 'f' FROM vms;
        INSERT INTO sessions (id_hash, email, created, expires)
        SELECT sha256((email || n)::bytea), email, @now, @now + interval '1 day' * (n - 2)
        FROM accounts, generate_series(1, 5) AS n;
        INSERT INTO sign_in_tokens (token_hash, email, ip, created, expires)
        SELECT sha256((email || n)::bytea), email, '10.0.0.1'::inet + abs(hashtext(email) % 1000),
            @now - interval '1 hour' * n, @now - interval '1 hour' * n FROM accounts, generate_series(1, 10) AS n;
        INSERT INTO mails (recipient, subject, body, created, run_at, sent)
        SELECT email, 's', 'b', @now, @now, @now FROM accounts, generate_series(1, 10) AS n;
        INSERT INTO audit_lines (actor, action, subject) SELECT email, 'start', id FROM vms;
        INSERT INTO operator_statements (operator, statement) SELECT 'o', id FROM vms;
        """;

    [GeneratedRegex(@"\$\d+", RegexOptions.None, 1000)]
    private static partial Regex Position();

    [GeneratedRegex(@"Seq Scan on (?<table>[a-z_]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex WholeTable();
}
