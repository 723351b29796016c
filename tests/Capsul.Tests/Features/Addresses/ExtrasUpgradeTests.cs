using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Features.Billing;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Addresses;

/// <summary>A database from before there was anything with a price but VMs.</summary>
public sealed class ExtrasUpgradeTests
{
    const string Email = "ada@example.org", Vm = "capsul-0123456789";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Nothing_changes_by_the_upgrade_and_a_downgrade_gives_back_what_extras_have_cost()
    {
        var version = MigrationScripts.Embedded.All
            .Single(s => s.Up && s.Name.EndsWith("_up_extras.sql", StringComparison.Ordinal)).Version;
        await using var database = await TestDatabase.CreateEmptyAsync();
        var (db, migrator) = (database.Db, new Migrator(database.Db, NullLogger.Instance));
        await migrator.MigrateAsync(version - 1, allowDowngrade: false, Cancel);
        await db.ExecuteAsync("""
            INSERT INTO accounts (email) VALUES (@Email);
            INSERT INTO payments (email, dollars, method) VALUES (@Email, 100, 'cash');
            INSERT INTO hosts (id, state) VALUES ('rack1', 'joined');
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'T', 'u', 1, 64);
            INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
                vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
            VALUES (@Vm, @Email, 'web', 'f1-s', 'tiny', 'x', 'u', 'rack1', now(), 7.50, 1, 1024, 25, 'running', 'on',
                1);
            INSERT INTO addresses (host, address, mac, vm) VALUES ('rack1', '203.0.113.2', '52:54:cb:00:71:02', @Vm),
                ('rack1', '203.0.113.3', '52:54:cb:00:71:03', NULL);
            INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES ('f1-s', now(), 9, now());
            INSERT INTO usage_spans (vm, email, span, dollars_per_month) VALUES
                (@Vm, @Email, tstzrange(now() - interval '9 days', now() - interval '8 days'), 5),
                (@Vm, @Email, tstzrange(now() - interval '7 days', NULL), 7.50);
            """, new { Email, Vm }, Cancel);
        var now = await db.AskAsync<DateTime>("SELECT now() + interval '1 hour'", null, Cancel);
        var before = await BalanceAsync();
        await migrator.MigrateAsync(Cancel);
        (await BalanceAsync()).ShouldBe(before);

        await db.ExecuteAsync("""
            INSERT INTO prices (size, active_from, dollars_per_month, announced)
            VALUES ('ipv4-address', now(), 2, now());
            INSERT INTO vm_extras (vm, kind, dollars_per_month, added) VALUES (@Vm, 'ipv4-address', 2, now());
            UPDATE addresses SET vm = @Vm, extra = (SELECT id FROM vm_extras) WHERE vm IS NULL;
            INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month)
            SELECT @Vm, id, @Email, tstzrange(now() - interval '1 day', NULL), 2 FROM vm_extras
            """, new { Email, Vm }, Cancel);
        (await BalanceAsync()).ShouldSatisfyAllConditions(b => b.DollarsPerMonth.ShouldBe(9.50m),
            b => b.Used.ShouldBeGreaterThan(before.Used));
        (await db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();

        await migrator.MigrateAsync(version - 1, allowDowngrade: true, Cancel);
        (await BalanceAsync()).ShouldBe(before);
        (await db.AskAsync<long>("SELECT count(*) FROM addresses WHERE vm IS NULL", null, Cancel)).ShouldBe(1);
        (await db.AskAsync<long>("SELECT count(*) FROM prices WHERE size = 'ipv4-address'", null, Cancel)).ShouldBe(0);
        await migrator.MigrateAsync(Cancel);
        (await BalanceAsync()).ShouldBe(before);
        (await db.FindAsync<VmRow>(VmSql.Find, new { id = Vm, email = Email }, Cancel))!.Address
            .ShouldBe("203.0.113.2");
        (await db.ListAsync<string>(TotalsTests.WrongSql, null, Cancel)).ShouldBeEmpty();

        Task<BalanceRow> BalanceAsync() =>
            db.AskAsync<BalanceRow>(BillingSql.Balance, new { email = Email, now }, Cancel);
    }
}
