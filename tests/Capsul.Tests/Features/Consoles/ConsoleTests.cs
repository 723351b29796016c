using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Consoles;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Tests.Browser;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;

namespace Capsul.Tests.Features.Consoles;

/// <summary>A VM's serial console, from the browser to the guest and back.</summary>
public sealed class ConsoleTests(ConsoleWorld world, Chromium chromium)
    : IClassFixture<ConsoleWorld>, IClassFixture<Chromium>
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    async Task<(string Token, string Session)> AskAsync(string email = VmRows.Email)
    {
        var session = await world.SignInAsync(email, Cancel);
        // After a crash the Hub knows for a moment that it is off.
        var token = await Until.SomeAsync("it is on", TimeSpan.FromSeconds(60), async () => (await OpenConsole.AskAsync(
            world.Link.Db, email, Secret.Hash(session), world.Vm, ViewKind.Console, TimeProvider.System,
            Cancel)).Value);
        return (token, session);
    }

    [Fact]
    public async Task Two_browsers_see_the_same_guest_and_it_is_written_down_who_opened_it()
    {
        var (token, session) = await AskAsync();
        using var first = await world.ConnectAsync(token, session, Cancel);
        await first.SeeAsync("A simulated machine boots.", Cancel);
        (token, session) = await AskAsync();
        using var second = await world.ConnectAsync(token, session, Cancel);
        await second.SeeAsync("A simulated machine boots.", Cancel);
        await second.TypeAsync("ping\r", Cancel);
        await first.SeeAsync("ping\r\npong\r\n", Cancel);
        await second.SeeAsync("ping\r\npong\r\n", Cancel);
        (await world.Link.Db.AskAsync<long>(
            "SELECT count(*) FROM audit_lines WHERE action = 'open_console' AND actor = @Email AND subject = @Vm",
            new { VmRows.Email, world.Vm }, Cancel)).ShouldBeGreaterThanOrEqualTo(2);
    }

    [Fact]
    public async Task A_token_opens_it_once_for_its_own_session_in_time()
    {
        const string Refusal = "This console link has expired or was already used. Open the console again.";
        var (token, session) = await AskAsync();
        var (_, other) = await AskAsync();
        foreach (var wrong in (string?[])[other, null, "nonsense"])
        {
            using var stranger = await world.ConnectAsync(token, wrong, Cancel);
            (await stranger.EndAsync(Cancel)).ShouldBe(Refusal);
        }
        using (var right = await world.ConnectAsync(token, session, Cancel))
            await right.SeeAsync("A simulated", Cancel);
        using var again = await world.ConnectAsync(token, session, Cancel);
        (await again.EndAsync(Cancel)).ShouldBe(Refusal);

        (token, session) = await AskAsync();
        await world.Link.Db.ExecuteAsync("UPDATE console_tokens SET expires = now() - interval '1 s'", null, Cancel);
        using var late = await world.ConnectAsync(token, session, Cancel);
        (await late.EndAsync(Cancel)).ShouldBe(Refusal);
    }

    [Fact]
    public async Task Nobody_gets_a_token_for_the_vm_of_another()
    {
        var asked = await OpenConsole.AskAsync(world.Link.Db, "bob@example.org", new byte[32], world.Vm,
            ViewKind.Console, TimeProvider.System, Cancel);
        asked.Problem!.Kind.ShouldBe(ProblemKind.NotFound);
    }

    [Fact]
    public async Task Signing_out_closes_it()
    {
        var (token, session) = await AskAsync();
        using var client = await world.ConnectAsync(token, session, Cancel);
        await client.SeeAsync("A simulated", Cancel);
        await world.Link.Db.ExecuteAsync(AccountSql.DeleteSession, new { hash = Secret.Hash(session) }, Cancel);
        (await client.EndAsync(Cancel)).ShouldBe("You have signed out.");
    }

    [Fact]
    public async Task A_terminal_of_an_operator_has_no_session()
    {
        var token = (await OpenConsole.AskAsync(
            world.Link.Db, "cli", world.Vm, ViewKind.Console, TimeProvider.System, Cancel)).OrThrow();
        using var client = await world.ConnectAsync(token, null, Cancel);
        await client.TypeAsync("ping\r", Cancel);
        await client.SeeAsync("pong", Cancel);
    }

    [Fact]
    public async Task A_guest_that_crashes_closes_it_and_the_next_one_is_another()
    {
        var (token, session) = await AskAsync();
        using (var client = await world.ConnectAsync(token, session, Cancel))
        {
            await client.SeeAsync("A simulated", Cancel);
            world.Hypervisor.Crash(world.Vm);
            (await client.EndAsync(Cancel)).ShouldBe("It was turned off.");
        }
        // It is started again; the Hub may not know yet that it was off.
        using var next = await Until.SomeAsync("it has a console", TimeSpan.FromSeconds(60), async () =>
        {
            var (again, by) = await AskAsync();
            var client = await world.ConnectAsync(again, by, Cancel);
            if (await client.ShowsSomethingAsync(Cancel)) return client;
            client.Dispose();
            return null;
        });
        await next.TypeAsync("ping\r", Cancel);
        await next.SeeAsync("pong", Cancel);
        // The other tests find it on: what its host reported of the crash has arrived before the next heartbeat.
        var began = await world.Link.Db.AskAsync<DateTime>("SELECT now()", null, Cancel);
        await Until.TrueAsync("the Hub knows that it is on", TimeSpan.FromSeconds(60), () =>
            world.Link.Db.AskAsync<bool>(
                "SELECT v.observed = 'on' AND h.last_seen > @began FROM vms v JOIN hosts h ON h.id = v.host "
                + "WHERE v.id = @Vm", new { began, world.Vm }, Cancel));
    }

    [Fact]
    public async Task A_guest_that_prints_for_ever_fills_nothing_and_is_not_slowed_down()
    {
        var (here, there) = Line.Pair();
        await using var console = new SerialConsole(here, TimeProvider.System);
        var view = console.Add(default, _ => ValueTask.CompletedTask);
        var part = new byte[4096];
        for (var n = 0; n < 5000; n++) await there.Output.WriteAsync(part, Cancel);
        await there.Output.WriteAsync("the end"u8.ToArray(), Cancel);
        await there.Output.CompleteAsync();
        await Until.TrueAsync("all was read", TimeSpan.FromSeconds(60), () => Task.FromResult(console.HasEnded));
        var (parts, last) = (0, "");
        await foreach (var shown in view.Output.ReadAllAsync(Cancel))
            (parts, last) = (parts + 1, Encoding.ASCII.GetString(shown.Span));
        parts.ShouldBeLessThanOrEqualTo(64);
        last.ShouldEndWith("the end");
    }

    [Fact]
    public async Task A_guest_that_does_not_read_takes_only_what_fits()
    {
        var (here, _) = Line.Pair();
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider { AutoAdvanceAmount = TimeSpan.Zero };
        await using var console = new SerialConsole(here, time);
        var view = console.Add(default, _ => ValueTask.CompletedTask);
        var typing = view.TypeAsync(new byte[1 << 20], Cancel);
        typing.IsCompleted.ShouldBeFalse();
        time.Advance(TimeSpan.FromSeconds(11));
        (await Should.ThrowAsync<HypervisorException>(typing)).Message.ShouldBe(
            "The guest does not read what is typed.");
    }

    [Fact]
    public async Task Only_the_host_that_was_asked_may_open_a_stream()
    {
        var identity = await world.Link.JoinAsync("rack2");
        var streams = world.Link.Hub.Services.GetRequiredService<Streams>();
        OpenStream? asked = null;
        using var connected = streams.Connect("rack3", open =>
        {
            asked = open;
            return true;
        });
        var opening = streams.OpenAsync("rack3", world.Vm, ViewKind.Console, Cancel);
        using var channel = identity.OpenAt($"127.0.0.1:{world.Link.Hub.LinkPort}");
        foreach (var id in (string[])[asked!.Id, "unknown"])
        {
            using var call = new HubLink.HubLinkClient(channel).Stream(cancellationToken: Cancel);
            await call.RequestStream.WriteAsync(new StreamMessage { Hello = new StreamHello { Id = id } }, Cancel);
            (await Should.ThrowAsync<RpcException>(() => call.ResponseStream.MoveNext(Cancel))).StatusCode
                .ShouldBe(StatusCode.NotFound);
        }
        opening.IsCompleted.ShouldBeFalse();
    }

    [Fact]
    public void What_a_spoke_sends_on_a_stream_is_checked()
    {
        StreamMessage Data(int bytes) => new() { Data = Google.Protobuf.ByteString.CopyFrom(new byte[bytes]) };
        Intake.Check(Data(StreamLimits.ChunkBytes)).Data.Length.ShouldBe(StreamLimits.ChunkBytes);
        Should.Throw<RpcException>(() => Intake.Check(Data(StreamLimits.ChunkBytes + 1)));
        Should.Throw<RpcException>(() => Intake.Check(new StreamMessage()));
        Should.Throw<RpcException>(() => Intake.Check(new StreamMessage { Hello = new StreamHello { Id = "x" } }));
        Intake.Check(new StreamMessage { End = new StreamEnd { Problem = "a\u001b[31m\nb" } }).End.Problem
            .ShouldBe("a [31m b");
    }

    [Fact]
    public async Task A_password_is_set_in_the_guest_shown_once_and_kept_nowhere()
    {
        await using var context = await SignedInAsync();
        var page = await context.NewPageAsync();
        await page.GotoAsync($"/vms/{world.Vm}/console");
        await page.GetByRole(AriaRole.Button, new() { Name = "Set a new password" }).ClickAsync();
        await Assertions.Expect(page.Locator("#new-password code").Last).ToBeVisibleAsync();
        var password = await page.Locator("#new-password .copy code").InnerTextAsync();
        StreamLimits.IsPassword(password).ShouldBeTrue(password);
        world.Hypervisor.Passwords.Values.ShouldContain(password);
        (await world.Link.Db.AskAsync<long>("SELECT count(*) FROM audit_lines WHERE action = 'set_password' "
            + "AND actor = @Email AND subject = @Vm", new { VmRows.Email, world.Vm }, Cancel)).ShouldBeGreaterThan(0);
        await Chromium.PictureAsync(page, "console-password");
        await page.GotoAsync($"/vms/{world.Vm}/console");
        (await page.ContentAsync()).ShouldNotContain(password);
    }

    [Fact]
    public async Task The_agent_changes_the_keys_and_the_rows_follow()
    {
        await world.Link.Db.ExecuteAsync("INSERT INTO ssh_keys (email, name, type, key, fingerprint, created) VALUES "
            + "(@Email, 'new', 'ssh-ed25519', 'AAAA', 'SHA256:new', now()) ON CONFLICT DO NOTHING",
            new { VmRows.Email }, Cancel);
        var key = await world.Link.Db.AskAsync<long>(
            "SELECT id FROM ssh_keys WHERE email = @Email AND name = 'new'", new { VmRows.Email }, Cancel);
        var agents = world.Link.Hub.Services.GetService<IHostAgents>();
        world.Hypervisor.Inject(Verb.SetKeys, new Fault(FaultKind.Fail, Message: "No guest agent answers in it."));
        (await ChangeKeys.RunAsync(world.Link.Db, agents, VmRows.Email, world.Vm, [key], Cancel)).Problem!.Message
            .ShouldBe("No guest agent answers in it.");
        (await CountAsync()).ShouldBe(0, "the rows say what the VM has");
        (await ChangeKeys.RunAsync(world.Link.Db, agents, VmRows.Email, world.Vm, [key], Cancel)).OrThrow()
            .ShouldBe(1);
        world.Hypervisor.Keys.Single(k => k.Key.Id == world.Vm).Value.ShouldBe("ssh-ed25519 AAAA");
        (await CountAsync()).ShouldBe(1);
        (await ChangeKeys.RunAsync(world.Link.Db, agents, VmRows.Email, world.Vm, [], Cancel)).Problem!.Field
            .ShouldBe("KeyIds");
        (await ChangeKeys.RunAsync(world.Link.Db, agents, "bob@example.org", world.Vm, [key], Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);

        Task<long> CountAsync() => world.Link.Db.AskAsync<long>(
            "SELECT count(*) FROM vm_ssh_keys WHERE vm = @Vm AND key = 'AAAA'", new { world.Vm }, Cancel);
    }

    [Fact]
    public async Task What_the_agent_refuses_is_told()
    {
        world.Hypervisor.Inject(Verb.SetPassword, new Fault(FaultKind.Fail, Message: "No guest agent answers in it."));
        var refused = await SetPassword.RunAsync(world.Link.Db, world.Link.Hub.Services.GetService<IHostConsoles>(),
            VmRows.Email, world.Vm, Cancel);
        refused.Problem!.Message.ShouldBe("No guest agent answers in it.");
        (await SetPassword.RunAsync(world.Link.Db, null, "bob@example.org", world.Vm, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
    }

    async Task<IBrowserContext> SignedInAsync()
    {
        var session = await world.SignInAsync(VmRows.Email, Cancel);
        var context = await chromium.NewContextAsync(new() { BaseURL = world.Address.ToString() });
        await context.AddCookiesAsync(
            [new() { Name = "capsul-session", Value = session, Url = world.Address.ToString() }]);
        return context;
    }

    [Fact]
    public async Task In_a_browser_one_types_and_sees()
    {
        await using var context = await SignedInAsync();
        var page = await context.NewPageAsync();
        var complaints = new List<string>();
        page.Console += (_, said) => { if (said.Type == "error") complaints.Add(said.Text); };
        page.PageError += (_, error) => complaints.Add(error);
        await page.GotoAsync($"/vms/{world.Vm}");
        await page.GetByRole(AriaRole.Link, new() { Name = "Console", Exact = true }).ClickAsync();
        await Assertions.Expect(page.Locator("#view-state")).ToHaveTextAsync("Connected.");
        await page.Locator("#terminal").ClickAsync();
        await page.Keyboard.TypeAsync("ping");
        await page.Keyboard.PressAsync("Enter");
        await page.WaitForFunctionAsync("() => document.querySelector('#terminal').consoleText().includes('pong')");
        await Chromium.PictureAsync(page, "console-typed");
        complaints.ShouldBeEmpty();
        await page.Keyboard.PressAsync("Control+Shift+Escape");
        await Assertions.Expect(page.GetByRole(AriaRole.Button, new() { Name = "Fit the guest’s screen" }))
            .ToBeFocusedAsync();
    }
}
