using System.Net.WebSockets;
using Capsul.Hub.Features.Consoles;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>The screen of a real guest, through Hub, link and Spoke.</summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class ScreenTests
{
    const string BootId = "cat /proc/sys/kernel/random/boot_id";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_viewer_sees_a_real_guest_and_its_ctrl_alt_del_reboots_it()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        var boot = await world.Person.LoginAsync(ssh, BootId, Cancel);
        await using var screen = await ConnectAsync(world, id);
        screen.Name.ShouldContain(id);
        screen.Width.ShouldBeInRange(320, 4096);
        (await screen.PictureAsync(Cancel)).Distinct().Count().ShouldBeGreaterThan(1, "the firmware's text is there");

        await screen.PressAsync([0xffe3, 0xffe9, 0xffff], Cancel);
        await Until.TrueAsync("it has booted again", RealWorld.RunLimit, async () =>
            await world.Person.SshCommandFor(ssh, BootId).TryRunAsync(Cancel) is { ExitCode: 0 } now
                && now.Output.Trim() != boot.Trim());
        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);
    }

    static async Task<RfbClient> ConnectAsync(RealWorld world, string id)
    {
        var token = (await OpenConsole.AskAsync(
            world.Db, "test", id, ViewKind.Screen, TimeProvider.System, Cancel)).Value.ShouldNotBeNull();
        var socket = new ClientWebSocket();
        await socket.ConnectAsync(new UriBuilder(world.Address)
        {
            Scheme = "ws",
            Path = $"/vms/{id}/screen/socket",
            Query = $"token={token}",
        }.Uri, Cancel);
        return await RfbClient.ConnectAsync(
            WebSocketStream.Create(socket, WebSocketMessageType.Binary, ownsWebSocket: true), Cancel);
    }
}
