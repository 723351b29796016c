using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Link;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Tests.Link;

/// <summary>
/// Who may come to a database that is being rebuilt, and what it is told. A real Hub, simulated Spokes.
/// </summary>
public sealed class RebuildConnectionTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>The host is forgotten; its certificate is still one of this Hub's authority.</summary>
    static async Task<Identity> ForgottenAsync(LinkHub link, bool open = true)
    {
        var identity = await link.JoinAsync("rack1");
        await link.Db.ExecuteAsync("DELETE FROM join_tokens; DELETE FROM hosts", null, Cancel);
        if (open) await link.Db.ExecuteAsync(RebuildSql.Start,
            new { now = DateTime.UnixEpoch, expected = Array.Empty<string>() }, Cancel);
        return identity;
    }

    static SpokeMessage Records(LinkHub link, long epoch, string host = "rack1")
    {
        var record = new VmRecoveryRecord
        {
            Id = "capsul-0123456789",
            Host = host,
            Epoch = epoch,
            Generation = 7,
            Email = "ada@example.org",
            Name = "web",
            Size = "f0-old",
            DollarsPerMonth = "3.21",
            Vcpus = 3,
            MemoryMb = 700,
            DiskGb = 7,
            ImageId = "debian-9",
            ImageSha256 = VmRows.ImageSha256,
            LoginUser = "debian",
            CreatedUnixUs = 1,
            Wanted = Power.Off,
            Mac = "52:54:0a:4d:00:02",
            Address = "10.77.0.2",
        }.ToByteArray();
        var signature = link.Hub.Services.GetRequiredService<Authority>().SignRecord(record);
        return new SpokeMessage
        {
            Records = new Records
            {
                Last = true,
                Vms = { new KeptRecord { Id = "capsul-0123456789", Record = ByteString.CopyFrom(record),
                    Signature = ByteString.CopyFrom(signature), HasRun = true } },
            },
        };
    }

    static Task<bool> HasVmAsync(LinkHub link) =>
        link.Db.AskAsync<bool>("SELECT EXISTS (SELECT FROM vms)", null, Cancel);

    [Fact]
    public async Task An_unknown_host_is_told_how_to_be_taken_in()
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await ForgottenAsync(link, open: false));
        (await spoke.RefusalAsync()).ShouldSatisfyAllConditions(
            s => s.StatusCode.ShouldBe(StatusCode.Unauthenticated),
            s => s.Detail.ShouldContain("does not know the host rack1"),
            s => s.Detail.ShouldContain("capsul hub rebuild --from-spokes"));
    }

    [Fact]
    public async Task A_host_that_was_revoked_stays_out()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await ForgottenAsync(link);
        await link.Db.ExecuteAsync("INSERT INTO hosts (id, state) VALUES ('rack1', 'revoked')", null, Cancel);
        using var spoke = await ManualSpoke.DialAsync(identity);
        (await spoke.RefusalAsync()).Detail.ShouldContain("does not belong to a current host");
    }

    [Fact]
    public async Task A_certificate_of_another_authority_does_not_count()
    {
        await using var link = await LinkHub.StartAsync();
        await using var stranger = await LinkHub.StartAsync();
        await ForgottenAsync(link);
        var other = link.Hub.Services.GetRequiredService<Authority>();
        using var own =
            stranger.Hub.Services.GetRequiredService<Authority>().MakeServerCertificate(TimeProvider.System);
        other.HostOf(own, TimeProvider.System).ShouldBeNull();
        using var server = other.MakeServerCertificate(TimeProvider.System);
        other.HostOf(server, TimeProvider.System).ShouldBeNull("it is not for clients");
    }

    [Fact]
    public async Task It_is_asked_for_its_records_and_told_nothing_until_the_rebuild_is_finished()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await ForgottenAsync(link);
        using (var spoke = await ManualSpoke.DialAsync(identity))
        {
            (await spoke.NextAsync())!.Welcome.WantsRecords.ShouldBeTrue();
            await spoke.BeatAsync();
            (await spoke.NextAsync())!.BodyCase.ShouldBe(HubMessage.BodyOneofCase.Heartbeat);
            await spoke.SayAsync(Records(link, epoch: 1, host: "rack2"));
            await Until.TrueAsync("it was taken in, without the VM", Limit, async () => await link.Db.AskAsync<bool>(
                "SELECT EXISTS (SELECT FROM rebuilt_hosts WHERE vms = 0 AND notes[1] LIKE '%is of host rack2.')",
                null, Cancel));
        }
        (await HasVmAsync(link)).ShouldBeFalse();
        // Its next connection is of the same kind, although the database knows it by now.
        using (var spoke = await ManualSpoke.DialAsync(identity))
        {
            (await spoke.NextAsync())!.Welcome.WantsRecords.ShouldBeTrue();
            await link.Db.ExecuteAsync("UPDATE seat SET epoch = epoch + 5", null, Cancel);
            (await spoke.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unavailable);
        }
        await Until.TrueAsync("the Hub is active again", Limit, () => Task.FromResult(link.Hub.Seat.Epoch > 5));
        using (var spoke = await ManualSpoke.DialAsync(identity))
        {
            await spoke.SayAsync(Records(link, epoch: 1));
            await Until.TrueAsync("it was taken in", Limit, () => HasVmAsync(link));
            (await RebuildDatabase.FinishAsync(link.Db, TimeProvider.System, Cancel)).ShouldBeTrue();
            (await spoke.RefusalAsync()).Detail.ShouldContain("The rebuild is finished");
        }
        using var after = await ManualSpoke.DialAsync(identity);
        var vm = (await after.NextAsync(HubMessage.BodyOneofCase.Wanted)).Wanted.Vms.ShouldHaveSingleItem();
        (vm.Id, vm.Power, vm.Generation, vm.HasRun).ShouldBe(("capsul-0123456789", Power.Off, 7, true));
        (await link.Db.AskAsync<string>("""
            SELECT v.dollars_per_month || ' ' || s.retired || ' ' || s.dollars_per_month || ' ' || i.login_user
            FROM vms v JOIN sizes s ON s.id = v.size JOIN images i ON i.id = v.image
            """, null, Cancel)).ShouldBe("3.21 true 3.21 debian");
        (await RebuildDatabase.FinishAsync(link.Db, TimeProvider.System, Cancel)).ShouldBeFalse();
    }

    [Fact]
    public async Task If_a_spoke_has_followed_a_higher_epoch_the_next_one_is_above_it()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await ForgottenAsync(link);
        using (var spoke = await ManualSpoke.DialAsync(identity))
        {
            await spoke.SayAsync(Records(link, epoch: 3_000_000));
            (await spoke.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unavailable);
        }
        (await HasVmAsync(link)).ShouldBeFalse();
        await Until.TrueAsync("the epoch is higher", Limit, () => Task.FromResult(link.Hub.Seat.Epoch > 4_000_000));
        using var again = await ManualSpoke.DialAsync(identity);
        await again.SayAsync(Records(link, epoch: 3_000_000));
        await Until.TrueAsync("it was taken in", Limit, () => HasVmAsync(link));
    }

    [Fact]
    public async Task A_malformed_message_ends_the_connection()
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await ForgottenAsync(link));
        await spoke.SayAsync(new SpokeMessage { Records = new Records { Vms = { new KeptRecord { Id = "../x" } } } });
        (await spoke.RefusalAsync()).StatusCode.ShouldBe(StatusCode.InvalidArgument);
    }
}
