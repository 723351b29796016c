using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;

namespace Capsul.Tests.Reconcilers;

public sealed class CounterCheckTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Wrong_counters_are_corrected_and_raise_an_alert_until_they_are_right()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.Db.ExecuteAsync(
            """
            UPDATE usage_spans SET span = tstzrange(lower(span), @now) WHERE vm = @vm;
            INSERT INTO accounts (email) SELECT 'more' || n || '@example.org' FROM generate_series(1, 250) AS n
            """, new { vm, now = rows.Now }, Cancel);
        var check = new CounterCheck(rows.Fence, rows.Settings, rows.Time);
        (await check.LookAsync(rows.Epoch, Cancel)).ShouldBe(new CounterCheck.Wrong(0, 0, 0));
        (await AlertsAsync(rows)).ShouldBeEmpty();

        await rows.Db.ExecuteAsync(
            """
            UPDATE account_totals SET paid = paid + 5, open_rate = 1 WHERE email = @email;
            DELETE FROM account_totals WHERE email = 'more7@example.org';
            UPDATE vm_totals SET used = used + 1;
            UPDATE hosts SET vms = 7, memory_used_mb = 0
            """, new { email = VmRows.Email }, Cancel);
        (await check.LookAsync(rows.Epoch, Cancel)).ShouldBe(new CounterCheck.Wrong(2, 1, 1));
        (await rows.Db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();
        (await AlertsAsync(rows)).Single().Message.ShouldBe(
            "The counters of 2 accounts, 1 VMs and 1 hosts were wrong. They have been corrected.");

        (await check.LookAsync(rows.Epoch, Cancel)).Any.ShouldBeFalse();
        (await AlertsAsync(rows)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_Hub_that_lost_the_seat_corrects_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var before = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        await Should.ThrowAsync<SeatLostException>(
            () => new CounterCheck(rows.Fence, rows.Settings, rows.Time).LookAsync(before, Cancel));
    }

    static Task<IReadOnlyList<AlertRow>> AlertsAsync(VmRows rows) =>
        rows.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel);
}
