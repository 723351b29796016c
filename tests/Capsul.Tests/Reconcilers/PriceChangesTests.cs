using System.Numerics;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Reconcilers;

public sealed class PriceChangesTests
{
    const int Accounts = 30, Steps = 80;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static PriceChanges ChangesOf(VmRows rows) => new(rows.Db, rows.Fence, rows.Time);

    static Task<int> LookAsync(VmRows rows) => ChangesOf(rows).LookAsync(rows.Epoch, Cancel);

    static Task<long> AnnounceAsync(VmRows rows, decimal dollars, TimeSpan ahead, string size = "f1-xs") =>
        rows.Db.AskAsync<long>(
            PriceSql.Add, new { size, from = rows.Now + ahead, dollars, now = rows.Now }, Cancel);

    sealed record SpanRow(string Vm, DateTime From, DateTime? To, decimal Dollars);

    static async Task<IReadOnlyList<SpanRow>> SpansAsync(VmRows rows) => await rows.Db.ListAsync<SpanRow>(
        "SELECT vm, lower(span) AS from, upper(span) AS to, dollars_per_month AS dollars FROM usage_spans "
            + "ORDER BY vm, lower(span)", null, Cancel);

    [Fact]
    public async Task An_open_span_ends_and_another_begins_at_the_same_instant_once()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var (began, before) = (rows.Now, await rows.FindAsync(vm, Cancel));
        await AnnounceAsync(rows, 9, TimeSpan.FromHours(2));
        (await LookAsync(rows)).ShouldBe(0, "it is not in force");
        // The Hub is away for an hour when it comes into force.
        rows.Time.Advance(TimeSpan.FromHours(3));
        (await LookAsync(rows)).ShouldBe(1);
        (await LookAsync(rows)).ShouldBe(0);
        (await SpansAsync(rows)).ShouldBe([
            new SpanRow(vm, began, began.AddHours(2), before.DollarsPerMonth),
            new SpanRow(vm, began.AddHours(2), null, 9)]);
        var after = await rows.FindAsync(vm, Cancel);
        after.DollarsPerMonth.ShouldBe(9);
        after.WantedGeneration.ShouldBeGreaterThan(before.WantedGeneration, "its recovery record says what it costs");
        (await rows.Db.AskAsync<decimal>("SELECT dollars_per_month FROM account_totals", null, Cancel)).ShouldBe(9);
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
    }

    [Fact]
    public async Task Two_prices_that_came_into_force_while_no_Hub_was_active_are_both_charged()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var (began, before) = (rows.Now, (await rows.FindAsync(vm, Cancel)).DollarsPerMonth);
        await AnnounceAsync(rows, 9, TimeSpan.FromHours(1));
        await AnnounceAsync(rows, 4, TimeSpan.FromHours(3));
        rows.Time.Advance(TimeSpan.FromHours(5));
        (await LookAsync(rows)).ShouldBe(2);
        (await SpansAsync(rows)).Select(s => (s.From, s.To, s.Dollars)).ShouldBe([
            (began, began.AddHours(1), before), (began.AddHours(1), began.AddHours(3), 9m),
            (began.AddHours(3), null, 4m)]);
    }

    [Fact]
    public async Task A_price_that_was_agreed_for_a_VM_stays()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE vms SET dollars_per_month = 2", null, Cancel);
        await AnnounceAsync(rows, 9, TimeSpan.FromHours(1));
        rows.Time.Advance(TimeSpan.FromHours(2));
        (await LookAsync(rows)).ShouldBe(0);
        (await rows.FindAsync(vm, Cancel)).DollarsPerMonth.ShouldBe(2);
    }

    /// <summary>A host went silent just before, which is noticed after: unknown time is free at any price.</summary>
    [Fact]
    public async Task Time_that_turns_out_to_be_unknown_is_free_on_both_sides_of_a_change()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var began = rows.Now;
        await AnnounceAsync(rows, 9, TimeSpan.FromMinutes(10));
        rows.Time.Advance(TimeSpan.FromMinutes(11));
        await LookAsync(rows);
        await rows.Db.ExecuteAsync(
            VmSql.CloseUsage, new { ids = new[] { vm }, now = began + TimeSpan.FromMinutes(9) }, Cancel);
        (await SpansAsync(rows)).Select(s => (s.From, s.To)).ShouldBe([(began, began.AddMinutes(9))]);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        (await SpansAsync(rows))[^1].ShouldBe(new SpanRow(vm, rows.Now, null, 9));
    }

    /// <summary>It was read just before the price came into force, and the VM was created just after.</summary>
    [Fact]
    public async Task A_VM_that_was_created_with_a_price_that_had_passed_gets_the_new_one()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var (began, old) = (rows.Now, (await rows.FindAsync(vm, Cancel)).DollarsPerMonth);
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        await AnnounceAsync(rows, 9, TimeSpan.Zero);
        await LookAsync(rows);
        await rows.Db.ExecuteAsync("UPDATE vms SET dollars_per_month = @old, price_from = '1970-01-01 00:00:00+00'; "
            + "UPDATE usage_spans SET dollars_per_month = @old", new { old }, Cancel);
        (await LookAsync(rows)).ShouldBe(1);
        (await SpansAsync(rows)).Select(s => (s.From, s.To, s.Dollars)).ShouldBe(
            [(began, began.AddMinutes(1), old), (began.AddMinutes(1), null, 9m)]);
    }

    [Fact]
    public async Task A_Hub_that_lost_the_seat_changes_no_price()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await AnnounceAsync(rows, 9, TimeSpan.FromHours(1));
        rows.Time.Advance(TimeSpan.FromHours(2));
        var before = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        await Should.ThrowAsync<SeatLostException>(() => ChangesOf(rows).LookAsync(before, Cancel));
        (await SpansAsync(rows)).Count.ShouldBe(1);
    }

    sealed record VmPriceRow(string Id, string Email, string Size, decimal Dollars, bool IsOwn);

    /// <summary>What was charged, without prices; and what each VM costs.</summary>
    sealed record Model(
        IReadOnlyList<VmPriceRow> Vms, Dictionary<string, List<(DateTime From, DateTime? To)>> Charged)
    {
        public void Open(IEnumerable<string> ids, DateTime now)
        {
            foreach (var times in ids.Select(id => Charged[id]).Where(t => t.Count == 0 || t[^1].To is not null))
                times.Add((times.Count > 0 && times[^1].To > now ? times[^1].To!.Value : now, null));
        }

        public void Close(IEnumerable<string> ids, DateTime at)
        {
            foreach (var times in ids.Select(id => Charged[id]).Where(t => t.Count > 0 && t[^1].To is null))
            {
                times.RemoveAll(t => t.From >= at);
                if (times.Count > 0 && (times[^1].To is null || times[^1].To > at)) times[^1] = (times[^1].From, at);
            }
        }
    }

    /// <summary>
    /// Spans are opened and closed, now or late; prices are announced and withdrawn; VMs are deleted; clocks jump; the
    /// Hub is away when a price comes into force, and is killed at random statements. The sums are those of a naive
    /// integral of the price over the charged time.
    /// </summary>
    [Theory]
    [InlineData(1), InlineData(2), InlineData(3)]
    public async Task Random_histories_come_to_a_naive_sum_of_prices_over_time(int seed)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(FillSql, new { count = Accounts, now = rows.Now }, Cancel);
        var vms = await rows.Db.ListAsync<VmPriceRow>("SELECT id, email, size, dollars_per_month AS dollars, "
            + "price_from IS NULL AS is_own FROM vms ORDER BY id", null, Cancel);
        var model = new Model(vms, vms.ToDictionary(v => v.Id, _ => new List<(DateTime, DateTime?)>()));
        var (random, repriced) = (new Random(seed), 0);
        for (var step = 0; step < Steps; step++)
        {
            rows.Time.Advance(TimeSpan.FromMicroseconds(random.NextInt64(
                random.Next(10) == 0 ? 30L * 3_600_000_000 : 5_400_000_000)));
            await ChangeAsync(rows, model, random);
            // Sometimes the Hub is away for a while.
            if (random.Next(3) > 0)
                await MeteringTests.AgainAsync(async () => repriced += await LookAsync(rows));
            if (step % 10 == 9) await AddsUpAsync(rows, model);
        }
        await AddsUpAsync(rows, model);
        repriced.ShouldBeGreaterThan(Accounts);
    }

    static async Task ChangeAsync(VmRows rows, Model model, Random random)
    {
        var ids = model.Vms.Where(_ => random.Next(4) == 0).Select(v => v.Id).ToArray();
        var late = rows.Now - TimeSpan.FromMicroseconds(random.NextInt64(3_600_000_000));
        switch (random.Next(6))
        {
            case 0 or 1:
                var deleted = await rows.Db.ListAsync<string>(
                    "SELECT id FROM vms WHERE deleted IS NOT NULL", null, Cancel);
                ids = [.. ids.Except(deleted, StringComparer.Ordinal)];
                await MeteringTests.AgainAsync(() => rows.Db.ExecuteAsync(
                    VmSql.OpenUsage, new { ids, now = rows.Now }, Cancel));
                model.Open(ids, rows.Now);
                break;
            case 2:
                var now = random.Next(2) == 0 ? late : rows.Now;
                await MeteringTests.AgainAsync(() => rows.Db.ExecuteAsync(VmSql.CloseUsage, new { ids, now }, Cancel));
                model.Close(ids, now);
                break;
            case 3:
                ids = [.. ids.Take(1)];
                await MeteringTests.AgainAsync(() => rows.Db.ExecuteAsync(
                    VmSql.CloseUsage, new { ids, now = rows.Now }, Cancel));
                model.Close(ids, rows.Now);
                await rows.Db.ExecuteAsync("UPDATE vms SET deleted = @now, state = 'deleted', wanted = 'gone' "
                    + "WHERE id = ANY(@ids) AND deleted IS NULL", new { ids, now = rows.Now }, Cancel);
                break;
            default:
                var line = await AnnounceAsync(rows, random.Next(0, 2000) / 100m,
                    TimeSpan.FromMicroseconds(random.Next(3) == 0 ? 0 : random.NextInt64(20L * 3_600_000_000)),
                    random.Next(2) == 0 ? "f1-xs" : "f1-s");
                if (random.Next(5) == 0)
                    await MeteringTests.AgainAsync(() => rows.Db.ExecuteAsync("UPDATE prices SET withdrawn = @now "
                        + "WHERE id = @line AND active_from > @now", new { line, now = rows.Now }, Cancel));
                break;
        }
    }

    static async Task AddsUpAsync(VmRows rows, Model model)
    {
        await MeteringTests.AgainAsync(() => LookAsync(rows));
        var lines = (await rows.Db.ListAsync<PriceRow>(PriceSql.List, null, Cancel))
            .Where(p => p.Withdrawn is null).OrderBy(p => p.ActiveFrom).ToLookup(p => p.Size);
        var expected = model.Vms.GroupBy(v => v.Email).ToDictionary(of => of.Key, of => of.Aggregate(
            BigInteger.Zero, (sum, vm) => sum + Naive(vm, model.Charged[vm.Id], lines[vm.Size], rows.Now)));
        foreach (var (email, sum) in expected)
        {
            var balance = await rows.Db.AskAsync<BalanceRow>(
                BillingSql.Balance, new { email, now = rows.Now }, Cancel);
            balance.Used.ShouldBe((decimal)sum / 100 / 2_630_016_000_000m, 1e-10m, email);
        }
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
        (await rows.CountAsync("vms v", "deleted IS NULL AND price_from IS NOT NULL AND dollars_per_month <> (SELECT "
            + "dollars_per_month FROM prices WHERE size = v.size AND withdrawn IS NULL "
            + $"AND active_from <= '{rows.Now:O}' ORDER BY active_from DESC LIMIT 1)", Cancel)).ShouldBe(0);
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    /// <summary>Cents a month times microseconds.</summary>
    static BigInteger Naive(
        VmPriceRow vm, List<(DateTime From, DateTime? To)> charged, IEnumerable<PriceRow> lines, DateTime now)
    {
        var prices = vm.IsOwn ? [(DateTime.UnixEpoch, vm.Dollars)]
            : lines.Select(p => (From: p.ActiveFrom, Dollars: p.DollarsPerMonth)).ToList();
        var sum = BigInteger.Zero;
        foreach (var (from, to) in charged)
            for (var n = 0; n < prices.Count; n++)
            {
                var begins = prices[n].Item1 > from ? prices[n].Item1 : from;
                var ends = n + 1 < prices.Count && prices[n + 1].Item1 < (to ?? now) ? prices[n + 1].Item1 : to ?? now;
                if (ends > begins)
                    sum += new BigInteger(prices[n].Item2 * 100)
                        * ((ends - begins).Ticks / TimeSpan.TicksPerMicrosecond);
            }
        return sum;
    }

    /// <summary>Every fifth VM has a price of its own.</summary>
    const string FillSql = $"""
        {MeteringTests.KillSql}
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, @count) AS n;
        INSERT INTO payments (email, dollars, method) SELECT email, 50, 'cash' FROM accounts;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            price_from, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
        SELECT 'capsul-' || lpad(n::text || k, 10, 'v'), 'user' || n || '@example.org', 'n' || k, s.id, 'tiny', 'x',
            'u', 'rack1', @now, CASE WHEN n % 5 = 0 THEN 3 ELSE s.dollars_per_month END,
            CASE WHEN n % 5 = 0 THEN NULL ELSE '1970-01-01 00:00:00+00'::timestamptz END, 1, 1024, 25, 'running', 'on',
            1
        FROM generate_series(1, @count) AS n, (VALUES ('a', 'f1-xs'), ('b', 'f1-s')) AS k (k, size)
            JOIN sizes s ON s.id = k.size;
        CREATE TRIGGER kill AFTER INSERT OR UPDATE ON usage_spans FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill AFTER UPDATE OF price_from ON vms FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill AFTER UPDATE ON prices FOR EACH STATEMENT EXECUTE FUNCTION kill();
        CREATE TRIGGER kill AFTER UPDATE OF generation ON hosts FOR EACH STATEMENT EXECUTE FUNCTION kill();
        """;
}
