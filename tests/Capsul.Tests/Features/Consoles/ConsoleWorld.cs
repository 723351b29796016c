using System.Net.WebSockets;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Consoles;

/// <summary>A Hub, a Spoke over the simulated hypervisor, a real link, and a VM that runs.</summary>
public class ConsoleWorld : IAsyncLifetime
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    readonly CancellationTokenSource stop = new();
    LinkHub? link;
    Task running = Task.CompletedTask;

    protected virtual (string Name, string? Value)[] HubSettings => [];

    protected virtual (string Name, string? Value)[] SpokeSettings => [];

    protected virtual bool RelaysListen => false;

    public LinkHub Link => link!;

    public Simulated Hypervisor { get; private set; } = null!;

    public string Vm { get; private set; } = "";

    public Uri Address { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        var cancel = TestContext.Current.CancellationToken;
        link = await LinkHub.StartAsync(HubSettings);
        Address = new Uri($"http://127.0.0.1:{link.Hub.Port}/");
        var folder = TestFolder.Make("consoles");
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
        }).With(SpokeSettings);
        var identity = await link.JoinAsync("rack1", folder);
        var images = new ImageStore(settings.Images);
        Hypervisor = new Simulated(settings, images, TimeProvider.System) { RelaysListen = RelaysListen };
        Hypervisor.AddForeign(new ForeignMachine("00000000-0000-4000-8000-000000000001", "web", DomainPower.On, 1, 512,
            5, "qcow2", "52:54:00:00:01:01", ""));
        running = Task.Run(() => new SpokeProgram(settings, identity, Hypervisor, images, TimeProvider.System,
            NullLoggerFactory.Instance).RunAsync(stop.Token), cancel);
        foreach (var email in (string[])[VmRows.Email, "bob@example.org"])
            await link.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email)", new { email }, cancel);
        await Until.TrueAsync("the machine is reported", Limit, () => link.Db.AskAsync<bool>(
            "SELECT count(*) = 1 FROM foreign_machines", null, cancel));
        Vm = (await AdoptVm.RunAsync(link.Db, "test", new AdoptVm.Input("rack1", "web", VmRows.Email, "f1-xs", null,
            null), settings, TimeProvider.System, cancel)).OrThrow();
        await Until.TrueAsync("it runs", Limit, () => link.Db.AskAsync<bool>(
            "SELECT state = 'running' FROM vms WHERE id = @vm", new { vm = Vm }, cancel));
    }

    /// <summary>The cookie of a new session.</summary>
    public async Task<string> SignInAsync(string email, CancellationToken cancel)
    {
        var (session, now) = (Secret.Make(), DateTime.UnixEpoch.AddYears(100));
        await Link.Db.ExecuteAsync(AccountSql.CreateSession,
            new { hash = Secret.Hash(session), email, now, expires = now }, cancel);
        return session;
    }

    public async Task<ConsoleClient> ConnectAsync(string token, string? session, CancellationToken cancel) =>
        new(await OpenSocketAsync("console", token, session, cancel));

    /// <param name="what">"console" or "screen".</param>
    public async Task<ClientWebSocket> OpenSocketAsync(
        string what, string token, string? session, CancellationToken cancel)
    {
        var socket = new ClientWebSocket();
        if (session is not null) socket.Options.SetRequestHeader("Cookie", $"capsul-session={session}");
        var address = new UriBuilder(Address)
        { Scheme = "ws", Path = $"/vms/{Vm}/{what}/socket", Query = $"token={token}" };
        await socket.ConnectAsync(address.Uri, cancel);
        return socket;
    }

    public async ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        await stop.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await Hypervisor.DisposeAsync();
        if (link is not null) await link.DisposeAsync();
        stop.Dispose();
    }
}

/// <summary>Somebody at a console.</summary>
public sealed class ConsoleClient(ClientWebSocket socket) : IDisposable
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    string seen = "";

    public Task TypeAsync(string text, CancellationToken cancel) => socket.SendAsync(
        Encoding.UTF8.GetBytes(text), WebSocketMessageType.Binary, endOfMessage: true, cancel);

    /// <summary>Reads until something is shown that was not shown before.</summary>
    public async Task SeeAsync(string text, CancellationToken cancel)
    {
        while (!seen.Contains(text, StringComparison.Ordinal))
            (await ReadAsync(cancel)).ShouldBeNull($"it was closed before it showed {text}; it showed {seen}");
        seen = seen[(seen.IndexOf(text, StringComparison.Ordinal) + text.Length)..];
    }

    /// <summary>False: it was closed before.</summary>
    public async Task<bool> ShowsSomethingAsync(CancellationToken cancel) => await ReadAsync(cancel) is null;

    /// <summary>Reads until it is closed, and returns why.</summary>
    public async Task<string> EndAsync(CancellationToken cancel)
    {
        string? reason;
        while ((reason = await ReadAsync(cancel)) is null) { }
        return reason;
    }

    async Task<string?> ReadAsync(CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Until.Patient(Limit));
        var buffer = new byte[64 << 10];
        var got = await socket.ReceiveAsync(buffer.AsMemory(), limit.Token);
        if (got.MessageType == WebSocketMessageType.Close) return socket.CloseStatusDescription ?? "";
        seen += Encoding.UTF8.GetString(buffer, 0, got.Count);
        return null;
    }

    public void Dispose() => socket.Dispose();
}
