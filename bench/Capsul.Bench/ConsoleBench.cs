using System.Diagnostics;
using System.Net;
using System.Net.WebSockets;
using Capsul.Fleet;
using Capsul.Foundation;
using Capsul.Hub.Features.Consoles;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Logging;

namespace Capsul.Bench;

/// <summary>
/// The echo of a key on a serial console, through a WebSocket, the Hub, the link and a Spoke over the simulated
/// hypervisor, against a bare WebSocket that echoes, in the same run, in turns; and what two hundred open consoles cost
/// on which somebody types.
/// </summary>
static class ConsoleBench
{
    const double MaxAddedMs = 15, MaxCpu = 100;
    const int Keys = 500, Rounds = 4, WarmUps = 200, Consoles = 200, OfAccount = 8;
    static readonly TimeSpan Window = TimeSpan.FromSeconds(20), TypeEvery = TimeSpan.FromMilliseconds(500),
        SettleLimit = TimeSpan.FromMinutes(5);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            var settings = HubRun.SettingsFor(folder);
            await using var hub = await HubRun.StartAsync(settings, cancel);
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            await HubRun.AwaitActiveAsync(settings, cancel);
            await using var fleet = FleetChild.Start(settings, new FleetPlan(1, 500));
            await Within.HoldsAsync(SettleLimit, "The settling of the fleet", async token =>
                await fleet.FiguresAsync(token) is { Settled: true }, cancel);
            var vms = await database.Db.ListAsync<string>(BenchSql.SomeVms, new { each = OfAccount, limit = Consoles },
                cancel);
            var added = await AddedAsync(settings, database, vms[0], cancel);
            var cpu = await CostAsync(settings, database, vms, hub, fleet, cancel);
            return Figures.Verdict(check, added <= MaxAddedMs && cpu <= MaxCpu,
                $"console: an echo takes {Figures.Text(added, "0.0")} ms more at p99 than on a bare WebSocket (bar "
                + $"{MaxAddedMs}), {vms.Count} open consoles with two keys a second each take {Figures.Text(cpu, "0")} "
                + $"% of a core of Hub and Spoke (bar {MaxCpu})");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Milliseconds at p99.</summary>
    static async Task<double> AddedAsync(
        Settings settings, BenchDatabase database, string vm, CancellationToken cancel)
    {
        await using var bare = await ServeBareAsync(cancel);
        using var plain = new ClientWebSocket();
        await plain.ConnectAsync(new Uri(bare.Urls.First().Replace("http", "ws", StringComparison.Ordinal)), cancel);
        using var ours = await OpenAsync(settings, database, vm, cancel);
        await EchoesAsync(plain, WarmUps, cancel);
        await EchoesAsync(ours, WarmUps, cancel);
        var (theirs, own) = (new List<double>(), new List<double>());
        for (var n = 0; n < Rounds; n++)
        {
            theirs.AddRange(await EchoesAsync(plain, Keys, cancel));
            own.AddRange(await EchoesAsync(ours, Keys, cancel));
        }
        foreach (var (what, times) in (ReadOnlySpan<(string, List<double>)>)[("bare", theirs), ("console", own)])
            Console.WriteLine($"{what}: median {Figures.Text(Figures.Median(times))} ms, p99 "
                + $"{Figures.Text(Figures.Percentile(times, 99))} ms of {times.Count} keys");
        return Figures.Percentile(own, 99) - Figures.Percentile(theirs, 99);
    }

    /// <summary>Hub and Spoke together, % of a core.</summary>
    static async Task<double> CostAsync(Settings settings, BenchDatabase database, IReadOnlyList<string> vms,
        Started hub, FleetChild fleet, CancellationToken cancel)
    {
        var open = new List<ClientWebSocket>();
        try
        {
            foreach (var vm in vms) open.Add(await OpenAsync(settings, database, vm, cancel));
            var before = ProcessCost.Of(hub.Id)!.CpuSeconds + fleet.Cost.CpuSeconds;
            var clock = Stopwatch.StartNew();
            await Task.WhenAll(open.Select(socket => TypeAsync(socket, cancel)));
            var cpu = ProcessCost.Of(hub.Id)!.CpuSeconds + fleet.Cost.CpuSeconds - before;
            return 100 * cpu / clock.Elapsed.TotalSeconds;
        }
        finally
        {
            foreach (var socket in open) socket.Dispose();
        }
    }

    static async Task TypeAsync(ClientWebSocket socket, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < Window)
        {
            await EchoesAsync(socket, 1, cancel);
            await Task.Delay(TypeEvery, cancel);
        }
    }

    /// <summary>Milliseconds from each key to its echo.</summary>
    static async Task<List<double>> EchoesAsync(ClientWebSocket socket, int keys, CancellationToken cancel)
    {
        var (times, buffer) = (new List<double>(), new byte[64 << 10]);
        for (var n = 0; n < keys; n++)
        {
            var clock = Stopwatch.StartNew();
            await socket.SendAsync("x"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, cancel);
            var got = await socket.ReceiveAsync(buffer.AsMemory(), cancel);
            if (got.MessageType == WebSocketMessageType.Close)
                throw new ProblemException(ProblemKind.Unavailable, $"It was closed: {socket.CloseStatusDescription}");
            times.Add(clock.Elapsed.TotalMilliseconds);
        }
        return times;
    }

    static async Task<ClientWebSocket> OpenAsync(
        Settings settings, BenchDatabase database, string vm, CancellationToken cancel)
    {
        var token = (await OpenConsole.AskAsync(
            database.Db, "bench", vm, ViewKind.Console, TimeProvider.System, cancel)).OrThrow();
        var socket = new ClientWebSocket();
        await socket.ConnectAsync(
            new Uri($"ws://127.0.0.1:{settings.Port}/vms/{vm}/console/socket?token={token}"), cancel);
        // What the guest has printed before.
        var got = await socket.ReceiveAsync(new byte[64 << 10].AsMemory(), cancel);
        return got.MessageType != WebSocketMessageType.Close ? socket
            : throw new ProblemException(ProblemKind.Unavailable, $"It was closed: {socket.CloseStatusDescription}");
    }

    /// <summary>A server whose every connection is a WebSocket that echoes.</summary>
    static async Task<WebApplication> ServeBareAsync(CancellationToken cancel)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        var app = builder.Build();
        app.UseWebSockets();
        app.Run(async context =>
        {
            using var socket = await context.WebSockets.AcceptWebSocketAsync();
            var buffer = new byte[1024];
            while (await socket.ReceiveAsync(buffer.AsMemory(), CancellationToken.None)
                is { MessageType: WebSocketMessageType.Binary } got)
                await socket.SendAsync(buffer.AsMemory(0, got.Count), WebSocketMessageType.Binary, endOfMessage: true,
                    CancellationToken.None);
        });
        await app.StartAsync(cancel);
        return app;
    }
}
