using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Tests.Link;

/// <summary>
/// A malicious Spoke that has joined with a real token, over the real link. The other host and the catalog must not be
/// affected.
/// </summary>
public sealed class MaliciousSpokeTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_cannot_change_the_catalog()
    {
        await using var link = await LinkHub.StartAsync();
        using var honest = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"));
        await honest.NextAsync(HubMessage.BodyOneofCase.Wanted);
        var identity = await Identity.JoinAsync(TestFolder.Make("evil"), await link.InviteAsync("evil"), Cancel);
        using var evil = await ManualSpoke.DialAsync(identity, network: "10.78.0", change: f =>
        {
            (f.Images[0].Title, f.Images[0].LoginUser) = ("Free money", "root");
            f.Images.Add(new ImageFacts
            {
                Id = "debian-99",
                Title = "Debian 99",
                Sha256 = VmRows.ImageSha256,
                LoginUser = "debian",
            });
        });
        await evil.NextAsync(HubMessage.BodyOneofCase.Wanted);
        (await link.Db.ListAsync<string>("SELECT id || ' ' || title || ' ' || login_user FROM images", null, Cancel))
            .ShouldBe(["tiny Tiny capsul"]);
        (await link.Db.FindAsync<string>("SELECT title FROM host_images WHERE host = 'evil' AND image = 'tiny'",
            null, Cancel)).ShouldBe("Free money");
    }

    [Theory]
    [InlineData("::1", "::ffff")]
    [InlineData("0.0.0.0", "255.255.255.255")]
    public async Task An_unbounded_address_range_is_refused_cheaply(string first, string last)
    {
        await using var link = await LinkHub.StartAsync();
        using var evil = await ManualSpoke.DialAsync(
            await link.JoinAsync("evil"), change: f => (f.Network.First, f.Network.Last) = (first, last));
        (await evil.RefusalAsync()).StatusCode.ShouldBe(StatusCode.InvalidArgument);
        (await link.Db.FindAsync<long>("SELECT count(*) FROM addresses", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task A_second_hello_without_facts_ends_only_its_connection()
    {
        await using var link = await LinkHub.StartAsync();
        using var honest = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"));
        using var evil = await ManualSpoke.DialAsync(await link.JoinAsync("evil"), network: "10.78.0");
        await evil.NextAsync(HubMessage.BodyOneofCase.Wanted);
        await evil.SayAsync(new SpokeMessage { Hello = new Hello { Protocol = Protocol.Version } });
        (await evil.RefusalAsync()).StatusCode.ShouldBe(StatusCode.InvalidArgument);
        await honest.BeatAsync("still here");
        await Until.TrueAsync("the other host's report has been processed", Limit, async () =>
            await link.Db.FindAsync<string>("SELECT problem FROM hosts WHERE id = 'rack1'", null, Cancel)
                == "still here");
    }

    [Fact]
    public async Task Its_texts_reach_operators_without_escapes_and_truncated()
    {
        await using var link = await LinkHub.StartAsync();
        using var evil = await ManualSpoke.DialAsync(
            await link.JoinAsync("evil"), change: f => f.Hypervisor = "\x1b]0;owned\a\x1b[2J" + new string('x', 9000));
        await evil.NextAsync(HubMessage.BodyOneofCase.Wanted);
        await evil.BeatAsync("\x1b[31m" + new string('y', 100_000));
        await Until.TrueAsync("the heartbeat has been processed", Limit, async () =>
            await link.Db.FindAsync<bool>("SELECT problem <> '' FROM hosts WHERE id = 'evil'", null, Cancel));
        var said = await link.Db.FindAsync<string>(
            "SELECT hypervisor || problem FROM hosts WHERE id = 'evil'", null, Cancel);
        said!.Length.ShouldBeLessThan(1000);
        said.Any(char.IsControl).ShouldBeFalse();
    }
}
