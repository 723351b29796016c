using Capsul.Foundation;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Vms;

public sealed class FindPlaceTests
{
    static readonly SizeRow Size = new("f1-m", 12.50m, DateTime.UnixEpoch, 1, 2048, 25);
    static readonly ImageRow Image = new("tiny", "Tiny", "capsul", 1, 128, false);
    static readonly ShortageRow Enough = new(2, 1, 8192, null, null, true, "", true);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void The_refusal_says_what_is_short()
    {
        Says(Enough with { Online = 0, WithImage = 0 }).ShouldContain("No host is online");
        Says(Enough with { WithImage = 0 }).ShouldContain("the image Tiny");
        Says(Enough with { Addresses = false, Pools = "rack1 (10.77.0.0/24)" })
            .ShouldContain("all addresses are in use on rack1 (10.77.0.0/24). Try again later.");
        Says(Enough with { Ports = 0 }).ShouldContain("all ports for SSH are in use");
        Says(Enough with { DiskFree = false }).ShouldContain("the disks are full");
        Says(Enough with { Memory = 1024 }).ShouldContain(
            "it needs 2 GiB of memory, and the most that is free on a host is 1 GiB. Try a smaller size");
        Says(Enough with { Disk = 12 }).ShouldContain("it needs a disk of 25 GiB");
        Says(Enough).ShouldContain("at the same time");
    }

    [Fact]
    public async Task Each_shortage_is_told_from_the_others()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        foreach (var (change, sentence) in (IEnumerable<(string, string)>)
        [
            ("memory_mb = 300", "512 MiB of memory"), ("disk_mb = 1024", "a disk of 25 GiB"),
            ("disk_free_mb = 10", "the disks are full"), ("max_vms = 1, vms = 1", "all ports for SSH"),
            ("online = FALSE", "No host is online"), ("accepts = FALSE", "No host is online"),
        ])
        {
            await rows.Db.ExecuteAsync($"UPDATE hosts SET {change}", null, Cancel);
            (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain(sentence);
            await rows.Db.ExecuteAsync("UPDATE hosts SET memory_mb = 4096, disk_mb = 0, disk_free_mb = 100000, "
                + "max_vms = 0, vms = 0, online = TRUE, accepts = TRUE", null, Cancel);
        }
        await rows.Db.ExecuteAsync("DELETE FROM addresses", null, Cancel);
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain("all addresses");
        await rows.Db.ExecuteAsync("DELETE FROM host_images", null, Cancel);
        (await rows.TryNewVmAsync(Cancel)).Problem!.Message.ShouldContain("the image Tiny");
    }

    [Fact]
    public async Task The_VMs_of_an_account_are_spread_over_hosts()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddHostAsync(rows, "rack2", 2048);
        // rack1 has twice the memory, yet the second one goes to the other host.
        var hosts = new List<string>();
        for (var n = 0; n < 2; n++)
            hosts.Add((await rows.FindAsync(await rows.NewVmAsync(Cancel), Cancel)).Host);
        hosts.ShouldBe([VmRows.Host, "rack2"]);
    }

    [Fact]
    public async Task A_host_that_is_locked_is_passed_over()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddHostAsync(rows, "rack2", 2048);
        await rows.Db.InTransactionAsync(async transaction =>
        {
            await transaction.FindAsync<string>(PlaceSql.Lock, new { host = VmRows.Host }, Cancel);
            (await rows.FindAsync(await rows.NewVmAsync(Cancel), Cancel)).Host.ShouldBe("rack2");
        }, Cancel);
    }

    [Fact]
    public async Task When_every_host_is_locked_it_waits_instead_of_refusing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        Task<Outcome<string>>? waiting = null;
        await rows.Db.InTransactionAsync(async transaction =>
        {
            await transaction.FindAsync<string>(PlaceSql.Lock, new { host = VmRows.Host }, Cancel);
            waiting = rows.TryNewVmAsync(Cancel);
            await Until.TrueAsync("it waits", TimeSpan.FromSeconds(60), () => rows.Db.FindAsync<bool>(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
                    + "AND wait_event_type = 'Lock')", null, Cancel));
        }, Cancel);
        (await waiting!).Problem.ShouldBeNull();
    }

    [Fact]
    public async Task Twelve_at_once_never_overcommit_two_hosts()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddHostAsync(rows, "rack2", 1024);
        await rows.Db.ExecuteAsync(
            """
            UPDATE hosts SET memory_mb = 1024;
            INSERT INTO addresses (host, address, mac)
            SELECT h.id, '10.78.0.0'::inet + n, ('52:54:0a:4e:00:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM hosts h, generate_series(2, 20) AS n
            """, null, Cancel);
        foreach (var n in Enumerable.Range(0, 12)) await AddAccountAsync(rows, $"user{n}@example.org");
        var made = await Task.WhenAll(Enumerable.Range(0, 12)
            .Select(n => rows.TryNewVmAsync(Cancel, email: $"user{n}@example.org")));
        made.Count(m => m.Problem is null).ShouldBe(4, "two of 512 MiB fit on each host");
        made.Where(m => m.Problem is not null).ShouldAllBe(m => m.Problem!.Kind == ProblemKind.NoCapacity);
        (await rows.CountAsync("hosts", "memory_used_mb > memory_mb OR vms <> 2", Cancel)).ShouldBe(0);
    }

    static string Says(ShortageRow row) => FindPlace.Explain(Size, Image, row).Message;

    static Task<int> AddHostAsync(VmRows rows, string host, int memoryMb) => rows.Db.ExecuteAsync(
        """
        INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen)
        VALUES (@host, 'joined', TRUE, @memoryMb, 100000, @now);
        INSERT INTO host_images (host, image, sha256) VALUES (@host, 'tiny', @sha);
        INSERT INTO addresses (host, address, mac)
        VALUES (@host, '10.77.0.2', '52:54:0a:4d:00:02'), (@host, '10.77.0.3', '52:54:0a:4d:00:03');
        """, new { host, memoryMb, sha = VmRows.ImageSha256, now = rows.Now }, Cancel);

    static Task<int> AddAccountAsync(VmRows rows, string email) => rows.Db.ExecuteAsync(
        """
        INSERT INTO accounts (email) VALUES (@email);
        INSERT INTO payments (email, dollars, method) VALUES (@email, 100, 'cash');
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        VALUES (@email, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', @now);
        """, new { email, now = rows.Now }, Cancel);
}
