using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Hosts;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;

namespace Capsul.Cli;

/// <summary>
/// A running Hub, Spoke, or both, for <c>up</c> and <c>demo</c>. The Spoke runs in this process; so does the Hub,
/// unless this process runs as root: then the Hub is a separate, unprivileged process.
/// </summary>
public sealed class RunningCapsul : IAsyncDisposable
{
    readonly CancellationTokenSource stop = new();
    /// <summary>What was started, to be stopped in reverse order.</summary>
    readonly Stack<IAsyncDisposable> started = new();
    readonly Settings settings;
    bool spokeStarted;

    RunningCapsul(Settings settings) => this.settings = settings;

    /// <summary>Where people reach the pages.</summary>
    public Uri BaseUrl => settings.BaseUrl ?? new Uri($"http://{Settings.Here(settings.Listen)}:{settings.Port}/");

    public IHypervisor? Hypervisor { get; private set; }

    /// <summary>
    /// Completes when the Spoke exits, which is always an error: it runs until it is stopped. Without a Spoke it never
    /// completes.
    /// </summary>
    public Task Spoke { get; private set; } = Task.Delay(Timeout.Infinite);

    /// <summary>Completes when the Hub exits. Without a Hub it never completes.</summary>
    Task Hub { get; set; } = Task.Delay(Timeout.Infinite);

    /// <summary>Runs until Hub or Spoke exits, or the caller cancels. A supervisor restarts the process.</summary>
    /// <exception cref="ProblemException">The Hub exited unexpectedly.</exception>
    public async Task AwaitEndAsync(CancellationToken cancel)
    {
        var first = await Task.WhenAny(Spoke, Hub, Task.Delay(Timeout.Infinite, cancel));
        if (first == Spoke) await Spoke;
        if (first == Hub && !cancel.IsCancellationRequested)
            throw new ProblemException(ProblemKind.Unavailable,
                "The Hub exited unexpectedly; see its log for the reason. Start it again.");
    }

    /// <param name="settings">Settings of both.</param>
    /// <param name="withHub">Start a Hub.</param>
    /// <param name="withSpoke">Start a Spoke.</param>
    /// <param name="level">Minimum log level on standard error.</param>
    /// <param name="cancel">Gives up.</param>
    /// <param name="spokeLogs">Further targets of the Spoke's log.</param>
    public static async Task<RunningCapsul> StartAsync(
        Settings settings, bool withHub, bool withSpoke, LogLevel level, CancellationToken cancel,
        Action<ILoggingBuilder>? spokeLogs = null)
    {
        var running = new RunningCapsul(HubProgram.WithPorts(settings));
        try
        {
            if (withHub) await running.StartHubAsync(level, cancel);
            if (withSpoke) await running.StartSpokeAsync(withHub, Logs.At(level) + spokeLogs, cancel);
            return running;
        }
        catch
        {
            await running.DisposeAsync();
            throw;
        }
    }

    async Task StartHubAsync(LogLevel level, CancellationToken cancel)
    {
        if (HubUser.IsNeeded(settings))
        {
            var process = await HubProcess.StartAsync(settings, level, cancel);
            started.Push(process);
            Hub = process.Ended;
            return;
        }
        var program = await HubProgram.StartAsync(settings, TimeProvider.System, Logs.At(level), cancel);
        started.Push(program);
        Hub = program.Ended;
    }

    async Task StartSpokeAsync(bool withHub, Action<ILoggingBuilder> configureLogs, CancellationToken cancel)
    {
        var folder = DataFolder.Take(settings.Data, "spoke");
        started.Push(new Released(folder));
        var identity = Identity.Load(settings.Data);
        if (withHub) identity = await JoinOwnHubAsync(identity, cancel);
        if (identity is null)
            throw new ProblemException(ProblemKind.Invalid, "This machine has not joined a Hub. On the Hub run: capsul "
                + "host invite NAME; here: capsul spoke join TOKEN.");
        var logs = LoggerFactory.Create(configureLogs);
        started.Push(new Released(logs));
        var images = new ImageStore(settings.Images);
        Hypervisor = MakeHypervisor(settings, images, logs);
        started.Push(Hypervisor);
        spokeStarted = true;
        Spoke = new SpokeProgram(settings, identity, Hypervisor, images, TimeProvider.System, logs)
            .RunAsync(stop.Token);
    }

    public static IHypervisor MakeHypervisor(Settings settings, ImageStore images, ILoggerFactory logs) =>
        settings.Simulated
            ? new Simulated(settings, images, TimeProvider.System)
            : new Libvirt(settings, images, logs.CreateLogger<Libvirt>(), TimeProvider.System);

    /// <summary>
    /// The first start on a machine that is both Hub and host joins without a token from the operator. The machine's
    /// images are the operator's own, and are offered.
    /// </summary>
    async Task<Identity> JoinOwnHubAsync(Identity? identity, CancellationToken cancel)
    {
        var address = settings.LinkHere;
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        if (identity is null)
        {
            var token = await HostVerb.InviteAsync(database.Db, settings, "capsul up", OwnName(), cancel);
            identity = await Identity.JoinAsync(settings.Data, token with { Address = address }, cancel);
        }
        await database.Db.ExecuteAsync(HostSql.MarkLocal, new { id = identity.HostId }, cancel);
        return identity.At(address);
    }

    static string OwnName()
    {
        var name = new string([.. Environment.MachineName.ToLowerInvariant()
            .Select(c => char.IsAsciiLetterOrDigit(c) ? c : '-')]).Trim('-');
        return name.Length == 0 ? "host" : name[..Math.Min(name.Length, 63)];
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        if (spokeStarted) await Spoke.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (started.TryPop(out var next)) await next.DisposeAsync();
        stop.Dispose();
    }

    sealed class Released(IDisposable held) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            held.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
