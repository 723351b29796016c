using System.Net.WebSockets;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Consoles;
using Capsul.Hub.Link;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Browser;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;

namespace Capsul.Tests.Features.Consoles;

/// <summary>A VM's screen, from the browser to the guest and back.</summary>
public sealed class ScreenTests(ConsoleWorld world, Chromium chromium)
    : IClassFixture<ConsoleWorld>, IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static uint Color(int keys) => Simulated.ScreenColors[keys % Simulated.ScreenColors.Count];

    async Task<(string Token, string Session)> AskAsync(ViewKind kind = ViewKind.Screen)
    {
        var session = await world.SignInAsync(VmRows.Email, Cancel);
        // After a crash the Hub knows for a moment that it is off.
        var token = await Until.SomeAsync("it is on", TimeSpan.FromSeconds(60), async () => (await OpenConsole.AskAsync(
            world.Link.Db, VmRows.Email, Secret.Hash(session), world.Vm, kind, TimeProvider.System, Cancel)).Value);
        return (token, session);
    }

    async Task<RfbClient> ConnectAsync()
    {
        var (token, session) = await AskAsync();
        var socket = await world.OpenSocketAsync("screen", token, session, Cancel);
        return await RfbClient.ConnectAsync(
            WebSocketStream.Create(socket, WebSocketMessageType.Binary, ownsWebSocket: true), Cancel);
    }

    [Fact]
    public async Task Two_viewers_see_the_same_screen_and_it_is_written_down_who_opened_it()
    {
        await using var first = await ConnectAsync();
        await using var second = await ConnectAsync();
        (first.Name, first.Width, first.Height).ShouldBe((world.Vm, Simulated.ScreenWidth, Simulated.ScreenHeight));
        var before = world.Hypervisor.ScreenKeys(world.Vm);
        (await first.PictureAsync(Cancel)).ShouldAllBe(pixel => pixel == Color(before));
        await first.PressAsync([0x61], Cancel);
        await Until.TrueAsync("the key arrives", TimeSpan.FromSeconds(60),
            () => Task.FromResult(world.Hypervisor.ScreenKeys(world.Vm) == before + 1));
        (await second.PictureAsync(Cancel)).ShouldAllBe(pixel => pixel == Color(before + 1));
        (await world.Link.Db.AskAsync<long>(
            "SELECT count(*) FROM audit_lines WHERE action = 'open_screen' AND actor = @Email AND subject = @Vm",
            new { VmRows.Email, world.Vm }, Cancel)).ShouldBeGreaterThanOrEqualTo(2);
    }

    [Fact]
    public async Task A_token_for_the_console_does_not_open_the_screen_nor_the_other_way_round()
    {
        foreach (var (kind, other) in ((ViewKind, string)[])
            [(ViewKind.Console, "screen"), (ViewKind.Screen, "console")])
        {
            var (token, session) = await AskAsync(kind);
            using var client = new ConsoleClient(await world.OpenSocketAsync(other, token, session, Cancel));
            (await client.EndAsync(Cancel)).ShouldBe(
                $"This {other} link has expired or was already used. Open the {other} again.");
        }
    }

    [Fact]
    public async Task A_guest_that_crashes_closes_it()
    {
        var (token, session) = await AskAsync();
        using var client = new ConsoleClient(await world.OpenSocketAsync("screen", token, session, Cancel));
        await client.SeeAsync("RFB 003.008", Cancel);
        world.Hypervisor.Crash(world.Vm);
        (await client.EndAsync(Cancel)).ShouldBe(
            "The screen was closed, most likely because the capsul was turned off.");
    }

    [Fact]
    public async Task What_the_host_refuses_is_told()
    {
        const string Older = "It has no screen until it is restarted.";
        var (token, session) = await AskAsync();
        world.Hypervisor.Inject(Verb.OpenScreen, new Fault(FaultKind.FailFinal, Message: Older));
        using var client = new ConsoleClient(await world.OpenSocketAsync("screen", token, session, Cancel));
        (await client.EndAsync(Cancel)).ShouldBe(Older);
    }

    [Fact]
    public async Task A_spoke_without_screens_is_not_asked()
    {
        var streams = world.Link.Hub.Services.GetRequiredService<Streams>();
        using var connected = streams.Connect("rack9", _ => throw new InvalidOperationException(), ports: true);
        (await streams.OpenAsync("rack9", world.Vm, ViewKind.Screen, Cancel)).Problem!.Message
            .ShouldBe("The Spoke of rack9 is too old for this; upgrade it.");
    }

    [Fact]
    public async Task In_a_browser_one_sees_types_pastes_and_only_watches()
    {
        var session = await world.SignInAsync(VmRows.Email, Cancel);
        await using var context = await chromium.NewContextAsync(new() { BaseURL = world.Address.ToString() });
        await context.AddCookiesAsync(
            [new() { Name = "capsul-session", Value = session, Url = world.Address.ToString() }]);
        var page = await context.NewPageAsync();
        var complaints = new List<string>();
        page.Console += (_, said) => { if (said.Type == "error") complaints.Add(said.Text); };
        page.PageError += (_, error) => complaints.Add(error);
        await Until.TrueAsync("it is on", TimeSpan.FromSeconds(60), () => world.Link.Db.AskAsync<bool>(
            "SELECT observed = 'on' FROM vms WHERE id = @Vm", new { world.Vm }, Cancel));
        await page.GotoAsync($"/vms/{world.Vm}");
        await page.GetByRole(AriaRole.Link, new() { Name = "Screen", Exact = true }).ClickAsync();
        await Assertions.Expect(page.Locator("#view-state")).ToHaveTextAsync("Connected.");
        await SeesAsync(page);
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Restart" })).ToBeVisibleAsync();

        var before = Keys;
        await page.Locator("#screen canvas").FocusAsync();
        await page.Keyboard.PressAsync("a");
        await KeysAsync(before + 1);
        await SeesAsync(page);
        await page.GetByRole(AriaRole.Button, new() { Name = "Ctrl-Alt-Del" }).ClickAsync();
        await KeysAsync(before + 4);

        await page.GetByRole(AriaRole.Button, new() { Name = "Paste text" }).ClickAsync();
        await page.GetByLabel("Text to type").FillAsync("ü");
        await page.GetByRole(AriaRole.Button, new() { Name = "Type it" }).ClickAsync();
        await Assertions.Expect(page.Locator("#view-state")).ToHaveTextAsync(
            "A US keyboard has no “ü”: nothing was typed.");
        await page.GetByLabel("Text to type").FillAsync("aB!\n");
        await page.GetByRole(AriaRole.Button, new() { Name = "Type it" }).ClickAsync();
        await Assertions.Expect(page.Locator("#view-state")).ToHaveTextAsync("Typed.");
        // Four keys, and Shift with two of them.
        await KeysAsync(before + 10);
        await Chromium.PictureAsync(page, "screen-typed");

        // Whoever leaves the screen leaves no key down: Control and Shift have gone there.
        var only = page.GetByRole(AriaRole.Button, new() { Name = "View only" });
        await page.Locator("#screen canvas").FocusAsync();
        await page.Keyboard.PressAsync("Control+Shift+Escape");
        await KeysAsync(before + 12);
        await Assertions.Expect(only).ToBeFocusedAsync();
        await Until.TrueAsync("all keys are up", TimeSpan.FromSeconds(60),
            () => Task.FromResult(world.Hypervisor.HeldKeys(world.Vm).Count == 0));

        await only.ClickAsync();
        await page.Locator("#screen canvas").FocusAsync();
        await page.Keyboard.PressAsync("b");
        await page.Keyboard.PressAsync("Control+Shift+Escape");
        await Assertions.Expect(only).ToBeFocusedAsync();
        await only.ClickAsync();
        await page.Locator("#screen canvas").FocusAsync();
        await page.Keyboard.PressAsync("c");
        await KeysAsync(before + 13);
        complaints.ShouldBeEmpty();
    }

    int Keys => world.Hypervisor.ScreenKeys(world.Vm);

    async Task KeysAsync(int count)
    {
        await Until.TrueAsync($"{count} keys arrive", TimeSpan.FromSeconds(60), () => Task.FromResult(Keys >= count));
        Keys.ShouldBe(count);
    }

    /// <summary>The canvas has the guest's color, in every corner.</summary>
    async Task SeesAsync(IPage page)
    {
        var color = Color(Keys);
        await page.WaitForFunctionAsync("""
            color => {
              const canvas = document.querySelector("#screen canvas");
              if (!canvas?.width) return false;
              const at = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3).join();
              return at(0, 0) === color && at(canvas.width - 1, canvas.height - 1) === color;
            }
            """, $"{color >> 16},{(color >> 8) & 255},{color & 255}");
    }
}
