using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;

namespace Capsul.Chaos;

/// <summary>
/// Runs seeds on one database, one after another. It needs its own database; everything in it is deleted.
/// </summary>
public sealed class ChaosRun : IDisposable
{
    const int Actions = 40;
    static readonly TimeSpan Longest = TimeSpan.FromHours(1), Look = TimeSpan.FromSeconds(15);

    readonly Db db;
    readonly string folder;
    readonly Settings settings;
    readonly ImageStore images;
    Image? image;

    public ChaosRun(Db db, string folder)
    {
        (this.db, this.folder) = (db, folder);
        settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Directory.CreateDirectory(folder).FullName,
            ["CAPSUL_MAX_VMS"] = "1000",
            ["CAPSUL_BUILD_SLOTS"] = "1",
        });
        images = new ImageStore(settings.Images);
    }

    /// <summary>
    /// Runs one seed; returns its report and its trace. Without the caller's synchronization context: what waits for
    /// the virtual clock must continue inside the step that advances it, not when a context schedules it.
    /// </summary>
    public Task<(Report Report, IReadOnlyList<string> Trace)> RunAsync(int seed) => Task.Run(() => RunSeedAsync(seed));

    async Task<(Report Report, IReadOnlyList<string> Trace)> RunSeedAsync(int seed)
    {
        var (report, time, random) = (new Report(), new VirtualTime(), new Random(seed));
        var began = time.Now;
        image ??= await AddImageAsync();
        List<Host> hosts = [.. ((string[])["rack1", "rack2"])
            .Select(name => new Host(name, folder, image, images, time))];
        foreach (var host in hosts) host.Clear();
        var snapshot = new Snapshot(db);
        await snapshot.ClearAsync(time.Now);
        var world = new World(db, settings, hosts, time, random, report);
        var offers = new Dictionary<string, (Host From, DiskExport Disk)>(StringComparer.Ordinal);
        foreach (var host in hosts) host.Transfers = new PretendedTransfers(world, host, offers);
        var actors = new Actors(world, snapshot);
        try
        {
            await world.StartHubAsync();
            foreach (var host in hosts) await host.StartSpokeAsync(CancellationToken.None);
            await world.RunToAsync(time.Now + TimeSpan.FromSeconds(5));
            for (var n = 0; n < Actions; n++)
            {
                await actors.ActAsync();
                await world.RunToAsync(time.Now + world.Milliseconds(0, random.Next(4) == 0 ? 30_000 : 3_000));
            }
            await actors.CalmAsync();
            await RestAsync(world, actors);
        }
        catch (Exception error)
        {
            report.Violate($"an unexpected error: {error}");
        }
        report.VirtualTime = time.Now - began;
        return (report, world.Trace);
    }

    /// <summary>Runs until everything is at rest, or for an hour; then the invariants are checked.</summary>
    static async Task RestAsync(World world, Actors actors)
    {
        var end = world.Time.Now + Longest;
        // Permanent failures are retried every five minutes.
        await world.RunToAsync(world.Time.Now + TimeSpan.FromMinutes(6));
        while (world.Time.Now < end && await IsBusyAsync(world)) await world.RunToAsync(world.Time.Now + Look);
        await Invariants.CheckAtRestAsync(world, actors);
        if (world.Report.Violations.Count > 0) await NoteVmsAsync(world);
    }

    /// <summary>The final state of the database, to help find the cause.</summary>
    static async Task NoteVmsAsync(World world)
    {
        var rows = await world.Db.ListAsync<(string Id, string Line)>(
            """
            SELECT v.id, concat_ws(' ', v.host, v.state, 'wanted', v.wanted, v.wanted_generation, 'observed',
                v.observed, v.observed_generation,
                'phase', v.phase, v.problem, CASE WHEN v.deleted IS NOT NULL THEN 'deleted' END,
                (SELECT string_agg(s.span::text, ' ') FROM usage_spans s WHERE s.vm = v.id))
            FROM vms v ORDER BY created, id
            """, null, CancellationToken.None);
        foreach (var (id, line) in rows.OrderBy(r => world.NumberOf(r.Id))) world.Note($"{world.NameOf(id)}: {line}");
    }

    static Task<bool> IsBusyAsync(World world) => world.Db.FindAsync<bool>(
        "SELECT EXISTS (SELECT FROM operations WHERE finished IS NULL) OR EXISTS (SELECT FROM vms "
            + "WHERE deleted IS NULL AND (observed = 'unknown' OR state NOT IN ('running', 'stopped'))) "
            + "OR EXISTS (SELECT FROM moves WHERE copy_host IS NOT NULL AND NOT problem_final)",
        null, CancellationToken.None);

    async Task<Image> AddImageAsync()
    {
        Directory.CreateDirectory(settings.Images);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "not a disk");
        return await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, CancellationToken.None);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);
}
