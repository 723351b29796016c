using Capsul.Hub.Features.Hosts;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>What a connected Spoke notices when an operator renames or removes its host.</summary>
public sealed class HostChangeTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_renamed_host_connects_again_with_the_same_certificate_and_is_welcomed_under_its_new_name()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using (var before = await ManualSpoke.DialAsync(identity, runId: "same"))
        {
            await before.NextAsync(HubMessage.BodyOneofCase.Wanted);
            (await RenameHost.RunAsync(link.Db, "ops", "rack1", "rack2", Cancel)).OrThrow();
            (await before.RefusalAsync()).ShouldSatisfyAllConditions(
                s => s.StatusCode.ShouldBe(StatusCode.Unavailable),
                s => s.Detail.ShouldContain("another name"));
        }
        using var after = await ManualSpoke.DialAsync(identity, runId: "same");
        (await after.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.HostId.ShouldBe("rack2");
        await after.BeatAsync();
        await Until.TrueAsync("it is online", Limit, () => link.IsOnlineAsync("rack2"));
        identity.HostId.ShouldBe("rack1", "the certificate is still the old one");
        (await link.Db.AskAsync<long>("SELECT count(*) FROM hosts", null, Cancel)).ShouldBe(1);
        (await link.Db.AskAsync<long>("SELECT count(*) FROM addresses WHERE host = 'rack2'", null, Cancel))
            .ShouldBe(13);
    }

    [Fact]
    public async Task A_removed_host_is_cut_off_and_may_join_again_with_a_new_invitation()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using (var before = await ManualSpoke.DialAsync(identity))
        {
            await before.NextAsync(HubMessage.BodyOneofCase.Wanted);
            (await RemoveHost.RunAsync(link.Db, "ops", "rack1", false, null, link.Time, Cancel)).OrThrow();
            (await before.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unavailable);
        }
        using (var refused = await ManualSpoke.DialAsync(identity))
            (await refused.RefusalAsync()).StatusCode.ShouldBe(StatusCode.Unauthenticated);
        var again = await link.JoinAsync("rack1", TestFolder.Make("again"));
        using var after = await ManualSpoke.DialAsync(again);
        await after.NextAsync(HubMessage.BodyOneofCase.Wanted);
    }

    [Fact]
    public async Task A_machine_that_the_database_does_not_know_is_remembered_until_the_host_no_longer_has_it()
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"));
        await spoke.SayAsync(Inventory("capsul-000000000a", "capsul-000000000b"));
        await UnknownAsync(link, "capsul-000000000a on", "capsul-000000000b on");
        await spoke.SayAsync(new SpokeMessage { Vm = new VmReport { Id = "capsul-000000000a", Power = Power.Off } });
        await UnknownAsync(link, "capsul-000000000a off", "capsul-000000000b on");
        await spoke.SayAsync(new SpokeMessage { Vm = new VmReport { Id = "capsul-000000000a", Power = Power.Gone } });
        await UnknownAsync(link, "capsul-000000000b on");
        await spoke.SayAsync(Inventory());
        await UnknownAsync(link);
    }

    static SpokeMessage Inventory(params string[] ids)
    {
        var inventory = new Inventory();
        inventory.Vms.AddRange(ids.Select(id => new VmReport { Id = id, Power = Power.On }));
        return new SpokeMessage { Inventory = inventory };
    }

    static Task UnknownAsync(LinkHub link, params string[] expected) =>
        Until.TrueAsync(string.Join(", ", expected), Limit, async () => (await link.Db.ListAsync<string>(
            "SELECT vm || ' ' || power FROM unknown_vms ORDER BY 1", null, Cancel)).SequenceEqual(expected));

    [Fact]
    public async Task A_reboot_is_recorded_and_the_end_of_the_certificate_is_known()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        foreach (var boot in (string[])["one", "one", "two"])
        {
            using var spoke = await ManualSpoke.DialAsync(identity, runId: "same", bootId: boot);
            await spoke.NextAsync(HubMessage.BodyOneofCase.Wanted);
        }
        (await link.Db.AskAsync<long>(
            "SELECT count(*) FROM audit_lines WHERE action = 'rebooted' AND subject = 'rack1'", null, Cancel))
            .ShouldBe(1);
        (await link.Db.AskAsync<bool>(
            "SELECT rebooted IS NOT NULL AND certificate_ends > now() + interval '89 days' FROM hosts", null, Cancel))
            .ShouldBeTrue();
    }
}
