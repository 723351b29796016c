using System.Globalization;
using System.Text;
using Capsul.Cli;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Spoke.Images;

namespace Capsul.Fleet;

/// <summary>What was asked for.</summary>
/// <param name="OwnHub">Start a Hub; otherwise one runs with the settings of this process.</param>
/// <param name="Port">Of the page; null: none.</param>
/// <param name="UntilSettled">Ends as soon as every VM was reported.</param>
/// <param name="Limit">Ends then; null: never.</param>
/// <param name="Every">Time between two lines of figures.</param>
public sealed record FleetOptions(
    FleetPlan Plan, double Faults, int Seed, bool OwnHub, int? Port, bool UntilSettled, TimeSpan? Limit,
    TimeSpan Every);

/// <summary>
/// Many Spokes in one process against one Hub in another, over the real link: every Spoke joins with a token, has the
/// records of VMs that run, and goes on like any other. Everything it creates is removed in the end.
/// </summary>
public sealed class FleetRun(FleetOptions options, TimeProvider time)
{
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(200), ActiveLimit = TimeSpan.FromMinutes(2);

    /// <summary>Joins at one time.</summary>
    const int Joining = 8;

    readonly FleetPlan plan = options.Plan;
    readonly FleetCounts counts = new();
    FleetFigures? newest;

    /// <returns>The exit code: 1 if it was to settle and did not, or a VM changed its state without a fault.</returns>
    public async Task<int> RunAsync(CancellationToken cancel)
    {
        OpenFiles.Ensure(plan.Spokes);
        var folder = MakeFolder(Path.GetTempPath());
        var memory = MakeFolder(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath());
        try
        {
            var settings = SettingsFor(folder);
            await using var hub = options.OwnHub
                ? await HubProcess.StartAsync(settings, LogLevel.Warning, cancel) : null;
            await using var database = await CliDatabase.ConnectAsync(settings, cancel);
            var epoch = await AwaitActiveAsync(database.Db, cancel);
            await FleetFill.CheckEmptyAsync(database.Db, cancel);
            if (hub is not null) Say($"Hub: http://127.0.0.1:{settings.Port}/");
            var spokes = await PrepareAsync(database.Db, settings, memory, epoch, cancel);
            return await RunSpokesAsync(database.Db, spokes, cancel);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
            Directory.Delete(memory, recursive: true);
        }
    }

