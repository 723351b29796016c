using System.Collections.Concurrent;
using System.Net;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// All VMs of this host: a reconciler for each that the Hub has ever named, and any others on the hypervisor. Applies
/// wanted states, never backwards; deletion is always explicit.
/// </summary>
public sealed partial class HostVms(
    IHypervisor hypervisor, VmRecords records, IRelays relays, AppliedState applied, TimeProvider time, ILogger log)
{
    readonly ConcurrentDictionary<string, VmReconciler> reconcilers = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<VmReconciler, Task> running = new();
    readonly SemaphoreSlim applying = new(1, 1);
    /// <summary>
    /// The Spoke's cancellation token: reconcilers outlive the connection on which their VM was named. Null: nothing
    /// runs automatically.
    /// </summary>
    CancellationToken? lifetime;

    /// <summary>Receives every report.</summary>
    public Action<VmReport> Told { get; set; } = _ => { };

    /// <summary>The way to other hosts; null: none.</summary>
    public ITransfers? Transfers { get; set; }

    /// <summary>Ordered by ID.</summary>
    public IEnumerable<VmReconciler> Reconcilers => reconcilers.Values.OrderBy(r => r.Id, StringComparer.Ordinal);

    /// <summary>Loads every recorded VM, without running anything.</summary>
    public void Load()
    {
        foreach (var record in records.LoadAll()) Keep(Make(record));
    }

    /// <summary>Loads every recorded VM and runs the reconcilers until canceled.</summary>
    public void Start(CancellationToken cancel)
    {
        lifetime = cancel;
        Load();
    }

    /// <summary>
    /// Returns when every reconciler has ended; call it after the token of <see cref="Start"/> was canceled.
    /// </summary>
    public async Task EndAsync() =>
        await Task.WhenAll(running.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>The inventory: each VM as last reported, and any others on the hypervisor.</summary>
    public async Task<IReadOnlyList<VmReport>> InventoryAsync(CancellationToken cancel)
    {
        // The slow part first: a report from before the hypervisor's response must not be sent after a newer one.
        var unknown = await UnknownVmsAsync(cancel);
        return [.. Reconcilers.Select(r => r.Last), .. unknown];
    }

    /// <summary>
    /// VMs on the hypervisor without a reconciler: from another database, or from an earlier data folder.
    /// </summary>
    public async Task<IReadOnlyList<VmReport>> UnknownVmsAsync(CancellationToken cancel)
    {
        // Checked before and after: a reconciler that ended in between has sent its report, which may be newer than the
        // list.
        var before = reconcilers.Keys.ToHashSet(StringComparer.Ordinal);
        var unknown = (await hypervisor.ListAsync(cancel))
            .Where(d => !before.Contains(d.Id) && !reconcilers.ContainsKey(d.Id));
        return [.. unknown.Select(d => new VmReport { Id = d.Id, Power = ToWire(d.Power) })];
    }

    /// <summary>Machines that Capsul did not make, as many as a Hub accepts.</summary>
    public async Task<ForeignMachines> ForeignAsync(CancellationToken cancel)
    {
        var machines = new ForeignMachines();
        var found = await hypervisor.ForeignAsync(cancel);
        machines.Machines.AddRange(found.OrderBy(f => f.Uuid, StringComparer.Ordinal)
            .Take(Protocol.MaxForeign).Select(f => new Wire.ForeignMachine
            {
                Uuid = f.Uuid,
                Name = f.Name,
                Power = ToWire(f.Power),
                Vcpus = f.Vcpus,
                MemoryMb = f.MemoryMb,
                DiskGb = f.DiskGb,
                DiskFormat = f.DiskFormat,
                Mac = f.Mac,
                Refusal = f.Refusal,
            }));
        return machines;
    }

    /// <summary>Applies a message from the Hub. False: it is outdated or invalid, and nothing was done.</summary>
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
            if (wanted.Vms.FirstOrDefault(v => !WantedCheck.IsSound(v)) is { } unsound)
            {
                Log.Unsound(log, Formats.IsVmId(unsound.Id) ? unsound.Id : "?");
                return false;
            }
            foreach (var vm in wanted.Vms)
            {
                // A Hub that does not count is not outdated.
                if (!wanted.CountsMoves && reconcilers.TryGetValue(vm.Id, out var known))
                    vm.Moves = known.Record.MovesSeen;
                Want(wanted.Epoch, new WantedVm(vm) { Record = ByteString.Empty, Signature = ByteString.Empty });
                Keep(vm);
            }
            await AdvanceAsync(wanted, cancel);
            return true;
        }
        finally
        {
            applying.Release();
        }
    }

    /// <summary>
    /// If the disk is full it is only kept in memory, and written with the next message: it must be possible to remove
    /// VMs from such a host, and after a crash the Hub resends everything.
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

    void Want(long epoch, WantedVm wanted)
    {
        if (reconcilers.TryGetValue(wanted.Id, out var reconciler) && reconciler.Want(epoch, wanted)) return;
        // A VM that is wanted gone and has no record may still have leftovers from a crash; removing is idempotent and
        // reports "gone".
        reconciler = Make(VmRecord.New(epoch, wanted));
        reconciler.WriteDown();
        Keep(reconciler);
    }

    /// <summary>Also if the wanted state is not new: the record may be.</summary>
    void Keep(WantedVm wanted)
    {
        if (wanted.Record.IsEmpty || !reconcilers.ContainsKey(wanted.Id)) return;
        try
        {
            records.Keep(new KeptRecord { Id = wanted.Id, Record = wanted.Record, Signature = wanted.Signature });
        }
        catch (IOException error)
        {
            Log.RecordNotKept(log, wanted.Id, error.Message);
        }
    }

    /// <summary>
    /// The recovery records of all VMs of this host that are not being removed, in messages of bounded size; the last
    /// one says so.
    /// </summary>
    public IEnumerable<Records> RecoveryRecords()
    {
        var part = new Records();
        foreach (var record in Reconcilers.Select(r => r.Record)
            .Where(r => r.Wanted is { IsCopy: false, Power: not Power.Gone }))
        {
            var kept = records.FindKept(record.Wanted.Id) ?? new KeptRecord { Id = record.Wanted.Id };
            kept.HasRun = record.Wanted.HasRun || record.RanUnder > 0;
            if (part.CalculateSize() + kept.CalculateSize() > Protocol.MessagePartBytes && part.Vms.Count > 0)
            {
                yield return part;
                part = new Records();
            }
            part.Vms.Add(kept);
        }
        part.Last = true;
        yield return part;
    }

    /// <summary>Where a VM of this host is reached; null: it is not here, or gone.</summary>
    public IPAddress? AddressOf(string id) => reconcilers.TryGetValue(id, out var reconciler)
        && reconciler.Record.Wanted is { Power: Power.On, IsCopy: false, Address.Length: > 0 } wanted
            ? IPAddress.Parse(wanted.Address) : null;

    public void Look(string id)
    {
        if (reconcilers.TryGetValue(id, out var reconciler)) reconciler.Look();
    }

    public void LookAtAll()
    {
        foreach (var reconciler in reconcilers.Values) reconciler.LookNow();
    }

    /// <summary>
    /// Drops the reconciler of a VM that is gone, unless a newer one for the same VM has replaced it.
    /// </summary>
    public void Forget(VmReconciler reconciler) =>
        reconcilers.TryRemove(KeyValuePair.Create(reconciler.Id, reconciler));

    VmReconciler Make(VmRecord record) =>
        new(record, hypervisor, records, relays, () => Transfers, report => Told(report), time, log);

    void Keep(VmReconciler reconciler)
    {
        reconcilers[reconciler.Id] = reconciler;
        if (lifetime is not { } cancel) return;
        running[reconciler] = RunAsync(reconciler, cancel);
        foreach (var done in running.Where(r => r.Value.IsCompleted)) running.TryRemove(done.Key, out _);
    }

    async Task RunAsync(VmReconciler reconciler, CancellationToken cancel)
    {
        // Off the caller's thread: the first round may do a lot of work before its first await.
        await Task.Yield();
        await reconciler.RunAsync(cancel);
        Forget(reconciler);
    }

    static Power ToWire(DomainPower power) => power switch
    {
        DomainPower.On or DomainPower.Paused => Power.On,
        DomainPower.Off => Power.Off,
        DomainPower.Unknown => Power.Unknown,
    };

    static partial class Log
    {
        [LoggerMessage(420, LogLevel.Warning,
            "Refused a message of epoch {Epoch}, generation {Generation}: {AppliedEpoch}/{AppliedGeneration} was "
            + "already applied")]
        public static partial void Refused(
            ILogger log, long epoch, long generation, long appliedEpoch, long appliedGeneration);

        [LoggerMessage(421, LogLevel.Error,
            "Could not save that epoch {Epoch}, generation {Generation} was applied: {Why}")]
        public static partial void NotKept(ILogger log, long epoch, long generation, string why);

        [LoggerMessage(423, LogLevel.Error, "VM {Vm}: the recovery record could not be stored: {Why}")]
        public static partial void RecordNotKept(ILogger log, string vm, string why);

        [LoggerMessage(422, LogLevel.Error, "Refused a message from the Hub: the wanted state of VM {Vm} is invalid")]
        public static partial void Unsound(ILogger log, string vm);
    }
}
