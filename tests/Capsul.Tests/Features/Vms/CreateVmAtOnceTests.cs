using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Vms;

public sealed class CreateVmAtOnceTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Sixty_four_that_create_on_one_account_never_create_more_than_it_can_pay_for()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            UPDATE hosts SET memory_mb = 1048576, disk_free_mb = 100000000;
            UPDATE accounts SET max_vms = 1000;
            UPDATE payments SET invalidated = TRUE;
            INSERT INTO payments (email, dollars, method)
            SELECT @email, round(10.5 * dollars_per_month / 30.44, 2), 'cash' FROM sizes WHERE id = 'f1-xs';
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.1.0'::inet + n, ('52:54:00:01:00:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM generate_series(1, 100) n;
            """, new { email = VmRows.Email }, Cancel);
        var key = await rows.Db.AskAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
        // As many workers as pages would be, on as many connections as one process has in tests.
        await using var pooled = new Db(new NpgsqlConnectionStringBuilder(rows.Db.Address.ConnectionString)
        {
            Pooling = true,
            MaxPoolSize = 20,
        }.ConnectionString);
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => CreateVm.RunAsync(
            pooled, VmRows.Email, new CreateVm.Input(null, "f1-xs", "tiny", [key]), rows.Settings, rows.Time, Cancel)));
        outcomes.Count(o => o.Problem is null).ShouldBe(10);
        outcomes.Where(o => o.Problem is not null)
            .ShouldAllBe(o => o.Problem!.Kind == ProblemKind.InsufficientFunds);
        (await rows.CountAsync("vms", "deleted IS NULL", Cancel)).ShouldBe(10);
    }
}