    /// <summary>The Hub's user has to reach what is inside.</summary>
    static string MakeFolder(string parent)
    {
        var name = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(4));
        return Directory.CreateDirectory(Path.Combine(parent, $"capsul-fleet-{name}"), (UnixFileMode)0b111_101_101)
            .FullName;
    }

    /// <summary>The configuration file of an installation on this machine is not read: its Hub is left alone.</summary>
    Settings SettingsFor(string folder)
    {
        if (!options.OwnHub) return Settings.Load();
        var settings = Environment.GetEnvironmentVariables().Cast<System.Collections.DictionaryEntry>()
            .Where(e => ((string)e.Key).StartsWith("CAPSUL_", StringComparison.Ordinal))
            .ToDictionary(e => (string)e.Key, e => (string?)e.Value ?? "", StringComparer.Ordinal);
        foreach (var (name, value) in ((string, string)[])
            [("CAPSUL_DATA", folder), ("CAPSUL_CONFIG", "none"), ("CAPSUL_ENVIRONMENT", "development"),
                ("CAPSUL_PORT", "0"), ("CAPSUL_LINK_PORT", "0"), ("CAPSUL_BACKUP_SCHEDULE", "off"),
                ("CAPSUL_MAX_VMS", "10000")])
            settings[name] = value;
        return HubProgram.WithPorts(Settings.Load(settings));
    }

    static async Task<long> AwaitActiveAsync(Db db, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(ActiveLimit);
        try
        {
            while (true)
            {
                if (await db.FindSeatAsync(limit.Token) is { Epoch: > 0 } seat
                    && (await db.ListAsync<HubRow>(SeatSql.Hubs, new { key = SeatSql.LockKey }, limit.Token))
                        .Any(h => h.Acting && h.Name == seat.Holder))
                    return seat.Epoch;
                await Task.Delay(LookEvery, limit.Token);
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                "No Hub is active on this database. Start one with: capsul up --hub");
        }
    }

    /// <summary>Both sides have their rows and records when this returns; nothing runs yet.</summary>
    async Task<IReadOnlyList<FleetSpoke>> PrepareAsync(
        Db db, Settings settings, string folder, long epoch, CancellationToken cancel)
    {
        var images = new ImageStore(Path.Combine(folder, "images"));
        var image = await MakeImageAsync(images, cancel);
        var faults = new FleetFaults(options.Faults, options.Seed, counts);
        var all = Enumerable.Range(0, plan.Spokes).Select(n => FleetSpoke.SettingsFor(n, folder, plan, images))
            .Select((s, n) => new FleetSpoke(n, plan, s, images, counts, faults, time)).ToList();
        var began = time.GetTimestamp();
        await JoinAsync(db, settings, all, cancel);
        Say(string.Create(CultureInfo.InvariantCulture,
            $"{plan.Spokes} Spokes have joined ({time.GetElapsedTime(began).TotalSeconds:0.0} s)"));
        began = time.GetTimestamp();
        await new FleetFill(db, plan, image, "127.0.0.1", time).RunAsync(cancel);
        await Parallel.ForEachAsync(all, Few(cancel), async (spoke, token) =>
            await spoke.WriteAsync(image, epoch, token));
        Say(string.Create(CultureInfo.InvariantCulture,
            $"{plan.Vms} VMs are on both sides ({time.GetElapsedTime(began).TotalSeconds:0.0} s)"));
        return all;
    }

    static ParallelOptions Few(CancellationToken cancel) =>
        new() { MaxDegreeOfParallelism = Joining, CancellationToken = cancel };

    static async Task<Image> MakeImageAsync(ImageStore images, CancellationToken cancel)
    {
        Directory.CreateDirectory(images.Folder);
        var scratch = images.MakeScratch();
        await File.WriteAllBytesAsync(
            Path.Combine(scratch, "disk.qcow2"), Encoding.ASCII.GetBytes("Nothing boots from this.\n"), cancel);
        return await images.AddAsync(
            new Image(FleetPlan.ImageId, "Fleet (simulated)", "", "capsul", 1, 128), scratch, cancel);
    }

    async Task JoinAsync(Db db, Settings settings, IReadOnlyList<FleetSpoke> all, CancellationToken cancel)
    {
        var ring = new KeyRing(db, await HubProgram.SecretKeyAsync(settings, cancel));
        using var authority = await Authority.OpenAsync(ring, time, cancel);
        var address = settings.LinkAddress ?? $"127.0.0.1:{settings.LinkPort}";
        await Parallel.ForEachAsync(all.Index(), Few(cancel), async (spoke, token) =>
            await spoke.Item.JoinAsync((await InviteHost.RunAsync(
                db, "capsul fleet", FleetPlan.HostName(spoke.Index), address, authority.Fingerprint, time, token))
                .OrThrow(), token));
    }

    async Task<int> RunSpokesAsync(Db db, IReadOnlyList<FleetSpoke> spokes, CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var meter = new FleetMeter(db, plan, counts, time);
        await using var page = options.Port is { } port
            ? await FleetPage.StartAsync(port, () => newest, () => counts.Reasons, cancel) : null;
        if (page is not null) Say($"Figures: http://127.0.0.1:{options.Port}/");
        var running = spokes.Select(s => Task.Run(() => s.RunAsync(stop.Token), cancel)).ToList();
        try
        {
            return await WatchAsync(db, meter, Task.WhenAny(running), cancel);
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAll(running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Null: the database did not answer. The Spokes go on, and the next figures come later.</summary>
    static async Task<FleetFigures?> TryTakeAsync(Db db, FleetMeter meter, bool countVms, CancellationToken cancel)
    {
        try
        {
            return await meter.TakeAsync(countVms, cancel);
        }
        catch (Exception error) when (error is Npgsql.NpgsqlException or TimeoutException)
        {
            Say($"No figures: {db.Explain(error).Message}");
            return null;
        }
    }

    /// <summary>Every VM is read only until all were reported, and once in the end.</summary>
    async Task<int> WatchAsync(Db db, FleetMeter meter, Task<Task> ended, CancellationToken cancel)
    {
        var began = time.GetTimestamp();
        var settled = false;
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        if (options.Limit is { } limit) end.CancelAfter(limit);
        try
        {
            while (!(settled && options.UntilSettled))
            {
                if (await TryTakeAsync(db, meter, !settled, end.Token) is { } figures)
                {
                    newest = figures;
                    Say(figures.Line);
                    if (!settled && figures.Settled)
                        Say(string.Create(CultureInfo.InvariantCulture,
                            $"Settled after {time.GetElapsedTime(began).TotalSeconds:0.0} s"));
                    settled |= figures.Settled;
                    if (settled && options.UntilSettled) break;
                }
                if (await Task.WhenAny(ended, Task.Delay(options.Every, time, end.Token)) == ended) await await ended;
                end.Token.ThrowIfCancellationRequested();
            }
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            // The time is over, or somebody pressed Ctrl-C.
        }
        return await JudgeAsync(db, meter, settled);
    }

    async Task<int> JudgeAsync(Db db, FleetMeter meter, bool settled)
    {
        if (await TryTakeAsync(db, meter, countVms: true, CancellationToken.None) is not { } last) return 1;
        foreach (var (why, times) in counts.Reasons) Say($"  {times,6} x  {why}");
        Say($"{last.Reported} of {last.Vms} VMs of {last.Spokes} Spokes reported; {last.Changed} changed state; "
            + $"{last.Connects} connects, {last.Breaks} breaks, {last.Faults} faults");
        return (options.UntilSettled && !settled) || (options.Faults == 0 && last.Changed > 0) ? 1 : 0;
    }

    static void Say(string what) => Console.WriteLine(what);
}
