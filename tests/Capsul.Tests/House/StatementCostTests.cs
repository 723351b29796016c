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
using Npgsql;

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
        "provider_payments", "provider_refunds", "provider_events", "account_references", "bank_lines",
        "firewalls", "firewall_rules", "ports", "sites", "receipts", "billing_addresses", "provider_payouts",
        "payment_taxes", "saved_cards", "auto_top_ups",
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
        ["VerifyLedgerSql.Fees"] = "the same",
        ["VerifyLedgerSql.Payouts"] = "the same",
        ["VerifyLedgerSql.Taxes"] = "the same",
        ["VerifyLedgerSql.TaxSums"] = "the same",
        ["SizeSql.ListAll"] = "an operator looks at all sizes, with how many have each",
        ["ReconcileSql.PaidHere"] = "once a day, the payments of the last weeks are compared with the provider's",
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
        ["RepriceVmsSql.DeletedSince"] = "once for each price, when it comes into force",
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

    /// <summary>
    /// Where VMs have one span on average, the index of the constraint that no two overlap looks as good as the one
    /// by their end. It is not for the VM that has thousands.
    /// </summary>
    [Fact]
    public async Task Much_history_among_new_VMs_costs_as_little()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using (var connection = await database.Db.OpenAloneAsync("fill", Cancel))
        {
            await connection.ExecuteAsync(FillYoungSql, new { now = Now }, commandTimeout: 300);
            await connection.ExecuteAsync("VACUUM (ANALYZE)", commandTimeout: 300);
        }
        var costly = new List<string>();
        foreach (var sql in (string[])[BillingSql.CostOfVm, BillingSql.CostOfVms, VmSql.OpenUsage, VmSql.CloseUsage])
        {
            var one = sql == BillingSql.CostOfVms ? OfAccount(Old) : OfVm(Old, OldVm, OldHost);
            var read = await BuffersAsync(database.Db, sql, one);
            if (read > 50) costly.Add($"{NameOf(sql)} reads {read} pages");
        }
        costly.ShouldBeEmpty();
    }

    /// <summary>
    /// The index of the constraint on spans is for the constraint alone (decision 16), also where no other index
    /// would do.
    /// </summary>
    [Fact]
    public async Task No_statement_reads_the_index_of_the_constraint_on_spans()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var connection = await database.Db.OpenAloneAsync("plans", Cancel);
        await connection.ExecuteAsync("""
            DROP INDEX usage_spans_vm_end, usage_spans_email_end;
            SET enable_seqscan = off;
            SET enable_bitmapscan = off
            """);
        foreach (var (name, sql) in SqlTests.Statements()
            .Where(s => !SqlTests.CannotBePrepared.Contains(s.Name, StringComparer.Ordinal)))
            (await ExplainAsync(connection, sql)).ShouldNotContain("usage_spans_no_overlap", customMessage: name);
    }

    /// <summary>The plan for any value of the parameters.</summary>
    static async Task<string> ExplainAsync(NpgsqlConnection connection, string sql)
    {
        var positional = SqlTests.Positional(sql);
        await connection.ExecuteAsync($"PREPARE s AS {positional}");
        var count = Position().Matches(positional).Select(m => int.Parse(m.ValueSpan[1..], NumberStyles.None,
            CultureInfo.InvariantCulture)).DefaultIfEmpty(0).Max();
        var nulls = count == 0 ? "" : $"({string.Join(", ", Enumerable.Repeat("NULL", count))})";
        var plan = string.Join('\n', await connection.QueryAsync<string>($"EXPLAIN EXECUTE s{nulls}"));
        await connection.ExecuteAsync("DEALLOCATE s");
        return plan;
    }

    static async Task NoStatementReadsAWholeTableThatGrowsAsync(Db db)
    {
        // Pooled connections plan each statement for any value of its parameters.
        await using var connection = await db.OpenAsync(Cancel);
        var found = new List<string>();
        foreach (var (name, sql) in SqlTests.Statements()
            .Where(s => !SqlTests.CannotBePrepared.Contains(s.Name, StringComparer.Ordinal)))
        {
            var plan = await ExplainAsync(connection, sql);
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

    [GeneratedRegex(@"\$\d+", RegexOptions.None, 1000)]
    private static partial Regex Position();

    [GeneratedRegex(@"Seq Scan on (?<table>[a-z_]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex WholeTable();
}
