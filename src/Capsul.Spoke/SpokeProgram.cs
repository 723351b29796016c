using System.Collections.Concurrent;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke;

/// <summary>
/// The Spoke: one keeper a VM, one line to the Hub. What it was told last is on disk, so that VMs are kept also while the Hub is away
/// and right after a crash. What the line does is in <see cref="Line"/>.
/// </summary>
public sealed partial class SpokeProgram(Settings settings, Identity identity, IHypervisor hypervisor, ImageStore images, TimeProvider time, ILoggerFactory logs)
{
    readonly ILogger log = logs.CreateLogger("Capsul.Spoke");
    readonly ConcurrentDictionary<string, VmKeeper> keepers = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<VmKeeper, Task> running = new();
    readonly VmRecords records = new(Path.Combine(settings.Data, "spoke", "vms"));
    readonly AppliedState applied = new(Path.Combine(settings.Data, "spoke"));
    readonly SemaphoreSlim applying = new(1, 1);
    Action<VmReport> tell = _ => { };
    /// <summary>Of the whole Spoke: keepers outlive the line on which their VM was told of.</summary>
    CancellationToken lifetime;

    /// <summary>Version of this program, as it tells the Hub.</summary>
    public static string Version => typeof(SpokeProgram).Assembly.GetName().Version!.ToString(3);

    /// <summary>Prepares the hypervisor, takes up every VM that is on record, and keeps the line to the Hub until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        lifetime = cancel;
        applied.Load();
        await PrepareAsync(cancel);
        foreach (var record in records.LoadAll())
            Keep(MakeKeeper(record));
        var line = new Line(this, settings, identity, hypervisor, images, applied, time, logs.CreateLogger<Line>());
        tell = line.Tell;
        try
        {
            await Task.WhenAll(line.RunAsync(cancel), WatchAsync(cancel));
        }
        finally
        {
            await Task.WhenAll(running.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    async Task PrepareAsync(CancellationToken cancel)
    {
        try
        {
            await hypervisor.PrepareAsync(cancel);
        }
        catch (HypervisorException error)
        {
            throw new ProblemException(ProblemKind.Unavailable, $"The hypervisor is not ready: {error.Message} Run capsul doctor to see what is missing.", null, error);
        }
    }

    /// <summary>What is here, for the inventory: each VM as last reported, and what the hypervisor has beyond them.</summary>
    public async Task<IReadOnlyList<VmReport>> InventoryAsync(CancellationToken cancel)
    {
        var known = keepers.Values.Select(k => k.Last).ToList();
        var strangers = (await hypervisor.ListAsync(cancel)).Where(d => !keepers.ContainsKey(d.Id));
        return [.. known, .. strangers.Select(d => new VmReport { Id = d.Id, Power = ToWire(d.Power) })];
    }

    /// <summary>Takes in what the Hub wants. False: it is older than what was taken in, and was refused.</summary>
    public async Task<bool> ApplyAsync(Wanted wanted, CancellationToken cancel)
    {
        await applying.WaitAsync(cancel);
        try
        {
            if (!applied.Allows(wanted.Epoch, wanted.Generation))
            {
                Log.Refused(log, wanted.Epoch, wanted.Generation, applied.Epoch, applied.Generation);
                return false;
            }
            foreach (var vm in wanted.Vms)
                await WantAsync(vm, cancel);
            await AdvanceAsync(wanted, cancel);
            return true;
        }
        finally
        {
            applying.Release();
        }
    }

    /// <summary>
    /// When the disk is full it is only kept in mind, and written with the next message: VMs must be removable on such a host, and
    /// after a crash the Hub says everything again.
    /// </summary>
    async Task AdvanceAsync(Wanted wanted, CancellationToken cancel)
    {
        try
        {
            await applied.AdvanceAsync(wanted.Epoch, wanted.Generation, cancel);
        }
        catch (IOException error)
        {
            Log.NotKept(log, wanted.Epoch, wanted.Generation, error.Message);
        }
    }

    async Task WantAsync(WantedVm wanted, CancellationToken cancel)
    {
        if (keepers.TryGetValue(wanted.Id, out var keeper) && await keeper.WantAsync(wanted, cancel)) return;
        // A VM that is to be gone and has no record may still have leftovers from a crash; removing is idempotent and reports "gone".
        keeper = MakeKeeper(new VmRecord(wanted, wanted.Restarts, 0, 0, []));
        await keeper.WriteDownAsync(cancel);
        Keep(keeper);
    }

    /// <summary>Every VM is looked at now.</summary>
    public void LookAtAll()
    {
        foreach (var keeper in keepers.Values) keeper.Look();
    }

    VmKeeper MakeKeeper(VmRecord record) => new(record, hypervisor, records, settings, report => tell(report), time, log);

    void Keep(VmKeeper keeper)
    {
        keepers[keeper.Id] = keeper;
        running[keeper] = RunKeeperAsync(keeper, lifetime);
        foreach (var done in running.Where(r => r.Value.IsCompleted)) running.TryRemove(done.Key, out _);
    }

    async Task RunKeeperAsync(VmKeeper keeper, CancellationToken cancel)
    {
        // Off the caller's thread: a keeper's first round may do much before it first waits.
        await Task.Yield();
        await keeper.RunAsync(cancel);
        // Only itself: a newer keeper for the same VM may have taken the place.
        keepers.TryRemove(KeyValuePair.Create(keeper.Id, keeper));
    }

    async Task WatchAsync(CancellationToken cancel)
    {
        await foreach (var id in hypervisor.Changes.ReadAllAsync(cancel))
        {
            if (keepers.TryGetValue(id, out var keeper)) keeper.Look();
        }
    }

    static Power ToWire(DomainPower power) => power switch
    {
        DomainPower.On => Power.On,
        DomainPower.Off => Power.Off,
        DomainPower.Unknown => Power.Unknown,
    };

    static partial class Log
    {
        [LoggerMessage(420, LogLevel.Warning, "Refused a message of epoch {Epoch}, generation {Generation}: {AppliedEpoch}/{AppliedGeneration} was taken in already")]
        public static partial void Refused(ILogger log, long epoch, long generation, long appliedEpoch, long appliedGeneration);

        [LoggerMessage(421, LogLevel.Error, "It could not be written down that epoch {Epoch}, generation {Generation} was taken in: {Why}")]
        public static partial void NotKept(ILogger log, long epoch, long generation, string why);
    }
}
