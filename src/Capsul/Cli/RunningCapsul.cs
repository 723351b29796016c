using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;

namespace Capsul.Cli;

/// <summary>Hub, Spoke, or both, running in this process. What <c>up</c> and <c>demo</c> have in common.</summary>
public sealed class RunningCapsul : IAsyncDisposable
{
    readonly CancellationTokenSource stop = new();
    readonly DataFolder? spokeFolder;

    readonly ILoggerFactory? spokeLogs;

    RunningCapsul(HubProgram? hub, DataFolder? spokeFolder, IHypervisor? hypervisor, ILoggerFactory? spokeLogs) =>
        (Hub, this.spokeFolder, Hypervisor, this.spokeLogs) = (hub, spokeFolder, hypervisor, spokeLogs);

    public HubProgram? Hub { get; }

    public IHypervisor? Hypervisor { get; }

    /// <summary>
    /// Ends when the Spoke does, which is with an error: it runs until it is stopped. Without a Spoke it never ends.
    /// </summary>
    public Task Spoke { get; private set; } = Task.Delay(Timeout.Infinite);

    /// <summary>Runs until Hub or Spoke exits, or the caller cancels. A supervisor restarts the process.</summary>
    /// <exception cref="ProblemException">The Hub exited unexpectedly.</exception>
    public async Task AwaitEndAsync(CancellationToken cancel)
    {
        var hub = Hub?.Ended ?? Task.Delay(Timeout.Infinite, cancel);
        var first = await Task.WhenAny(Spoke, hub, Task.Delay(Timeout.Infinite, cancel));
        if (first == Spoke) await Spoke;
        if (first == hub && !cancel.IsCancellationRequested)
            throw new ProblemException(ProblemKind.Unavailable,
                "The Hub exited unexpectedly; see its log for the reason. Start it again.");
    }

    public static async Task<RunningCapsul> StartAsync(Settings settings, bool withHub,
        bool withSpoke, Action<ILoggingBuilder> configureLogs, CancellationToken cancel)
    {
        var hub = withHub ? await HubProgram.StartAsync(settings, TimeProvider.System, configureLogs, cancel) : null;
        DataFolder? folder = null;
        IHypervisor? hypervisor = null;
        try
        {
            if (!withSpoke) return new RunningCapsul(hub, null, null, null);
            folder = DataFolder.Take(settings.Data, "spoke");
            var identity = Identity.Load(settings.Data) ?? await JoinOwnHubAsync(settings, hub, cancel);
            if (hub is not null) await hub.MarkLocalAsync(identity.HostId, cancel);
            var logs = LoggerFactory.Create(configureLogs);
            var images = new ImageStore(settings.Images);
            hypervisor = MakeHypervisor(settings, images, logs);
            var running = new RunningCapsul(hub, folder, hypervisor, logs);
            var spoke = new SpokeProgram(settings, hub is null ? identity : identity.At($"127.0.0.1:{hub.LinkPort}"),
                hypervisor, images, TimeProvider.System, logs);
            running.Spoke = spoke.RunAsync(running.stop.Token);
            return running;
        }
        catch
        {
            if (hypervisor is not null) await hypervisor.DisposeAsync();
            folder?.Dispose();
            if (hub is not null) await hub.DisposeAsync();
            throw;
        }
    }

    public static IHypervisor MakeHypervisor(Settings settings, ImageStore images, ILoggerFactory logs) =>
        settings.Simulated
            ? new Simulated(settings, images, TimeProvider.System)
            : new Libvirt(settings, images, logs.CreateLogger<Libvirt>(), TimeProvider.System);

    /// <summary>
    /// The first start on a machine that is both Hub and host: it joins without a token from the operator.
    /// </summary>
    static async Task<Identity> JoinOwnHubAsync(Settings settings, HubProgram? hub, CancellationToken cancel)
    {
        if (hub is null)
            throw new ProblemException(ProblemKind.Invalid, "This machine has not joined a Hub. On the Hub run: capsul "
                + "host invite NAME; here: capsul spoke join TOKEN.");
        var name = new string([.. Environment.MachineName.ToLowerInvariant()
            .Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-')]).Trim('-');
        var token = (await hub.InviteAsync(
            "capsul up", name.Length == 0 ? "host" : name[..Math.Min(name.Length, 63)], cancel)).OrThrow();
        return await Identity.JoinAsync(settings.Data, token with { Address = $"127.0.0.1:{hub.LinkPort}" }, cancel);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        if (Hypervisor is not null)
        {
            await Spoke.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Hypervisor.DisposeAsync();
        }
        spokeLogs?.Dispose();
        spokeFolder?.Dispose();
        if (Hub is not null) await Hub.DisposeAsync();
        stop.Dispose();
    }
}
