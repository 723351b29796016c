using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Pools;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Pools;

public sealed class PoolTests
{
    static readonly HostStateRow Host = new("rack1", "joined", true, true, null, "");
    static readonly PoolRow Pool = new(
        "rack1", 4, "private", "10.77.0.0/24", "10.77.0.1", "10.77.0.2", "10.77.0.253", 0, 0, 0, 0, 252);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("10.77.0.5", "10.77.0.5", "10.77.0.5")]
    [InlineData(" 10.77.0.2 - 10.77.0.253 ", "10.77.0.2", "10.77.0.253")]
    public void A_range_inside_the_pool_is_reserved(string text, string first, string last) =>
        ReserveAddresses.Decide(Host, "rack1", Pool, text).OrThrow()
            .ShouldBe(new ReserveAddresses.Range(first, last));

    [Theory]
    [InlineData("", "Give an address")]
    [InlineData("10.77.0.9-10.77.0.5", "Give an address")]
    [InlineData("fd00::1", "Give an address")]
    [InlineData("1-2-3", "Give an address")]
    [InlineData("10.77.0.1", "from 10.77.0.2 to 10.77.0.253")]
    [InlineData("10.77.0.250-10.77.0.254", "from 10.77.0.2 to 10.77.0.253")]
    public void Another_range_is_refused(string text, string sentence) =>
        ReserveAddresses.Decide(Host, "rack1", Pool, text).Problem!.Message.ShouldContain(sentence);

    [Fact]
    public void A_host_without_a_pool_is_told_from_none()
    {
        ReserveAddresses.Decide(Host, "rack1", null, "10.77.0.5").Problem!.Message.ShouldContain("has not reported");
        ReserveAddresses.Decide(null, "rack1", null, "10.77.0.5").Problem!.Message.ShouldContain("no host rack1");
        SetCoolDown.Decide(Host, "rack1", "8761").Problem!.Field.ShouldBe("Hours");
        SetCoolDown.Decide(Host, "rack1", "-1").Problem!.Field.ShouldBe("Hours");
        SetCoolDown.Decide(Host, "rack1", "24").OrThrow().ShouldBe(24);
    }

    [Fact]
    public async Task Reserved_addresses_are_not_given_to_vms()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await ReserveAddresses.RunAsync(rows.Db, "ops", VmRows.Host, "10.77.0.2", "printer", rows.Time, Cancel))
            .OrThrow().ShouldBe(1);
        (await rows.FindAsync(await rows.NewVmAsync(Cancel), Cancel)).Address.ShouldBe("10.77.0.3");
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message
            .ShouldContain($"all addresses are in use on {VmRows.Host} (10.77.0.0/29)");
        (await PoolAsync(rows)).ShouldSatisfyAllConditions(p => p.Used.ShouldBe(1), p => p.Reserved.ShouldBe(1),
            p => p.Free.ShouldBe(0));
        (await ReserveAddresses.ReleaseAsync(rows.Db, "ops", VmRows.Host, "10.77.0.2", rows.Time, Cancel))
            .OrThrow().ShouldBe(1);
        (await rows.FindAsync(await rows.NewVmAsync(Cancel), Cancel)).Address.ShouldBe("10.77.0.2");
    }

    [Fact]
    public async Task An_address_cools_down_after_its_vm_is_gone()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetCoolDown.RunAsync(rows.Db, "ops", VmRows.Host, "24", Cancel)).OrThrow();
        var id = await rows.NewVmAsync(Cancel);
        await rows.NewVmAsync(Cancel);
        await rows.Db.ExecuteAsync(AddressSql.Free, new { id, now = rows.Now }, Cancel);
        (await PoolAsync(rows)).ShouldSatisfyAllConditions(p => p.Cooling.ShouldBe(1), p => p.Free.ShouldBe(0));
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain("all addresses are in use");
        rows.Time.Advance(TimeSpan.FromHours(24));
        // Hosts and their images were seen a day ago by then; only the address matters here.
        await rows.Db.ExecuteAsync("UPDATE hosts SET last_seen = @now, online = TRUE", new { now = rows.Now }, Cancel);
        (await rows.FindAsync(await rows.NewVmAsync(Cancel), Cancel)).Address.ShouldBe("10.77.0.2");
    }

    /// <summary>The address that a guest with the VM's hardware address gives itself (EUI-64).</summary>
    [Fact]
    public async Task A_vm_has_an_ipv6_address_where_its_host_has_a_pool_of_them()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO pools (host, family, network, gateway) VALUES "
            + "(@host, 6, 'fd12:3456:789a:1::/64', 'fd12:3456:789a:1::1')", new { host = VmRows.Host }, Cancel);
        await rows.Db.ExecuteAsync(AddressSql.SetSix, new { host = VmRows.Host }, Cancel);
        var id = await rows.NewVmAsync(Cancel);
        (await rows.FindAsync(id, Cancel)).Address6.ShouldBe("fd12:3456:789a:1:5054:aff:fe4d:2");
        (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Host, since = 0L }, Cancel))
            .ShouldHaveSingleItem().Address6.ShouldBe("fd12:3456:789a:1:5054:aff:fe4d:2");
        await rows.Db.ExecuteAsync("DELETE FROM pools WHERE family = 6", null, Cancel);
        await rows.Db.ExecuteAsync(AddressSql.SetSix, new { host = VmRows.Host }, Cancel);
        (await rows.FindAsync(id, Cancel)).Address6.ShouldBeNull();
    }

    [Fact]
    public async Task The_ranges_of_hosts_that_were_there_before_are_pools()
    {
        var version = MigrationScripts.Embedded.All
            .Single(s => s.Up && s.Name.EndsWith("_up_pools.sql", StringComparison.Ordinal)).Version;
        await using var database = await TestDatabase.CreateEmptyAsync();
        var migrator = new Migrator(database.Db, NullLogger.Instance);
        await migrator.MigrateAsync(version - 1, allowDowngrade: false, Cancel);
        await database.Db.ExecuteAsync("""
            INSERT INTO hosts (id) VALUES ('rack1'), ('rack2'), ('rack3');
            INSERT INTO addresses (host, address, mac)
            SELECT h, n::inet + i, ('52:54:00:00:00:' || lpad(to_hex(i), 2, '0'))::macaddr
            FROM (VALUES ('rack1', '10.77.0.0', 252), ('rack2', '192.168.4.8', 4)) AS v (h, n, count),
                generate_series(2, count + 1) AS i
            """, null, Cancel);
        await migrator.MigrateAsync(version, allowDowngrade: false, Cancel);
        (await database.Db.ListAsync<PoolRow>(PoolSql.List,
            new { after = "", limit = 10, now = DateTime.UnixEpoch }, Cancel)).ShouldBe([
            new PoolRow("rack1", 4, "private", "10.77.0.0/24", "10.77.0.1", "10.77.0.2", "10.77.0.253",
                0, 0, 0, 0, 252),
            new PoolRow("rack2", 4, "private", "192.168.4.8/29", "192.168.4.9", "192.168.4.10", "192.168.4.13",
                0, 0, 0, 0, 4)]);
    }

    static async Task<PoolRow> PoolAsync(VmRows rows) => (await rows.Db.ListAsync<PoolRow>(
        PoolSql.OfHost, new { host = VmRows.Host, now = rows.Now }, Cancel)).ShouldHaveSingleItem();
}
