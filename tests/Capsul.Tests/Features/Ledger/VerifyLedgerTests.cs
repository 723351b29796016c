using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Ledger;

/// <summary>Whoever gets around the triggers is found.</summary>
public sealed class VerifyLedgerTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>An account with a payment, a reversal, and posted usage.</summary>
    internal static async Task<VmRows> UsedAsync()
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO payments (email, dollars, method, note)
            VALUES (@email, 7, 'play', E'a "note", with; signs\n| and \\'), (@email, 12.5, 'opening', '');
            UPDATE payments SET invalidated = TRUE WHERE dollars = 7
            """, new { email = VmRows.Email }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(30) + Metering.After);
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        return rows;
    }

    [Theory]
    [InlineData("UPDATE ledger_entries SET amount = amount + 1 WHERE (transaction, line) = (1, 1)",
        "Ledger transaction 1 has 2 of 2 entries, which sum to 1.00.",
        "Payment 1 counts 100.00, but the ledger has 100.00 of it for ada@example.org and 101.00 on the other side.",
        "All accounts of the ledger together are 1.00, and must be 0.")]
    [InlineData("DELETE FROM ledger_entries WHERE (transaction, line) = (1, 2)",
        "Ledger transaction 1 has 1 of 2 entries, which sum to 100.00.",
        "Payment 1 counts 100.00, but the ledger has 0 of it for ada@example.org and 100.00 on the other side.",
        "The posted balance of ada@example.org is ", "All accounts of the ledger together are 100.00, and must be 0.")]
    [InlineData("UPDATE payments SET dollars = 90 WHERE id = 1",
        "Payment 1 counts 90, but the ledger has 100.00 of it for ada@example.org and 100.00 on the other side.",
        "The total of payments of ada@example.org is 112.50; its payments sum to 102.50.")]
    [InlineData("DELETE FROM payments WHERE id = 1", "Payment 1 is in the ledger, but not among the payments.",
        "The total of payments of ada@example.org is 112.50; its payments sum to 12.50.")]
    [InlineData("UPDATE account_totals SET posted = posted + 0.01", "The posted balance of ada@example.org is ")]
    [InlineData("UPDATE account_totals SET charged = charged + 0.01", "The posted usage of ada@example.org is ")]
    [InlineData("UPDATE account_totals SET metered_used = metered_used + 2630016", "The usage of ada@example.org is ")]
    public async Task Each_difference_is_named(string change, params string[] says)
    {
        await using var rows = await UsedAsync();
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
        await TamperAsync(rows.Db, change);
        var found = (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences;
        found.Count.ShouldBe(says.Length, string.Join('\n', found));
        foreach (var (difference, start) in found.Zip(says)) difference.ShouldStartWith(start);
    }

    [Fact]
    public async Task A_difference_raises_an_alert_until_it_is_gone_and_the_sums_are_kept()
    {
        await using var rows = await UsedAsync();
        var check = new LedgerCheck(rows.Db, rows.Fence, rows.Settings, rows.Time);
        await check.LookAsync(rows.Epoch, Cancel);
        (await AlertsAsync(rows)).ShouldBeEmpty();
        var sums = await rows.Db.ListAsync<LedgerSumRow>(LedgerCheckSql.ListSums, null, Cancel);
        sums.Sum(s => s.Amount).ShouldBe(0);
        sums.Single(s => s.Type == "cash").Amount.ShouldBe(100);
        sums.Single(s => s.Type == "to_be_assigned").Amount.ShouldBe(12.5m);

        await TamperAsync(rows.Db, "UPDATE account_totals SET posted = posted + 0.01");
        await check.LookAsync(rows.Epoch, Cancel);
        (await AlertsAsync(rows)).Single().Message.ShouldStartWith("The ledger does not add up");
        (await rows.Db.FindAsync<LedgerCheckRow>(LedgerCheckSql.Find, null, Cancel))!.Differences.ShouldBe(1);
        // Totals follow from the entries, and were corrected.
        await check.LookAsync(rows.Epoch, Cancel);
        (await AlertsAsync(rows)).ShouldBeEmpty();
    }

    [Theory]
    [InlineData("DELETE FROM account_totals")]
    [InlineData("UPDATE account_totals SET charged = 0, posted = 0")]
    public async Task Usage_is_not_posted_twice_when_totals_were_lost(string accident)
    {
        await using var rows = await UsedAsync();
        const string Usage = "SELECT coalesce(sum(e.amount), 0) FROM ledger_entries e WHERE e.hour IS NOT NULL";
        var before = await rows.Db.AskAsync<decimal>(Usage, null, Cancel);
        before.ShouldBeGreaterThan(0);
        await TamperAsync(rows.Db, accident);
        await new CounterCheck(rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel);
        await new LedgerCheck(rows.Db, rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await rows.Db.AskAsync<decimal>(Usage, null, Cancel)).ShouldBeInRange(before, before + 0.02m);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task Usage_that_metering_does_not_see_is_a_difference_after_an_hour()
    {
        await using var rows = await UsedAsync();
        var check = new LedgerCheck(rows.Db, rows.Fence, rows.Settings, rows.Time);
        // As if its spans had been forgotten: nothing makes metering look at it.
        await rows.Db.ExecuteAsync(
            "UPDATE usage_spans SET span = tstzrange(lower(span), lower(span) + interval '1 h')", null, Cancel);
        (await check.LookAsync(rows.Epoch, Cancel)).Differences.ShouldBeEmpty();
        (await check.LookAsync(rows.Epoch, Cancel)).Differences.ShouldBe(
            [$"The usage of {VmRows.Email} changed over an hour ago, and was not posted since."]);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        (await check.LookAsync(rows.Epoch, Cancel)).Differences.ShouldBeEmpty();
    }

    internal static Task TamperAsync(Db db, string change) => db.ExecuteAsync(
        $"BEGIN; SET LOCAL session_replication_role = replica; {change}; COMMIT", null, Cancel);

    static Task<IReadOnlyList<AlertRow>> AlertsAsync(VmRows rows) =>
        rows.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel);
}
