using System.Numerics;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Reconcilers;

public sealed class MeteringTests
{
    /// <summary>Accounts with a history of their own, and steps of all of them.</summary>
    const int Accounts = 200, Steps = 24;

    /// <summary>Two, or as many as TEST_METERING_SEEDS says.</summary>
    public static TheoryData<int> Seeds => new(Enumerable.Range(1, int.TryParse(
        Environment.GetEnvironmentVariable("TEST_METERING_SEEDS"), out var seeds) ? Math.Max(seeds, 2) : 2));

    static readonly BigInteger Month = new(2_630_016_000_000);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Metering MeteringOf(VmRows rows) => new(rows.Db, rows.Fence, rows.Time);

    [Fact]
    public async Task Each_hour_is_posted_once_and_the_remainder_is_carried()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE usage_spans SET dollars_per_month = 10", null, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(3) + Metering.After);
        (await MeteringOf(rows).CatchUpAsync(rows.Epoch, Cancel)).ShouldBe(3);
        (await MeteringOf(rows).CatchUpAsync(rows.Epoch, Cancel)).ShouldBe(0);
        // Ten dollars a month are 1.3688 cents an hour.
        (await EntriesAsync(rows)).ShouldBe(
            ["2026-03-01 13:00 0.01", "2026-03-01 14:00 0.01", "2026-03-01 15:00 0.02"]);
        await MeteringOf(rows).PostAsync(rows.Epoch, new DateTime(2026, 3, 1, 15, 0, 0, DateTimeKind.Utc), Cancel);
        (await EntriesAsync(rows)).Count.ShouldBe(3, "what is posted is not posted again");
        await AddsUpAsync(rows);
    }

    [Fact]
    public async Task A_span_that_was_closed_late_is_a_correction()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE usage_spans SET dollars_per_month = 100", null, Cancel);
        var began = rows.Now;
        rows.Time.Advance(TimeSpan.FromHours(2) + Metering.After);
        await MeteringOf(rows).CatchUpAsync(rows.Epoch, Cancel);
        await rows.Db.ExecuteAsync("UPDATE usage_spans SET span = tstzrange(lower(span), @at)",
            new { at = began + TimeSpan.FromMinutes(30) }, Cancel);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Waiting.Select(a => a.Email)
            .ShouldBe([VmRows.Email]);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await MeteringOf(rows).CatchUpAsync(rows.Epoch, Cancel);
        // A hundred dollars a month are 13.688 cents an hour.
        (await EntriesAsync(rows)).ShouldBe(["2026-03-01 13:00 0.13", "2026-03-01 14:00 0.14",
            "2026-03-01 15:00 -0.21 corrects"]);
        await AddsUpAsync(rows);
    }

    [Fact]
    public async Task A_Hub_that_was_away_for_a_week_posts_what_it_would_have_posted()
    {
        await using var steady = await VmRows.CreateAsync(Cancel);
        await using var away = await VmRows.CreateAsync(Cancel);
        foreach (var rows in (VmRows[])[steady, away]) await rows.RunningVmAsync(Cancel);
        for (var hour = 0; hour < 168; hour++)
        {
            steady.Time.Advance(TimeSpan.FromHours(1));
            away.Time.Advance(TimeSpan.FromHours(1));
            if (hour % 7 == 0) await MeteringOf(steady).CatchUpAsync(steady.Epoch, Cancel);
        }
        await MeteringOf(steady).CatchUpAsync(steady.Epoch, Cancel);
        await MeteringOf(away).CatchUpAsync(away.Epoch, Cancel);
        (await EntriesAsync(away)).ShouldBe(await EntriesAsync(steady));
        await AddsUpAsync(away);
    }

    [Fact]
    public async Task A_Hub_that_lost_the_seat_posts_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromHours(2));
        var before = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        await Should.ThrowAsync<SeatLostException>(() => MeteringOf(rows).CatchUpAsync(before, Cancel));
        (await EntriesAsync(rows)).ShouldBeEmpty();
    }

    /// <summary>
    /// Two hundred accounts at once: spans are opened, closed now or late, corrected and deleted, prices change, clocks
    /// jump, the Hub is away, and is killed in the middle. Kills are errors of triggers at random statements: what a
    /// transaction had written is gone, as when the connection ends.
    /// </summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Random_histories_come_to_the_cent_of_a_naive_sum(int seed)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(FillSql, new { count = Accounts, now = rows.Now }, Cancel);
        var random = new Random(seed);
        for (var step = 0; step < Steps; step++)
        {
            // The fake clock cannot go back: changes are dated up to two hours before it instead.
            rows.Time.Advance(TimeSpan.FromMicroseconds(random.NextInt64(
                random.Next(8) == 0 ? 30L * 3_600_000_000 : 5_400_000_000)));
            var now = rows.Now - TimeSpan.FromMicroseconds(random.Next(4) == 0 ? random.NextInt64(7_200_000_000) : 0);
            foreach (var change in Changes)
                await AgainAsync(() => rows.Db.ExecuteAsync(change, new { now, salt = $"{seed} {step}" }, Cancel));
            if (step % 3 == 2) await SurviveAsync(rows);
        }
        await SurviveAsync(rows);
        (await rows.Db.FindAsync<long>("SELECT count(*) FROM ledger_entries WHERE corrects", null, Cancel))
            .ShouldBeGreaterThan(Accounts / 4);
    }

    /// <summary>An hour later catches up, however often it is killed; then everything adds up.</summary>
    static async Task SurviveAsync(VmRows rows)
    {
        rows.Time.Advance(TimeSpan.FromHours(1) + Metering.After);
        await AgainAsync(() => MeteringOf(rows).CatchUpAsync(rows.Epoch, Cancel));
        await AddsUpAsync(rows);
    }

    /// <summary>Until it is not killed.</summary>
    internal static async Task AgainAsync(Func<Task> work)
    {
        while (true)
        {
            try
            {
                await work();
                return;
            }
            catch (PostgresException error) when (error.MessageText == "killed")
            {
                // The next Hub goes on.
            }
        }
    }

    /// <summary>A trigger that kills now and then. A sequence is not rolled back.</summary>
    internal const string KillSql = """
        CREATE SEQUENCE kills;
        CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF hashint8(nextval('kills')) & 15 = 0 THEN RAISE EXCEPTION 'killed'; END IF;
            RETURN NULL;
        END $$;
        """;

    const string FillSql = $"""
        {KillSql}
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, @count) AS n;
        INSERT INTO payments (email, dollars, method) SELECT email, 50, 'cash' FROM accounts;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
        SELECT 'capsul-' || lpad(n::text || k, 10, 'v'), 'user' || n || '@example.org', 'n' || k, 'f1-s', 'tiny', 'x',
            'u', 'rack1', @now, 7.50, 1, 1024, 25, 'running', 'on', 1
        FROM generate_series(1, @count) AS n, (VALUES ('a'), ('b')) AS k (k);
        CREATE TRIGGER kill AFTER INSERT ON ledger_transactions FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill BEFORE INSERT ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill AFTER UPDATE OF metered ON account_totals FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill AFTER UPDATE ON metering FOR EACH STATEMENT EXECUTE FUNCTION kill();
        """;

    static readonly string[] Changes =
    [
        // Closed now, or late, or not at all because it would be empty.
        """
        DELETE FROM usage_spans WHERE upper_inf(span) AND hashtext(vm || @salt) & 3 = 0
            AND lower(span) >= @now - interval '1 second' * (hashtext(@salt || vm) & 8191)
        """,
        """
        UPDATE usage_spans
        SET span = tstzrange(lower(span), @now - interval '1 second' * (hashtext(@salt || vm) & 8191))
        WHERE upper_inf(span) AND hashtext(vm || @salt) & 3 = 0
        """,
        """
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(
            greatest(@now, (SELECT max(upper(s.span)) FROM usage_spans s WHERE s.vm = v.id)), NULL),
            (hashtext(v.id || @salt) & 4095) / 100.0
        FROM vms v WHERE hashtext(@salt || v.id) & 1 = 0
            AND NOT EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))
        """,
        "UPDATE usage_spans SET dollars_per_month = dollars_per_month + 0.37 WHERE hashtext(id || @salt) & 31 = 0",
        "DELETE FROM usage_spans WHERE hashtext(id || 'x' || @salt) & 63 = 0",
        """
        UPDATE usage_spans SET span = tstzrange(lower(span), lower(span) + (upper(span) - lower(span)) / 2)
        WHERE NOT upper_inf(span) AND hashtext(id || 'y' || @salt) & 31 = 0
        """,
        "UPDATE payments SET invalidated = NOT invalidated WHERE hashtext(id || @salt) & 63 = 0",
    ];

    sealed record SpanRow(string Email, DateTime From, DateTime? To, decimal Dollars);

    sealed record TotalRow(string Email, decimal Posted, decimal Charged, DateTime? Metered, decimal Paid);

    /// <summary>
    /// The posted balance is what was paid less the usage until the posted hour, in whole cents rounded down; and the
    /// running one is at most what was used since then, and a cent, below it.
    /// </summary>
    static async Task AddsUpAsync(VmRows rows)
    {
        var until = await rows.Db.AskAsync<DateTime>("SELECT until FROM metering", null, Cancel);
        var spans = (await rows.Db.ListAsync<SpanRow>("SELECT email, lower(span) AS from, upper(span) AS to, "
            + "dollars_per_month AS dollars FROM usage_spans", null, Cancel)).ToLookup(s => s.Email);
        foreach (var total in await rows.Db.ListAsync<TotalRow>(
            "SELECT email, posted, charged, metered, paid FROM account_totals", null, Cancel))
        {
            total.Charged.ShouldBe(Cents(spans[total.Email], until) / 100m, total.Email);
            total.Posted.ShouldBe(total.Paid - total.Charged);
            var running = (await rows.Db.FindAsync<BalanceRow>(
                BillingSql.Balance, new { email = total.Email, now = rows.Now }, Cancel))!;
            var since = running.Used - Used(spans[total.Email], until);
            (total.Posted - running.Balance - since).ShouldBeInRange(-1e-12m, 0.01m, total.Email);
        }
        var report = await VerifyLedger.RunAsync(rows.Db, Cancel);
        report.Differences.ShouldBeEmpty();
        report.Waiting.ShouldBeEmpty();
    }

    static BigInteger Sum(IEnumerable<SpanRow> spans, DateTime at) => spans.Aggregate(BigInteger.Zero, (sum, s) =>
        sum + (long)(s.Dollars * 100) * new BigInteger(
            Math.Max(0, ((s.To < at ? s.To.Value : at) - s.From).Ticks / TimeSpan.TicksPerMicrosecond)));

    static long Cents(IEnumerable<SpanRow> spans, DateTime at) => (long)BigInteger.Divide(Sum(spans, at), Month);

    static decimal Used(IEnumerable<SpanRow> spans, DateTime at) =>
        (decimal)Sum(spans, at) / (decimal)Month / 100;

    static async Task<IReadOnlyList<string>> EntriesAsync(VmRows rows) => await rows.Db.ListAsync<string>("""
        SELECT to_char(e.hour AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' ' || e.amount
            || CASE WHEN e.corrects THEN ' corrects' ELSE '' END
        FROM ledger_entries e WHERE e.hour IS NOT NULL ORDER BY e.hour, e.corrects DESC
        """, null, Cancel);
}
