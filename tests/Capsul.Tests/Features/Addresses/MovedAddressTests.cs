using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Features.ReverseDns;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Features.Addresses;

/// <summary>Further addresses of VMs that change hosts, and of a database that was lost.</summary>
public sealed class MovedAddressTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<(VmRows Rows, string Vm)> MakeAsync(int addresses = 3)
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await rows.AddTargetAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            UPDATE hosts SET gives_more_addresses = TRUE;
            INSERT INTO pools (host, family, network, gateway, first, last)
            SELECT @target, family, network, gateway, first, last FROM pools;
            DELETE FROM addresses WHERE host = @target AND address < '203.0.113.3';
            UPDATE addresses SET reserved = 'x' WHERE host = @target AND address >= '203.0.113.3'::inet + @addresses
            """, new { target = VmRows.Target, addresses }, Cancel);
        (await rows.OrderAsync(vm)).OrThrow();
        (await rows.OrderAsync(vm)).OrThrow();
        return (rows, vm);
    }

    [Fact]
    public async Task A_vm_has_as_many_addresses_on_its_new_host_and_keeps_those_that_are_free()
    {
        var (rows, vm) = await MakeAsync();
        await using var _ = rows;
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        // The first one is not there, so the VM has got another, which was one of its further ones.
        (await rows.AddressesAsync(vm)).ShouldBe(["rack1 203.0.113.2", "rack1 203.0.113.3 further",
            "rack1 203.0.113.4 further", "rack2 203.0.113.3", "rack2 203.0.113.4 further",
            "rack2 203.0.113.5 further"]);
        (await rows.OrderAsync(vm)).Problem!.Message.ShouldContain("still being done");
        await rows.CarryMoveAsync(vm, Cancel);
        (await rows.OrderAsync(vm)).Problem.ShouldNotBeNull();
        await rows.SettleAsync(Cancel);
        (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Target, since = 0L }, Cancel))
            .ShouldHaveSingleItem().Further.Split('\n').Length.ShouldBe(2);
        await rows.ReportCopyAsync(vm, Power.Gone, Cancel);
        (await rows.AddressesAsync(vm)).Count(a => a.StartsWith("rack1", StringComparison.Ordinal)).ShouldBe(0);
        (await rows.CountAsync("addresses", "host = 'rack1' AND extra IS NOT NULL", Cancel)).ShouldBe(0);
        (await rows.SpansAsync()).Count(s => s.Contains("open", StringComparison.Ordinal)).ShouldBe(3);
        (await rows.ReturnAsync(vm, "203.0.113.5")).OrThrow();
        await rows.AgreesAsync();
    }

    [Fact]
    public async Task A_move_that_ends_before_it_has_begun_gives_the_addresses_of_the_target_back()
    {
        var (rows, vm) = await MakeAsync();
        await using var _ = rows;
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        await rows.AskAsync(vm, "cancel", Cancel);
        await rows.SettleAsync(Cancel);
        await rows.ReportCopyAsync(vm, Power.Gone, Cancel);
        (await rows.AddressesAsync(vm)).ShouldBe(
            ["rack1 203.0.113.2", "rack1 203.0.113.3 further", "rack1 203.0.113.4 further"]);
        (await rows.CountAsync("vm_extras", "removed IS NULL", Cancel)).ShouldBe(2);
        await rows.AgreesAsync();
    }

    [Fact]
    public async Task A_host_without_enough_public_addresses_does_not_take_it()
    {
        var (rows, vm) = await MakeAsync(addresses: 2);
        await using var _ = rows;
        (await rows.MoveAsync(vm, Cancel, VmRows.Target)).Problem!.Message
            .ShouldBe("rack2 has fewer free addresses than the capsul needs.");
        (await rows.MoveAsync(vm, Cancel)).Problem.ShouldNotBeNull();
        await rows.Db.ExecuteAsync("UPDATE addresses SET reserved = '' WHERE host = 'rack2'; "
            + "UPDATE hosts SET gives_more_addresses = id = 'rack1'", null, Cancel);
        (await rows.MoveAsync(vm, Cancel, VmRows.Target)).Problem!.Message.ShouldContain("rack2 has none for it");
        (await rows.MoveAsync(vm, Cancel)).Problem.ShouldNotBeNull();
        foreach (var address in (string[])["203.0.113.3", "203.0.113.4"])
            (await rows.ReturnAsync(vm, address)).OrThrow();
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
    }

    [Fact]
    public async Task Larger_hosts_that_have_no_public_addresses_do_not_hide_one_that_has()
    {
        var (rows, vm) = await MakeAsync();
        await using var _ = rows;
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen, moves_disks, gives_more_addresses)
            SELECT 'large' || n, 'joined', TRUE, 65536, 100000, @now, TRUE, TRUE FROM generate_series(1, 30) AS n;
            INSERT INTO pools (host, family, network, gateway, first, last)
            SELECT id, 4, '10.0.0.0/28', '10.0.0.1', '10.0.0.2', '10.0.0.7' FROM hosts WHERE id LIKE 'large%';
            INSERT INTO addresses (host, address, mac)
            SELECT h.id, '10.0.0.0'::inet + n, ('52:54:0a:00:00:0' || n)::macaddr
            FROM hosts h, generate_series(2, 7) AS n WHERE h.id LIKE 'large%'
            """, new { now = rows.Now }, Cancel);
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        (await rows.AddressesAsync(vm)).Count(a => a.StartsWith(VmRows.Target, StringComparison.Ordinal)).ShouldBe(3);
    }

    [Fact]
    public async Task A_further_address_has_a_name_of_its_own_until_it_is_given_back()
    {
        var (rows, vm) = await AddressRows.MakeAsync();
        await using var _ = rows;
        (await rows.OrderAsync(vm)).OrThrow();
        var settings = rows.Settings.With(Sample.Dns);
        foreach (var (address, name) in ((string, string)[])[
            ("203.0.113.2", "a.example.org"), ("203.0.113.3", "b.example.org")])
            (await SetReverseName.RunAsync(
                rows.Db, VmRows.Email, VmRows.Email, vm, address, name, settings, Cancel)).OrThrow();
        (await rows.Db.ListAsync<ReverseNameRow>(ReverseNameSql.OfVm, new { id = vm }, Cancel))
            .Select(n => $"{n.Address} {n.Name}").ShouldBe(["203.0.113.2 a.example.org", "203.0.113.3 b.example.org"]);
        (await rows.ReturnAsync(vm, "203.0.113.3")).OrThrow();
        (await rows.CountAsync("reverse_names", "vm IS NULL AND name = '' AND address = '203.0.113.3'", Cancel))
            .ShouldBe(1, "the DNS server is told to forget it");
        (await rows.CountAsync("reverse_names", "vm IS NOT NULL", Cancel)).ShouldBe(1);
    }

    static RecoverableVm Vm(int number, string address, params string[] further) => new(
        $"capsul-000000000{number}", 1, 1, "ada@example.org", "web", "f1-xs", 5m, 1, 512, 25, "tiny",
        VmRows.ImageSha256, "capsul", DateTime.UnixEpoch, "on", $"52:54:0a:4d:00:0{number}", address, [], true)
    {
        Further = [.. further.Select(f => new RecoverableAddress(f, 2.5m))],
    };

    [Fact]
    public async Task A_database_that_was_lost_has_them_again()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO rebuilds (started, expected) VALUES (@now, '{}')",
            new { now = rows.Now }, Cancel);
        await rows.Db.ExecuteAsync("UPDATE hosts SET state = 'joined', certificate = '\\x01'", null, Cancel);
        // Both say that 203.0.113.9 is theirs; it is the first address of one.
        var plan = await rows.Fence.InTransactionAsync(rows.Epoch, transaction => RebuildHost.InAsync(transaction,
            VmRows.Host, [1], [Vm(5, "203.0.113.8", "203.0.113.9", "203.0.113.10"), Vm(6, "203.0.113.9")], [], rows.Now,
            Cancel), Cancel);
        plan!.Notes.ShouldBe(["capsul-0000000006: ada@example.org has another web; it is now web-2.",
            "capsul-0000000005: its further address 203.0.113.9 belongs to capsul-0000000006."]);
        (await rows.AddressesAsync("capsul-0000000005")).ShouldBe(["rack1 203.0.113.8", "rack1 203.0.113.10 further"]);
        (await rows.FindAsync("capsul-0000000005", Cancel)).ExtrasPerMonth.ShouldBe(2.5m);
        (await rows.CountAsync("vm_extras", "price_from IS NULL", Cancel)).ShouldBe(1, "no price is in force");
        await rows.AgreesAsync();
    }
}
